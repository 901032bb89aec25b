package tasks

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/internal/date"
	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/tenant"
)

func testLog(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), nil))
}

func day(s string) *date.Date {
	d, err := date.Parse(s)
	if err != nil {
		panic(err)
	}
	return &d
}

func TestLabelsHaveNoComma(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	task := s.task(s.web, fields{Title: "x", Labels: []string{"fine"}})
	label, err := tenant.Value[id.ID](context.Background(), s.db.View(s.robot), `select id from labels`)
	if err != nil {
		t.Fatal(err)
	}
	names := []string{"fine", "a,b"}
	for pointer, try := range map[string]func() error{
		"/labels/1": func() error {
			_, err := s.patch(task.ID, 0, func(in *patchTask) { in.Body.Labels = api.Some(names) })
			return err
		},
		"/labels/0": func() error {
			_, err := run(s, s.member, s.f.replace, &replaceTask{TaskID: task.ID, Body: fields{Title: "x", Labels: names[1:]}})
			return err
		},
		"/set/labels_add/1": func() error {
			in := &bulkTasks{}
			in.Body.TaskIDs, in.Body.Set.LabelsAdd = []id.ID{task.ID}, names
			_, err := run(s, s.member, s.f.bulk, in)
			return err
		},
		"/name": func() error {
			in := &patchLabel{LabelID: label}
			in.Body.Name = api.Some("a,b")
			_, err := run(s, s.member, s.f.patchLabel, in)
			return err
		},
	} {
		f := fault.As(try())
		if f == nil || f.Kind != fault.Invalid || f.Fields[0].Pointer != pointer {
			t.Errorf("%s: %v", pointer, f)
		}
	}
}

func TestCreateFillsWhatIsLeftOut(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	got := s.task(s.web, fields{Title: "one", Labels: []string{"Bug", "bug ", "API"}, AssignedToID: &s.bob})
	if got.Key != "WEB-1" || got.Number != 1 || got.Status != "pending" || got.StateGroup != "unstarted" || got.Priority != "none" || got.Version != 1 {
		t.Errorf("created %+v", got)
	}
	if !slices.Equal(got.Labels, []string{"API", "Bug"}) {
		t.Errorf("labels %q", got.Labels)
	}
	if *got.CreatedBy.ID != s.ann || got.CreatedBy.Type != "user" {
		t.Errorf("created by %+v", got.CreatedBy)
	}
	read := s.get(got.ID)
	if fmt.Sprintf("%+v", flat(read)) != fmt.Sprintf("%+v", flat(got)) {
		t.Errorf("the answer of the create differs from the row:\n%+v\n%+v", flat(got), flat(read))
	}
	again := s.task(s.web, fields{Title: "two", Labels: []string{"BUG"}, Status: "done"})
	if again.Key != "WEB-2" || again.Position <= got.Position || again.CompletedAt == nil || again.Labels[0] != "Bug" {
		t.Errorf("created %+v", again)
	}
	watchers, err := tenant.Values[id.ID](context.Background(), s.db.View(s.robot), `select user_id from task_watchers where task_id = $1`, got.ID)
	if err != nil || len(watchers) != 2 || !slices.Contains(watchers, s.ann) || !slices.Contains(watchers, s.bob) {
		t.Errorf("watchers %v, %v", watchers, err)
	}
	if log := s.events(); len(log) != 2 || !strings.HasPrefix(log[0], "task.created") {
		t.Errorf("log %q", log)
	}
}

// flat follows the pointers, so that two rows can be compared as text.
func flat(t Task) map[string]any {
	m := map[string]any{"task": fmt.Sprint(t.ID, t.Key, t.Number, t.Title, t.Description, t.Status, t.StateGroup, t.Priority, t.ProjectID,
		t.Labels, t.Position, t.Version, t.CreatedAt.UTC(), t.UpdatedAt.UTC(), t.CreatedBy.Type, *t.CreatedBy.ID)}
	if t.AssignedToID != nil {
		m["assigned"] = *t.AssignedToID
	}
	if t.DueDate != nil {
		m["due"] = t.DueDate.String()
	}
	m["completed"], m["deleted"], m["parent"] = t.CompletedAt == nil, t.DeletedAt == nil, t.ParentID == nil
	return m
}

