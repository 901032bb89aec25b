package tasks

import (
	"context"
	"fmt"
	"testing"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/event"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/jobs"
	"github.com/guildhall-dev/guildhall/tenant"
	"github.com/guildhall-dev/guildhall/tenant/tenanttest"
)

// site is an organisation with two projects and three people, and the feature
// on it, without HTTP.
type site struct {
	t                testing.TB
	data             tenanttest.Database
	db               *tenant.DB
	f                *Feature
	org, web, ops    id.ID
	ann, bob, gus    id.ID // member, member, guest who is a viewer in web
	secret           id.ID // a private project of ann
	member, guest    tenant.Scope
	memberBob, robot tenant.Scope
}

const (
	seedOrganization = `insert into organizations (tenant_id, slug, name) values ($1, $2, 'O')`
	seedUser         = `insert into users (id, username, email, email_key, password_hash) values ($1, $2, $3, $3, '')`
	seedMember       = `insert into members (tenant_id, user_id, role) values ($1, $2, $3)`
	seedProject      = `insert into projects (tenant_id, id, key, name, visibility) values ($1, $2, $3, $3, $4)`
	seedStates       = `insert into project_states (tenant_id, project_id, id, key, name, state_group, position, is_default)
select $1, $2, gen_random_uuid(), s.key, s.key, s.grp, '0' || s.n, s.key = $3
from unnest(array['backlog', 'pending', 'done'], array['backlog', 'unstarted', 'completed']) with ordinality as s (key, grp, n)`
	seedOwnState = `insert into project_states (tenant_id, project_id, id, key, name, state_group, position) values ($1, $2, $3, $4, $4, 'started', '09')`
	seedRole     = `insert into project_members (tenant_id, project_id, user_id, role) values ($1, $2, $3, $4)`
)

func newSite(t testing.TB) *site {
	t.Helper()
	data := tenanttest.New(t)
	s := &site{t: t, data: data, db: data.Open(t), org: id.New(), web: id.New(), ops: id.New(), secret: id.New(), ann: id.New(), bob: id.New(), gus: id.New()}
	queue, err := jobs.NewQueue(s.db, testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	s.f = New(Deps{Queue: queue})
	s.robot = tenant.ForSystem(s.org)
	s.member, s.memberBob, s.guest = s.as(s.ann, "contributor"), s.as(s.bob, "contributor"), s.as(s.gus, "")
	ctx := context.Background()
	for name, person := range map[string]id.ID{"ann": s.ann, "bob": s.bob, "gus": s.gus} {
		err := s.db.GlobalWrite(ctx, func(tx *tenant.GlobalTx) error {
			_, err := tenant.Exec(ctx, tx, seedUser, person, name, name+"@example.test")
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	s.must(s.robot, seedOrganization, s.org, "o-"+s.org.String())
	for person, role := range map[id.ID]string{s.ann: "member", s.bob: "member", s.gus: "guest"} {
		s.must(s.robot, seedMember, s.org, person, role)
	}
	for i, p := range []id.ID{s.web, s.ops, s.secret} {
		s.must(s.robot, seedProject, s.org, p, []string{"WEB", "OPS", "SEC"}[i], []string{"open", "open", "private"}[i])
		s.must(s.robot, seedStates, s.org, p, []string{"pending", "backlog", "pending"}[i])
	}
	s.must(s.robot, seedOwnState, s.org, s.web, id.New(), "testing")
	s.must(s.robot, seedRole, s.org, s.web, s.gus, "viewer")
	s.must(s.robot, seedRole, s.org, s.secret, s.ann, "lead")
	return s
}

func (s *site) as(person id.ID, open string) tenant.Scope {
	return tenant.Scope{Organization: s.org, User: person, OpenRole: open, Actor: tenant.Actor{Kind: tenant.User, ID: person}}
}

func (s *site) must(scope tenant.Scope, sql string, args ...any) {
	s.t.Helper()
	err := s.db.Write(context.Background(), scope, func(tx *tenant.Tx) error {
		_, err := tenant.Exec(context.Background(), tx, sql, args...)
		return err
	})
	if err != nil {
		s.t.Fatalf("%s: %v", sql, err)
	}
}

// run calls a handler in a transaction of the scope.
func run[In, Out any](s *site, scope tenant.Scope, fn func(context.Context, *tenant.Tx, *In) (Out, error), in *In) (out Out, err error) {
	err = s.db.Write(context.Background(), scope, func(tx *tenant.Tx) error {
		out, err = fn(context.Background(), tx, in)
		return err
	})
	return out, err
}

// task makes a task of the project as ann.
func (s *site) task(project id.ID, f fields) Task {
	s.t.Helper()
	if f.Priority == "" {
		f.Priority = "none"
	}
	t, err := run(s, s.member, s.f.create, &createTask{ProjectID: project, Body: f})
	if err != nil {
		s.t.Fatal(err)
	}
	return t
}

func (s *site) get(task id.ID) Task {
	s.t.Helper()
	t, err := s.f.get(context.Background(), s.db.View(s.robot), &taskPath{TaskID: task})
	if err != nil {
		s.t.Fatal(err)
	}
	return t
}

// patch changes a task as ann.
func (s *site) patch(task id.ID, version int64, fill func(*patchTask)) (Task, error) {
	in := &patchTask{TaskID: task, IfMatch: match(version)}
	fill(in)
	return run(s, s.member, s.f.patch, in)
}

func match(version int64) api.IfMatch {
	return api.IfMatch{Set: version > 0, Version: version}
}

// order lists the titles of a project's tasks as the board shows them.
func (s *site) order(project id.ID) []string {
	s.t.Helper()
	rows, err := tenant.List[Task](context.Background(), s.db.View(s.robot), selectTasks+"where t.project_id = $1 and t.deleted_at is null order by t.position", project)
	if err != nil {
		s.t.Fatal(err)
	}
	titles := make([]string, len(rows))
	for i, t := range rows {
		titles[i] = t.Title
	}
	return titles
}

// events lists the log as "type title".
func (s *site) events() []string {
	s.t.Helper()
	rows, err := tenant.List[event.Event](context.Background(), s.db.View(s.robot), `select `+event.Cols+` from event_log e order by e.id`)
	if err != nil {
		s.t.Fatal(err)
	}
	out := make([]string, len(rows))
	for i, e := range rows {
		out[i] = fmt.Sprintf("%s %s", e.Type, e.Previous)
	}
	return out
}
