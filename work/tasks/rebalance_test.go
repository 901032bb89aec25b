package tasks

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/jobs"
	"github.com/guildhall-dev/guildhall/tenant"
)

// crowd fills web with tasks whose ranks are long.
func (s *site) crowd(tasks int) {
	s.t.Helper()
	s.task(s.web, fields{Title: "first"})
	s.must(s.robot, `insert into tasks (tenant_id, id, project_id, number, title, status, state_group, position, created_by_kind)
select $1::uuid, gen_random_uuid(), $2::uuid, 1 + n, n::text, 'pending', 'unstarted', '00000001V' || repeat('z', 60) || lpad(n::text, 6, '0') || '1', 'system'
from generate_series(1, $3::int) n`, s.org, s.web, tasks)
	s.must(s.robot, `update task_counters set last_number = $2 where project_id = $1`, s.web, tasks+1)
}

// The order stays what it is, whatever is moved between the batches and however
// often the work is cut and begun anew, and each task tells of its new place.
func TestRebalanceKeepsTheOrder(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	const tasks = 1300
	s.crowd(tasks)
	var g errgroup.Group
	for range 2 { // two jobs at once
		g.Go(func() error { return s.f.shorten(context.Background(), s.db, s.robot, rebalanceArgs{ProjectID: s.web}) })
	}
	all, err := tenant.Values[id.ID](context.Background(), s.db.View(s.robot), `select id from tasks where project_id = $1 order by position`, s.web)
	if err != nil {
		t.Fatal(err)
	}
	var pairs [][2]id.ID // the first stands right before the second when it is put there
	for range 20 {
		i, j := rand.IntN(len(all)), rand.IntN(len(all))
		if i == j {
			continue
		}
		_, err := s.move(all[i], func(in *moveTask) { in.Body.Before = &all[j] })
		if err != nil {
			t.Fatal(err)
		}
		pairs = append(pairs, [2]id.ID{all[i], all[j]})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	moved := map[id.ID]bool{}
	for _, p := range pairs {
		moved[p[0]] = true
	}
	after, err := tenant.Values[id.ID](context.Background(), s.db.View(s.robot), `select id from tasks where project_id = $1 order by position`, s.web)
	if err != nil {
		t.Fatal(err)
	}
	still := func(x id.ID) bool { return moved[x] }
	if !slices.Equal(slices.DeleteFunc(slices.Clone(all), still), slices.DeleteFunc(slices.Clone(after), still)) {
		t.Error("tasks that nobody moved changed their order")
	}
	last := pairs[len(pairs)-1]
	if i := slices.Index(after, last[0]); i < 0 || i+1 >= len(after) || after[i+1] != last[1] {
		t.Error("the last move was lost")
	}
}

func TestRebalanceTellsOfEach(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.crowd(600)
	s.must(s.robot, `update tasks set deleted_at = now() where title = '17'`)
	if err := s.f.shorten(context.Background(), s.db, s.robot, rebalanceArgs{ProjectID: s.web}); err != nil {
		t.Fatal(err)
	}
	told := 0
	for _, e := range s.events() {
		if strings.HasPrefix(e, `task.updated {"position": "`) {
			told++
		}
	}
	if told != 600 {
		t.Errorf("told of %d tasks of 600", told)
	}
	// Every task has a short rank now, so there is nothing left to do.
	if err := s.f.shorten(context.Background(), s.db, s.robot, rebalanceArgs{ProjectID: s.web}); err != nil || len(s.events()) != 601 {
		t.Errorf("%d events, %v", len(s.events()), err)
	}
}

// A job that runs out of its time leaves the rest to another one, and one that
// was killed after its last batch begins anew.
func TestRebalanceGoesOn(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.crowd(1200)
	want := s.order(s.web)
	short, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	if err := s.f.shorten(short, s.db, s.robot, rebalanceArgs{ProjectID: s.web}); err != nil {
		t.Fatal(err)
	}
	next, err := tenant.Value[rebalanceArgs](context.Background(), s.db.View(s.robot), `select args->'args' from river.river_job where kind = 'tasks.rebalance'`)
	if err != nil || next.Below == "" {
		t.Fatalf("left %+v, %v", next, err)
	}
	for _, ctx := range []context.Context{short, context.Background()} { // as if the first had been killed at its end
		if err := s.f.shorten(ctx, s.db, s.robot, next); err != nil {
			t.Fatal(err)
		}
		if got := s.order(s.web); !slices.Equal(got, want) {
			t.Fatalf("the order changed: %s", fmt.Sprint(got)[:200])
		}
	}
	if long, err := tenant.Value[bool](context.Background(), s.db.View(s.robot), selectLongRanks, s.web, longRank); err != nil || long {
		t.Errorf("ranks are still long, %v", err)
	}
}

// Changes of more tasks than one statement takes reach all of them, once.
func TestManyTasksChangeInBatches(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.crowd(2*changeBatch + 100)
	s.task(s.web, fields{Title: "labelled", Labels: []string{"many"}})
	many := s.label(s.web, "many")
	s.must(s.robot, `insert into task_labels (tenant_id, project_id, task_id, label_id)
select t.tenant_id, t.project_id, t.id, $1 from tasks t on conflict do nothing`, many)
	count := func(where string) int64 {
		t.Helper()
		n, err := tenant.Value[int64](context.Background(), s.db.View(s.robot), `select count(*) from tasks where `+where)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if _, err := run(s, s.member, s.f.patchLabel, s.renaming("many", "all")); err != nil {
		t.Fatal(err)
	}
	if n := count(`labels = '{all}' and version = 2`); n != 2*changeBatch+102 {
		t.Errorf("%d tasks show the new name", n)
	}
	err := s.db.Write(context.Background(), s.robot, func(tx *tenant.Tx) error {
		return s.f.Replace(context.Background(), tx, s.web, "pending", "done")
	})
	if n := count(`status = 'done' and completed_at is not null and version = 3`); err != nil || n != 2*changeBatch+102 {
		t.Errorf("%d tasks are done, %v", n, err)
	}
}

// A job that runs out of its time makes room for others and goes on later.
func TestUnassignGoesOn(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.crowd(unassignBatch + 100)
	s.must(s.robot, `update tasks set assigned_to_id = $1`, s.gus)
	s.must(s.robot, `delete from project_members where user_id = $1`, s.gus)
	left := func() int64 {
		t.Helper()
		n, err := tenant.Value[int64](context.Background(), s.db.View(s.robot), `select count(*) from tasks where assigned_to_id is not null`)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	short, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	err := takeOffAll(short, s.db, s.robot, unassignArgs{s.web})
	if err == nil || err.Error() != jobs.Again().Error() || left() != 101 {
		t.Fatalf("%d are left, %v", left(), err)
	}
	if err := takeOffAll(context.Background(), s.db, s.robot, unassignArgs{s.web}); err != nil || left() != 0 {
		t.Fatalf("%d are left, %v", left(), err)
	}
}