func TestCreateRefuses(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	elsewhere := s.task(s.ops, fields{Title: "elsewhere"})
	random := id.New()
	for _, c := range []struct {
		name    string
		scope   tenant.Scope
		project id.ID
		body    fields
		kind    fault.Kind
		pointer string
	}{
		{"no such project", s.member, random, fields{}, fault.NotFound, ""},
		{"a private project of others", s.memberBob, s.secret, fields{}, fault.NotFound, ""},
		{"a viewer", s.guest, s.web, fields{}, fault.Denied, ""},
		{"a guest in an open project", s.guest, s.ops, fields{}, fault.NotFound, ""},
		{"no such state", s.member, s.web, fields{Status: "nowhere"}, fault.Invalid, "/status"},
		{"no such person", s.member, s.web, fields{AssignedToID: &random}, fault.Invalid, "/assigned_to_id"},
		{"a person who cannot see it", s.member, s.secret, fields{AssignedToID: &s.bob}, fault.Invalid, "/assigned_to_id"},
		{"a guest who cannot see it", s.member, s.ops, fields{AssignedToID: &s.gus}, fault.Invalid, "/assigned_to_id"},
		{"no such parent", s.member, s.web, fields{ParentID: &random}, fault.Invalid, "/parent_id"},
		{"a parent in another project", s.member, s.web, fields{ParentID: &elsewhere.ID}, fault.Invalid, "/parent_id"},
		{"due before it starts", s.member, s.web, fields{StartDate: day("2026-03-02"), DueDate: day("2026-03-01")}, fault.Invalid, "/start_date"},
	} {
		c.body.Title, c.body.Priority = "x", "none"
		_, err := run(s, c.scope, s.f.create, &createTask{ProjectID: c.project, Body: c.body})
		f := fault.As(err)
		if f == nil || f.Kind != c.kind || c.pointer != "" && (len(f.Fields) != 1 || f.Fields[0].Pointer != c.pointer) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	if got := s.order(s.web); len(got) != 0 {
		t.Errorf("left behind: %q", got)
	}
}

func TestConcurrentCreatesGetDistinctNumbersAndPlaces(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	const n = 100
	made := make([]Task, n)
	var g errgroup.Group
	for i := range n {
		g.Go(func() (err error) {
			made[i], err = run(s, s.member, s.f.create, &createTask{ProjectID: s.web, Body: fields{
				Title: fmt.Sprint(i), Priority: "none", Labels: []string{"shared", fmt.Sprintf("own %d", i%7)}}})
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	numbers, places := map[int32]bool{}, map[string]bool{}
	for _, m := range made {
		numbers[m.Number], places[m.Position] = true, true
		if len(m.Labels) != 2 {
			t.Errorf("labels %q", m.Labels)
		}
	}
	if len(numbers) != n || len(places) != n || !numbers[1] || !numbers[n] {
		t.Errorf("%d numbers, %d places", len(numbers), len(places))
	}
}

func TestDifferentFieldsMergeAndTheSameDoNot(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	made := s.task(s.web, fields{Title: "old"})
	if _, err := s.patch(made.ID, 1, func(in *patchTask) { in.Body.Title = api.Some("new") }); err != nil {
		t.Fatal(err)
	}
	merged, err := s.patch(made.ID, 1, func(in *patchTask) { in.Body.Priority = api.Some("high") })
	if err != nil || merged.Title != "new" || merged.Priority != "high" || merged.Version != 3 {
		t.Fatalf("merged %+v, %v", merged, err)
	}
	_, err = s.patch(made.ID, 1, func(in *patchTask) { in.Body.Title = api.Some("mine") })
	f := fault.As(err)
	if f == nil || f.Kind != fault.Stale || f.Members["current"].(Task).Title != "new" {
		t.Errorf("the same field: %v", err)
	}
	if _, err = s.patch(made.ID, 2, func(in *patchTask) { in.Body.Title = api.Some("theirs") }); err != nil {
		t.Errorf("a field that did not change since: %v", err)
	}
	if _, err = s.patch(made.ID, 99, func(in *patchTask) { in.Body.Description = api.Some("x") }); !fault.Is(err, fault.Stale) {
		t.Errorf("a version that is not there yet: %v", err)
	}
	_, err = run(s, s.member, s.f.replace, &replaceTask{TaskID: made.ID, IfMatch: match(1), Body: fields{Title: "all", Priority: "none"}})
	if !fault.Is(err, fault.Stale) {
		t.Errorf("a stale replacement: %v", err)
	}
}

func TestConcurrentPatchesLoseNothing(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	made := s.task(s.web, fields{Title: "shared"})
	var g errgroup.Group
	for i := range 40 {
		g.Go(func() error {
			_, err := s.patch(made.ID, 0, func(in *patchTask) {
				switch i % 4 {
				case 0:
					in.Body.Title = api.Some(fmt.Sprint("title ", i))
				case 1:
					in.Body.Description = api.Some(fmt.Sprint("description ", i))
				case 2:
					in.Body.Labels = api.Some([]string{fmt.Sprint("label ", i)})
				case 3:
					in.Body.DueDate = api.Some(day("2026-03-01").AddDays(i))
				}
			})
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	got := s.get(made.ID)
	if got.Version != 41 || !strings.HasPrefix(got.Title, "title ") || !strings.HasPrefix(got.Description, "description ") ||
		len(got.Labels) != 1 || got.DueDate == nil {
		t.Errorf("after 40 patches: %+v", got)
	}
	if log := s.events(); len(log) != 41 {
		t.Errorf("%d events of 41 changes", len(log))
	}
}

func TestOnlyOneOfManyWithTheSameVersionWins(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	made := s.task(s.web, fields{Title: "shared"})
	results := make([]error, 30)
	var g errgroup.Group
	for i := range results {
		g.Go(func() error {
			_, results[i] = s.patch(made.ID, 1, func(in *patchTask) { in.Body.Title = api.Some(fmt.Sprint("mine ", i)) })
			return nil
		})
	}
	_ = g.Wait()
	won := 0
	for _, err := range results {
		switch {
		case err == nil:
			won++
		case !fault.Is(err, fault.Stale):
			t.Error(err)
		}
	}
	if won != 1 {
		t.Errorf("%d won", won)
	}
}

func TestCompletedFollowsTheGroup(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	made := s.task(s.web, fields{Title: "x"})
	done, err := s.patch(made.ID, 0, func(in *patchTask) { in.Body.Status = api.Some("done") })
	if err != nil || done.CompletedAt == nil || done.StateGroup != "completed" {
		t.Fatalf("%+v, %v", done, err)
	}
	open, err := s.patch(made.ID, 0, func(in *patchTask) { in.Body.Status = api.Some("testing") })
	if err != nil || open.CompletedAt != nil || open.StateGroup != "started" {
		t.Fatalf("%+v, %v", open, err)
	}
	same, err := s.patch(made.ID, 0, func(in *patchTask) { in.Body.Status = api.Some("testing") })
	if err != nil || same.Version != open.Version {
		t.Fatalf("a change that changes nothing: %+v, %v", same, err)
	}
	if err := s.db.Write(context.Background(), s.robot, func(tx *tenant.Tx) error {
		return s.f.Replace(context.Background(), tx, s.web, "testing", "done")
	}); err != nil {
		t.Fatal(err)
	}
	if got := s.get(made.ID); got.Status != "done" || got.CompletedAt == nil || got.Version != open.Version+1 {
		t.Errorf("after its state went: %+v", got)
	}
}

func TestTheTreeStaysATree(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	chain := []Task{s.task(s.web, fields{Title: "1"})}
	for i := 2; i <= maxDepth; i++ {
		chain = append(chain, s.task(s.web, fields{Title: fmt.Sprint(i), ParentID: &chain[len(chain)-1].ID}))
	}
	_, err := run(s, s.member, s.f.create, &createTask{ProjectID: s.web, Body: fields{Title: "too deep", Priority: "none", ParentID: &chain[maxDepth-1].ID}})
	if !fault.Is(err, fault.Invalid) {
		t.Errorf("level %d: %v", maxDepth+1, err)
	}
	for _, below := range []int{0, 1, maxDepth - 1} {
		_, err := s.patch(chain[0].ID, 0, func(in *patchTask) { in.Body.ParentID = api.Some(chain[below].ID) })
		if !fault.Is(err, fault.Invalid) {
			t.Errorf("a cycle over %d: %v", below, err)
		}
	}
	// Two that become each other's parent at once: one at most may succeed.
	a, b := s.task(s.web, fields{Title: "a"}), s.task(s.web, fields{Title: "b"})
	var g errgroup.Group
	errs := make([]error, 2)
	for i, pair := range [][2]id.ID{{a.ID, b.ID}, {b.ID, a.ID}} {
		g.Go(func() error {
			_, errs[i] = s.patch(pair[0], 0, func(in *patchTask) { in.Body.ParentID = api.Some(pair[1]) })
			return nil
		})
	}
	_ = g.Wait()
	if (errs[0] == nil) == (errs[1] == nil) {
		t.Errorf("each other's parent: %v, %v", errs[0], errs[1])
	}
}

func TestTrashTakesTheSubtasksAlongAndGivesThemBack(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	root := s.task(s.web, fields{Title: "root"})
	child := s.task(s.web, fields{Title: "child", ParentID: &root.ID})
	early := s.task(s.web, fields{Title: "early", ParentID: &root.ID})
	for _, victim := range []id.ID{early.ID, root.ID} {
		if _, err := run(s, s.member, s.f.trash, &taskMatch{TaskID: victim}); err != nil {
			t.Fatal(err)
		}
	}
	if got := s.order(s.web); len(got) != 0 {
		t.Fatalf("still there: %q", got)
	}
	if _, err := run(s, s.member, s.f.trash, &taskMatch{TaskID: root.ID}); !fault.Is(err, fault.NotFound) {
		t.Errorf("twice: %v", err)
	}
	if _, err := s.patch(child.ID, 0, func(in *patchTask) { in.Body.Title = api.Some("x") }); !fault.Is(err, fault.NotFound) {
		t.Errorf("a patch in the trash: %v", err)
	}
	back, err := run(s, s.member, s.f.restore, &taskPath{TaskID: root.ID})
	if err != nil || back.DeletedAt != nil {
		t.Fatalf("%+v, %v", back, err)
	}
	if got := s.order(s.web); !slices.Equal(got, []string{"root", "child"}) {
		t.Errorf("restored %q: what went before stays in the trash", got)
	}
	if got := s.get(child.ID); got.ParentID == nil || *got.ParentID != root.ID {
		t.Errorf("the child lost its parent: %+v", got)
	}
}

func TestPurgeEmptiesTheTrashAfter30Days(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	old := s.task(s.web, fields{Title: "old"})
	young := s.task(s.web, fields{Title: "young", ParentID: &old.ID})
	s.must(s.robot, `update tasks set deleted_at = now() - interval '31 days' where id = $1`, old.ID)
	s.must(s.robot, `update tasks set deleted_at = now() - interval '29 days' where id = $1`, young.ID)
	if err := purge(context.Background(), s.data.OpenWorker(t)); err != nil {
		t.Fatal(err)
	}
	left, err := tenant.Values[string](context.Background(), s.db.View(s.robot), `select title from tasks`)
	if err != nil || !slices.Equal(left, []string{"young"}) {
		t.Errorf("left %q, %v", left, err)
	}
}

func later(s string, days int) *date.Date {
	d := day(s).AddDays(days)
	return &d
}

func TestALostReferenceMakesANewVersion(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	parent := s.task(s.web, fields{Title: "parent"})
	child := s.task(s.web, fields{Title: "child", ParentID: &parent.ID, AssignedToID: &s.bob})
	s.must(s.robot, `delete from members where user_id = $1`, s.bob)
	if got := s.get(child.ID); got.AssignedToID != nil || got.Version != 2 {
		t.Errorf("its assignee left: %+v", got)
	}
	s.must(s.robot, `delete from tasks where id = $1`, parent.ID)
	if got := s.get(child.ID); got.ParentID != nil || got.Version != 3 {
		t.Errorf("its parent is gone: %+v", got)
	}
	if _, err := s.patch(child.ID, 1, func(in *patchTask) { in.Body.AssignedToID = api.Some(s.ann) }); !fault.Is(err, fault.Stale) {
		t.Errorf("a stale patch of what was lost: %v", err)
	}
}

// Very many tasks are taken off a guest in slices.
func TestGuestLosesManyTasks(t *testing.T) {
	t.Parallel()
	const many = 2*unassignBatch + 1
	s := newSite(t)
	s.must(s.robot, `insert into tasks (tenant_id, id, project_id, number, title, status, state_group, position, created_by_kind, assigned_to_id)
select $1, gen_random_uuid(), $2, n, 'x', 'pending', 'unstarted', lpad(n::text, 8, '0') || '1', 'system', $4 from generate_series(1, $3::int) n`, s.org, s.ops, many, s.bob)
	s.must(s.robot, `update members set role = 'guest' where user_id = $1`, s.bob)
	if err := takeOffGuests(context.Background(), s.db, s.robot, unseenArgs{UserID: &s.bob}); err != nil {
		t.Fatal(err)
	}
	left, err := tenant.Value[int64](context.Background(), s.db.View(s.robot), `select count(*) from tasks where assigned_to_id = $1`, s.bob)
	if err != nil || left != 0 {
		t.Errorf("%d tasks are his still, %v", left, err)
	}
	told, err := tenant.Value[int64](context.Background(), s.db.View(s.robot), `select count(*) from event_log where type = 'task.updated'`)
	if err != nil || told != many {
		t.Errorf("%d events, %v", told, err)
	}
}
