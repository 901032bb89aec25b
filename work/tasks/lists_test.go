package tasks

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/tenant"
)

// TestEveryOrderIsWalkedOnceThrough walks each order in pages of two and holds
// the pages against the whole list.
func TestEveryOrderIsWalkedOnceThrough(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for i := range 7 {
		f := fields{Title: []string{"b", "B", "a", "Ä", "c", "a", "z"}[i], Priority: []string{"none", "urgent", "low", "low", "high", "medium", "none"}[i]}
		if i%2 == 0 {
			f.DueDate = later("2026-03-01", i%4)
		}
		if i%3 == 0 {
			f.StartDate = later("2026-01-01", i%2)
		}
		s.task(s.web, f)
	}
	for _, sort := range []string{
		"position", "-position", "number", "-number", "title", "-title", "priority", "-priority", "due_date", "-due_date", "start_date",
		"-start_date", "created_at", "-created_at", "updated_at", "-updated_at", "-priority,due_date", "title,-number", "-due_date,-priority,title", "",
	} {
		keys, err := api.ParseSort(sort, "position", "number", "title", "priority", "due_date", "start_date", "created_at", "updated_at")
		if err != nil {
			t.Fatal(err)
		}
		whole := s.page(keys, nil, 100)
		var walked []Task
		var at []string
		for range 10 {
			page := s.page(keys, at, 2)
			if len(page) == 0 {
				break
			}
			walked = append(walked, page...)
			at = positionOf(keys, page[len(page)-1])
		}
		number := func(ts []Task) (out []int32) {
			for _, t := range ts {
				out = append(out, t.Number)
			}
			return out
		}
		if len(whole) != 7 || !slices.Equal(number(whole), number(walked)) {
			t.Errorf("sort=%s: in one page %v, in pages of two %v", sort, number(whole), number(walked))
		}
		if sort == "due_date" || sort == "-due_date" {
			if whole[6].DueDate != nil || whole[4].DueDate != nil || whole[0].DueDate == nil {
				t.Errorf("sort=%s: tasks without a date do not come last", sort)
			}
		}
		if sort == "-priority,due_date" && (whole[0].Priority != "urgent" || whole[1].Priority != "high") {
			t.Errorf("sort=%s begins with %s, %s", sort, whole[0].Priority, whole[1].Priority)
		}
	}
}

func TestFirstRunes(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{"": "", "ab": "ab", "äöü": "äöü", "äöüß": "äöü"} {
		if got := firstRunes(in, 3); got != want {
			t.Errorf("firstRunes(%q) = %q", in, got)
		}
	}
}

func (s *site) page(keys []api.Sort, at []string, limit int) []Task {
	s.t.Helper()
	var sel selection
	if err := sel.filter(Filters{}, s.ann); err != nil {
		s.t.Fatal(err)
	}
	if at != nil {
		sel.after(keys, at)
	}
	sql := selectTasks + sel.where() + orderBy(keys) + " limit " + sel.arg(limit)
	rows, err := tenant.List[Task](context.Background(), s.db.View(s.member), sql, sel.args...)
	if err != nil {
		s.t.Fatalf("%s: %v", sql, err)
	}
	return rows
}

