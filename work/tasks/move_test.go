package tasks

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/tenant"
)

func (s *site) move(task id.ID, fill func(*moveTask)) (Task, error) {
	in := &moveTask{TaskID: task}
	fill(in)
	return run(s, s.member, s.f.move, in)
}

func TestMovesAgainstAList(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	var want []string
	ids := map[string]id.ID{}
	for i := range 8 {
		title := fmt.Sprint(i)
		ids[title] = s.task(s.web, fields{Title: title}).ID
		want = append(want, title)
	}
	for range 60 {
		title, anchor := want[rand.IntN(8)], want[rand.IntN(8)]
		if title == anchor {
			continue
		}
		want = slices.DeleteFunc(want, func(x string) bool { return x == title })
		at := slices.Index(want, anchor)
		before := rand.IntN(2) == 0
		target := ids[anchor]
		_, err := s.move(ids[title], func(in *moveTask) {
			if before {
				in.Body.Before = &target
			} else {
				in.Body.After = &target
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		if !before {
			at++
		}
		want = slices.Insert(want, at, title)
		if got := s.order(s.web); !slices.Equal(got, want) {
			t.Fatalf("moved %s to %s (before: %v): %q, want %q", title, anchor, before, got, want)
		}
	}
}

// TestMovesAndCreatesAtOnce moves everything to the same few places while tasks
// are made: no error, no place twice, and what was put before or after last
// stands there.
func TestMovesAndCreatesAtOnce(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	var made []Task
	for i := range 20 {
		made = append(made, s.task(s.web, fields{Title: fmt.Sprint(i)}))
	}
	var g errgroup.Group
	for i := range 60 {
		g.Go(func() error {
			switch task, anchor := made[i%20], made[(i+1+i/20)%20]; i % 4 {
			case 0:
				_, err := run(s, s.memberBob, s.f.create, &createTask{ProjectID: s.web, Body: fields{Title: "more", Priority: "none"}})
				return err
			case 1:
				_, err := s.move(task.ID, func(in *moveTask) { in.Body.Before = &anchor.ID })
				return err
			case 2:
				_, err := s.move(task.ID, func(in *moveTask) { in.Body.After = &made[19].ID; in.Body.Status = "done" })
				if fault.Is(err, fault.Invalid) && task.ID == made[19].ID {
					return nil
				}
				return err
			default:
				_, err := s.move(task.ID, func(in *moveTask) { in.Body.After = &anchor.ID })
				return err
			}
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	places, err := tenant.Value[int64](context.Background(), s.db.View(s.robot), `select count(distinct position) from tasks where project_id = $1`, s.web)
	if err != nil || places != 35 {
		t.Errorf("%d places of 35 tasks, %v", places, err)
	}
}

func TestTwoTasksThatTakeOnePlace(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	a, b := s.task(s.web, fields{Title: "a"}), s.task(s.web, fields{Title: "b"})
	tries := 0
	err := s.db.Write(context.Background(), s.member, func(tx *tenant.Tx) error {
		return ranked(context.Background(), tx, func() error {
			place := a.Position
			if tries++; tries > 1 {
				place = between(a.Position, b.Position)
			}
			_, err := tenant.Exec(context.Background(), tx, setPosition, b.ID, place)
			return err
		})
	})
	if err != nil || tries != 2 {
		t.Errorf("%d tries, %v", tries, err)
	}
}

func TestMoveIntoAnotherProject(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	there := s.task(s.secret, fields{Title: "there"})
	top := s.task(s.web, fields{Title: "top"})
	root := s.task(s.web, fields{Title: "root", Status: "testing", ParentID: &top.ID, AssignedToID: &s.bob, Labels: []string{"kept"}})
	child := s.task(s.web, fields{Title: "child", Status: "done", ParentID: &root.ID})
	got, err := s.move(root.ID, func(in *moveTask) { in.Body.ProjectID, in.Body.Before = &s.secret, &there.ID })
	if err != nil {
		t.Fatal(err)
	}
	if got.Key != "SEC-2" || got.Status != "pending" || got.ParentID != nil || got.AssignedToID != nil || !slices.Equal(got.Labels, []string{"kept"}) {
		t.Errorf("moved: %+v", got)
	}
	if c := s.get(child.ID); c.Key != "SEC-3" || c.Status != "done" || c.CompletedAt == nil || *c.ParentID != root.ID {
		t.Errorf("its subtask: %+v", c)
	}
	if order := s.order(s.secret); !slices.Equal(order, []string{"root", "there", "child"}) {
		t.Errorf("order %q", order)
	}
	log := s.events()
	if last := log[len(log)-2]; !strings.HasPrefix(last, "task.moved") || !strings.Contains(last, `"key": "WEB-2"`) {
		t.Errorf("log %q", log)
	}
	both, err := tenant.Value[int64](context.Background(), s.db.View(s.robot),
		`select count(*) from event_log where type = 'task.moved' and project_id = $1 and previous_project_id = $2`, s.secret, s.web)
	if err != nil || both != 2 {
		t.Errorf("%d events name both projects, %v", both, err)
	}
	random := id.New()
	for pointer, fill := range map[string]func(*moveTask){
		"/project_id": func(in *moveTask) { in.Body.ProjectID = &random },
		"/before":     func(in *moveTask) { in.Body.Before = &there.ID },
		"/after":      func(in *moveTask) { in.Body.After = &random },
		"/status":     func(in *moveTask) { in.Body.ProjectID, in.Body.Status = &s.ops, "testing" },
	} {
		_, err := s.move(top.ID, fill)
		f := fault.As(err)
		if f == nil || f.Kind != fault.Invalid || f.Fields[0].Pointer != pointer {
			t.Errorf("%s: %v", pointer, err)
		}
	}
	if _, err := run(s, s.memberBob, s.f.move, &moveTask{TaskID: root.ID}); !fault.Is(err, fault.NotFound) {
		t.Errorf("somebody who cannot see it: %v", err)
	}
}

// TestMoveKeepsTheMeaningOfTheState: by its key, else by its group, else not.
func TestMoveKeepsTheMeaningOfTheState(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	// The default of ops is backlog. "checking" comes before "doing" there.
	for key, position := range map[string]string{"doing": "08", "checking": "07"} {
		s.must(s.robot, `insert into project_states (tenant_id, project_id, id, key, name, state_group, position)
values ($1, $2, gen_random_uuid(), $3, $3, 'started', $4)`, s.org, s.ops, key, position)
	}
	s.must(s.robot, `insert into project_states (tenant_id, project_id, id, key, name, state_group, position)
values ($1, $2, gen_random_uuid(), 'dropped', 'dropped', 'cancelled', '10')`, s.org, s.web)
	for _, c := range []struct{ from, asked, want string }{
		{"done", "", "done"}, {"testing", "", "checking"}, {"testing", "pending", "pending"}, {"dropped", "", "backlog"},
	} {
		root := s.task(s.web, fields{Title: "root", Status: c.from})
		child := s.task(s.web, fields{Title: "child", Status: "testing", ParentID: &root.ID})
		got, err := s.move(root.ID, func(in *moveTask) { in.Body.ProjectID, in.Body.Status = &s.ops, c.asked })
		if err != nil || got.Status != c.want {
			t.Errorf("%s, asked for %q, became %s, want %s: %v", c.from, c.asked, got.Status, c.want, err)
		}
		if got := s.get(child.ID); got.Status != "checking" || got.StateGroup != "started" {
			t.Errorf("its subtask is in %s", got.Status)
		}
	}
}

func TestMovesToAndFroBetweenProjectsAtOnce(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	var made []Task
	for i := range 6 {
		project := []id.ID{s.web, s.ops}[i%2]
		root := s.task(project, fields{Title: fmt.Sprint(i)})
		s.task(project, fields{Title: fmt.Sprint(i, " part"), ParentID: &root.ID})
		made = append(made, root)
	}
	var g errgroup.Group
	for i := range 36 {
		g.Go(func() error {
			target := []id.ID{s.ops, s.web}[i%2]
			_, err := s.move(made[i%6].ID, func(in *moveTask) { in.Body.ProjectID = &target })
			if f := fault.As(err); f != nil && f.Code == "task_moved" {
				return nil
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	if n := len(s.order(s.web)) + len(s.order(s.ops)); n != 12 {
		t.Errorf("%d tasks of 12", n)
	}
}

func TestLongRanksAreMadeShort(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	var want []string
	var ids []id.ID
	for i := range 5 {
		want = append(want, fmt.Sprint(i))
		ids = append(ids, s.task(s.web, fields{Title: want[i]}).ID)
	}
	for i, last := range []string{"1", "3"} {
		s.must(s.robot, `update tasks set position = $2 || repeat('z', 70) || $3 where id = $1`, ids[2+i], slot(3), last)
	}
	moved, err := s.move(ids[4], func(in *moveTask) { in.Body.After = &ids[2] })
	if err != nil {
		t.Fatal(err)
	}
	want = []string{"0", "1", "2", "4", "3"}
	queued, err := tenant.Value[int64](context.Background(), s.db.View(s.robot), `select count(*) from river.river_job where kind = 'tasks.rebalance'`)
	if err != nil || queued != 1 {
		t.Fatalf("position %q and %d jobs, %v", moved.Position, queued, err)
	}
	var g errgroup.Group
	g.Go(func() error {
		return s.f.shorten(context.Background(), s.db, s.robot, rebalanceArgs{ProjectID: s.web})
	})
	for i := range 10 {
		g.Go(func() error {
			_, err := s.patch(ids[i%5], 0, func(in *patchTask) { in.Body.Description = api.Some(fmt.Sprint(i)) })
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	if got := s.order(s.web); !slices.Equal(got, want) {
		t.Errorf("order %q, want %q", got, want)
	}
	long, err := tenant.Value[bool](context.Background(), s.db.View(s.robot), selectLongRanks, s.web, longRank)
	if err != nil || long {
		t.Errorf("ranks are still long, %v", err)
	}
	if err := s.f.shorten(context.Background(), s.db, s.robot, rebalanceArgs{ProjectID: id.New()}); err != nil {
		t.Errorf("a project that is gone: %v", err)
	}
}

func TestBulkTellsOfEach(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	ours := s.task(s.web, fields{Title: "ours", Labels: []string{"old", "kept"}})
	both := s.task(s.ops, fields{Title: "other project"})
	hidden, err := run(s, s.member, s.f.create, &createTask{ProjectID: s.secret, Body: fields{Title: "hidden", Priority: "none"}})
	if err != nil {
		t.Fatal(err)
	}
	in := &bulkTasks{}
	in.Body.TaskIDs = []id.ID{id.New(), hidden.ID, both.ID, ours.ID}
	in.Body.Set = bulkSet{Status: api.Some("testing"), LabelsAdd: []string{"new"}, LabelsRemove: []string{"OLD"}}
	in.Body.DryRun = true
	statuses := func(r BulkResults) (out []int) {
		for i, x := range r.Results {
			if x.ID != in.Body.TaskIDs[i] {
				t.Errorf("result %d is of another task", i)
			}
			out = append(out, x.Status)
		}
		return out
	}
	want := []int{404, 404, 422, 200}
	dry, err := run(s, s.memberBob, s.f.bulk, in)
	if err != nil || !slices.Equal(statuses(dry), want) || dry.Results[3].Task.Status != "testing" {
		t.Fatalf("dry: %+v, %v", dry, err)
	}
	if got := s.get(ours.ID); got.Version != 1 || got.Status != "pending" || len(s.events()) != 3 {
		t.Fatalf("a dry run left %+v, %q", got, s.events())
	}
	in.Body.DryRun = false
	wet, err := run(s, s.memberBob, s.f.bulk, in)
	if err != nil || !slices.Equal(statuses(wet), want) {
		t.Fatalf("wet: %+v, %v", wet, err)
	}
	if got := s.get(ours.ID); got.Status != "testing" || !slices.Equal(got.Labels, []string{"kept", "new"}) {
		t.Errorf("after: %+v", got)
	}
}

func TestBulksOverTheSameTasksAtOnce(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	var ids []id.ID
	for i := range 30 {
		ids = append(ids, s.task(s.web, fields{Title: fmt.Sprint(i)}).ID)
	}
	var g errgroup.Group
	for i := range 10 {
		g.Go(func() error {
			in := &bulkTasks{}
			in.Body.TaskIDs = slices.Clone(ids)
			rand.Shuffle(len(ids), func(a, b int) { in.Body.TaskIDs[a], in.Body.TaskIDs[b] = in.Body.TaskIDs[b], in.Body.TaskIDs[a] })
			in.Body.Set.Priority = api.Some([]string{"low", "high"}[i%2])
			out, err := run(s, s.member, s.f.bulk, in)
			for _, r := range out.Results {
				if r.Status != 200 {
					err = errors.Join(err, fmt.Errorf("%+v", r.Error))
				}
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
}
