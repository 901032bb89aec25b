package tasks

import (
	"context"
	"fmt"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/tenant"
)

// selectAstray lists the tasks whose row does not say what the other tables say.
const selectAstray = `select t.title || ' ' || t.labels::text from tasks t
join project_states s on s.tenant_id = t.tenant_id and s.project_id = t.project_id and s.key = t.status
where t.state_group <> s.state_group
or t.labels is distinct from coalesce((select array_agg(l.name order by l.name_key) from task_labels tl join labels l on l.tenant_id = tl.tenant_id and l.id = tl.label_id
	where tl.tenant_id = t.tenant_id and tl.project_id = t.project_id and tl.task_id = t.id), '{}')`

func (s *site) astray() []string {
	s.t.Helper()
	found, err := tenant.Values[string](context.Background(), s.db.View(s.robot), selectAstray)
	if err != nil {
		s.t.Fatal(err)
	}
	return found
}

func TestTheRowRepeatsItsStateAndLabels(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	made := s.task(s.web, fields{Title: "x", Labels: []string{"zeta", "Alpha"}})
	other := s.task(s.web, fields{Title: "y", Labels: []string{"zeta"}})
	step := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if found := s.astray(); len(found) > 0 {
			t.Errorf("%s: %q", what, found)
		}
	}
	step("create", nil)
	_, err := s.patch(made.ID, 0, func(in *patchTask) {
		in.Body.Status = api.Some("testing")
		in.Body.Labels = api.Some([]string{"zeta", "new"})
	})
	step("patch", err)
	_, err = s.move(made.ID, func(in *moveTask) { in.Body.ProjectID = &s.ops })
	step("move", err)
	_, err = run(s, s.member, s.f.patchLabel, s.renaming("zeta", "Beta"))
	step("rename", err)
	_, err = run(s, s.member, s.f.deleteLabel, &labelMatch{LabelID: s.label(s.web, "Beta")})
	step("delete", err)
	err = s.db.Write(context.Background(), s.robot, func(tx *tenant.Tx) error {
		return s.f.Replace(context.Background(), tx, s.web, "pending", "done")
	})
	step("replace the state", err)
	if a, b := s.get(made.ID), s.get(other.ID); fmt.Sprint(a.Labels, b.Labels) != "[new zeta] []" || b.StateGroup != "completed" {
		t.Errorf("%+v %+v", a, b)
	}
}

// Whoever puts labels on and whoever renames or deletes them meet in the tasks'
// rows: afterwards every row says what the tables say.
func TestLabelsChangeWhileTasksTakeThem(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	var made []id.ID
	for i := range 4 {
		made = append(made, s.task(s.web, fields{Title: fmt.Sprint(i), Labels: []string{"a", "b", "c"}}).ID)
	}
	a, b := s.label(s.web, "a"), s.label(s.web, "b")
	var g errgroup.Group
	for i := range 40 {
		g.Go(func() error {
			var err error
			switch i % 4 {
			case 0:
				in := &patchLabel{LabelID: a}
				in.Body.Name = api.Some(fmt.Sprint("a", i))
				_, err = run(s, s.member, s.f.patchLabel, in)
			case 1:
				in := &patchLabel{LabelID: b}
				in.Body.Name = api.Some(fmt.Sprint("b", i))
				_, err = run(s, s.member, s.f.patchLabel, in)
			case 2:
				_, err = s.patch(made[i/4%4], 0, func(in *patchTask) { in.Body.Labels = api.Some([]string{"c", fmt.Sprint("a", i-2)}) })
			case 3:
				if i == 39 {
					_, err = run(s, s.member, s.f.deleteLabel, &labelMatch{LabelID: b})
					break
				}
				_, err = s.patch(made[i/4%4], 0, func(in *patchTask) { in.Body.Labels = api.Some([]string{fmt.Sprint("b", i-2), "c", "d"}) })
			}
			// Seen by nobody any more, or named so by another: answers like any.
			if f := fault.As(err); f != nil && (f.Kind == fault.NotFound || f.Kind == fault.Conflict) {
				return nil
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	if found := s.astray(); len(found) > 0 {
		t.Errorf("%q", found)
	}
}

// Renaming, putting on and bulk changes lock the same rows in one order, so
// none of them fails however many there are at once.
func TestLabelsDoNotDeadlock(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	var made []id.ID
	for i := range 20 {
		made = append(made, s.task(s.web, fields{Title: fmt.Sprint(i), Labels: []string{"x", "a"}}).ID)
	}
	x := s.label(s.web, "x")
	deadlocks := func() int64 {
		n, err := tenant.Value[int64](context.Background(), s.db.Global(), `select deadlocks from pg_stat_database where datname = current_database()`)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	var g errgroup.Group
	for worker := range 6 {
		g.Go(func() error {
			for round := range 20 {
				var err error
				switch worker % 3 {
				case 0: // one at a time holds a task and asks for the label
					_, err = s.patch(made[(worker+round)%20], 0, func(in *patchTask) {
						in.Body.Labels = api.Some([]string{"a", []string{"x", "y"}[round%2]})
					})
				case 1:
					in := &bulkTasks{}
					in.Body.TaskIDs = made
					in.Body.Set.LabelsAdd = []string{fmt.Sprint("bulk", round%3)}
					_, err = run(s, s.member, s.f.bulk, in)
				case 2:
					in := &patchLabel{LabelID: x}
					in.Body.Name = api.Some([]string{"x", "X"}[(round+worker/3)%2])
					_, err = run(s, s.member, s.f.patchLabel, in)
				}
				if err != nil && !fault.Is(err, fault.Conflict) {
					return fmt.Errorf("worker %d, round %d: %w", worker, round, err)
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	if found := s.astray(); len(found) > 0 {
		t.Errorf("%q", found)
	}
	if n := deadlocks(); n > 0 {
		t.Errorf("%d deadlocks", n)
	}
}

func (s *site) label(project id.ID, name string) id.ID {
	s.t.Helper()
	found, err := tenant.Value[id.ID](context.Background(), s.db.View(s.robot), `select id from labels where project_id = $1 and name = $2`, project, name)
	if err != nil {
		s.t.Fatal(err)
	}
	return found
}

// renaming is of a label of web.
func (s *site) renaming(from, to string) *patchLabel {
	in := &patchLabel{LabelID: s.label(s.web, from)}
	in.Body.Name = api.Some(to)
	return in
}