func TestFilters(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	root := s.task(s.web, fields{Title: "Fix the Login", Priority: "high", Labels: []string{"bug", "ui"}, AssignedToID: &s.ann, DueDate: day("2026-03-01")})
	s.task(s.web, fields{Title: "part", ParentID: &root.ID, Status: "done", Labels: []string{"bug"}, AssignedToID: &s.bob})
	s.task(s.ops, fields{Title: "100% sure?", Description: "mention of the LOGIN", DueDate: day("2026-03-05")})
	s.task(s.secret, fields{Title: "hidden login"})
	trashed := s.task(s.ops, fields{Title: "thrown away"})
	if _, err := run(s, s.member, s.f.trash, &taskMatch{TaskID: trashed.ID}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		f     Filters
		scope tenant.Scope
		want  []string
	}{
		{"none", Filters{}, s.member, []string{"WEB-1", "WEB-2", "OPS-1", "SEC-1"}},
		{"none, by another", Filters{}, s.memberBob, []string{"WEB-1", "WEB-2", "OPS-1"}},
		{"none, by a guest", Filters{}, s.guest, []string{"WEB-1", "WEB-2"}},
		{"status", Filters{Status: []string{"done", "nowhere"}}, s.member, []string{"WEB-2"}},
		{"group", Filters{StateGroup: []string{"completed", "backlog"}}, s.member, []string{"WEB-2", "OPS-1"}},
		{"me", Filters{AssignedTo: "me"}, s.member, []string{"WEB-1"}},
		{"none assigned", Filters{AssignedTo: "none"}, s.memberBob, []string{"OPS-1"}},
		{"bob", Filters{AssignedTo: s.bob.String()}, s.member, []string{"WEB-2"}},
		{"a stranger", Filters{AssignedTo: id.New().String()}, s.member, nil},
		{"priority", Filters{Priority: []string{"high", "urgent"}}, s.member, []string{"WEB-1"}},
		{"label", Filters{Label: []string{"BUG"}}, s.member, []string{"WEB-1", "WEB-2"}},
		{"labels", Filters{Label: []string{"bug", "ui"}}, s.member, []string{"WEB-1"}},
		{"due before", Filters{DueBefore: *day("2026-03-05")}, s.member, []string{"WEB-1"}},
		{"due after", Filters{DueAfter: *day("2026-03-01")}, s.member, []string{"OPS-1"}},
		{"parts", Filters{ParentID: root.ID.String()}, s.member, []string{"WEB-2"}},
		{"no parts", Filters{ParentID: "none"}, s.memberBob, []string{"WEB-1", "OPS-1"}},
		{"search", Filters{Search: "login"}, s.memberBob, []string{"WEB-1", "OPS-1"}},
		{"search for signs", Filters{Search: "0% s"}, s.member, []string{"OPS-1"}},
		{"search for a key", Filters{Search: "web-2"}, s.member, []string{"WEB-2"}},
		{"trash", Filters{Deleted: true}, s.member, []string{"OPS-2"}},
	} {
		var sel selection
		if err := sel.filter(c.f, c.scope.User); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		rows, err := tenant.List[Task](context.Background(), s.db.View(c.scope), selectTasks+sel.where()+" order by t.id", sel.args...)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		var got []string
		for _, r := range rows {
			got = append(got, r.Key)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
		n, err := tenant.Value[int64](context.Background(), s.db.View(c.scope), countTasks+sel.where(), sel.args...)
		if err != nil || n != int64(len(c.want)) {
			t.Errorf("%s: total %d, %v", c.name, n, err)
		}
	}
}

func TestLabelNames(t *testing.T) {
	t.Parallel()
	got := labelNames([]string{" Zeta ", "alpha", "ALPHA", "two  words", "\t"})
	if fmt.Sprintf("%q", got) != `["alpha" "two words" "Zeta"]` {
		t.Errorf("%q", got)
	}
}

func TestLabels(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	made := s.task(s.web, fields{Title: "x", Labels: []string{"bug", "two"}})
	s.task(s.secret, fields{Title: "y", Labels: []string{"hush", "Bug"}})
	ctx := context.Background()
	seen := func(scope tenant.Scope) (names []string) {
		rows, err := tenant.List[Label](ctx, s.db.View(scope), selectLabels, nil, "", nil, nil, 10, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range rows {
			names = append(names, l.Name)
		}
		return names
	}
	if got := seen(s.member); len(got) != 4 {
		t.Errorf("ann sees %q", got)
	}
	if got := seen(s.memberBob); !slices.Equal(got, []string{"bug", "two"}) {
		t.Fatalf("bob sees %q", got)
	}
	rename := func(to string) error {
		in := &patchLabel{LabelID: s.label(s.web, "bug")}
		in.Body.Name = api.Some(to)
		_, err := run(s, s.memberBob, s.f.patchLabel, in)
		return err
	}
	if err := rename("TWO"); tenant.Constraint(err) != "label_name_taken" {
		t.Errorf("a name that is taken: %v", err)
	}
	bug := s.label(s.web, "bug")
	if err := rename("Hush"); err != nil { // what another project says is nothing to this one
		t.Fatal(err)
	}
	if got := s.get(made.ID); !slices.Equal(got.Labels, []string{"Hush", "two"}) || got.Version != 2 {
		t.Errorf("after the renaming: %+v", got)
	}
	if _, err := run(s, s.memberBob, s.f.deleteLabel, &labelMatch{LabelID: bug}); err != nil {
		t.Fatal(err)
	}
	if got := s.get(made.ID); !slices.Equal(got.Labels, []string{"two"}) || got.Version != 3 {
		t.Errorf("after the deletion: %+v", got)
	}
}

// TestLabelFilterGoesByTheKeys counts the pages that a filter by label looks at
// where thousands of tasks carry one: a few for each task at most, before the
// planner knows what the tables hold and after.
func TestLabelFilterGoesByTheKeys(t *testing.T) {
	t.Parallel()
	const many = 3000
	s := newSite(t)
	bug := id.New()
	s.must(s.robot, `insert into tasks (tenant_id, id, project_id, number, title, status, state_group, position, created_by_kind)
select $1, gen_random_uuid(), $2, n, 'x', 'pending', 'unstarted', lpad(n::text, 8, '0') || '1', 'system' from generate_series(1, $3::int) n`, s.org, s.web, many)
	s.must(s.robot, `insert into labels (tenant_id, project_id, id, name, name_key) values ($1, $2, $3, 'bug', 'bug'), ($1, $2, $4, 'rare', 'rare')`, s.org, s.web, bug, id.New())
	s.must(s.robot, `insert into task_labels (tenant_id, project_id, task_id, label_id) select tenant_id, project_id, id, $2 from tasks where tenant_id = $1`, s.org, bug)
	for _, planner := range []string{"without figures", "with figures"} {
		if planner == "with figures" {
			s.analyze()
		}
		for _, name := range []string{"bug", "rare", "nowhere"} {
			var sel selection
			if err := sel.filter(Filters{Label: []string{name}}, s.ann); err != nil {
				t.Fatal(err)
			}
			for what, sql := range map[string]string{
				"total": countTasks + sel.where(),
				"page":  selectTasks + sel.where() + orderBy([]api.Sort{{Field: "created_at", Desc: true}}) + slice(51, 0),
			} {
				if pages := s.pages(sql, sel.args...); pages > 10*many {
					t.Errorf("%s: the %s of what carries %s looks at %d pages for %d tasks", planner, what, name, pages, many)
				}
			}
		}
	}
}

// analyze lets the planner know what the tables hold, as its owner may.
func (s *site) analyze() {
	s.t.Helper()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, s.data.SuperURL)
	if err != nil {
		s.t.Fatal(err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, `analyze guildhall.tasks, guildhall.labels, guildhall.task_labels, guildhall.projects`); err != nil {
		s.t.Fatal(err)
	}
}

// pages is how many pages of the database a statement looks at, as ann.
func (s *site) pages(sql string, args ...any) int {
	s.t.Helper()
	lines, err := tenant.Values[[]byte](context.Background(), s.db.View(s.member), `explain (analyze, buffers, timing off, format json) `+sql, args...)
	if err != nil || len(lines) != 1 {
		s.t.Fatalf("%s: %v", sql, err)
	}
	var out []struct {
		Plan struct {
			Hit  int `json:"Shared Hit Blocks"`
			Read int `json:"Shared Read Blocks"`
		}
	}
	if err := json.Unmarshal(lines[0], &out); err != nil || len(out) != 1 {
		s.t.Fatalf("%s: %v", lines[0], err)
	}
	return out[0].Plan.Hit + out[0].Plan.Read
}
