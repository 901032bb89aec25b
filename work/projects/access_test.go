package projects_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/tenant"
	"github.com/guildhall-dev/guildhall/tenant/tenanttest"
	"github.com/guildhall-dev/guildhall/work"
)

// organization makes an organisation with members and returns their ids.
func organization(t *testing.T, db *tenant.DB, members int) (org id.ID, users []id.ID) {
	t.Helper()
	org = id.New()
	for range members {
		users = append(users, id.New())
	}
	exec(t, db, org, `insert into organizations (tenant_id, slug, name, epoch) values ($1, $2, 'O', 1)`, org, "o-"+org.String())
	exec(t, db, org, `insert into members (tenant_id, user_id, role) select $1::uuid, u, 'member' from unnest($2::uuid[]) u`, org, users)
	return org, users
}

func exec(t *testing.T, db *tenant.DB, org id.ID, sql string, args ...any) {
	t.Helper()
	err := db.Write(context.Background(), tenant.ForSystem(org), func(tx *tenant.Tx) error {
		_, err := tenant.Exec(context.Background(), tx, sql, args...)
		return err
	})
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

type sight struct {
	Role     work.Role `db:"role"`
	Writable bool      `db:"writable"`
}

// TestAccess states the rule of project_access for every kind of viewer and
// every kind of project.
func TestAccess(t *testing.T) {
	t.Parallel()
	db := tenanttest.New(t).Open(t)
	org, users := organization(t, db, 2)
	named, stranger := users[0], users[1]

	for _, visibility := range []string{"open", "private"} {
		for _, status := range []string{"active", "archived"} {
			for _, role := range []work.Role{"", work.Viewer, work.Contributor, work.Lead} {
				for _, deleted := range []bool{false, true} {
					project := id.New()
					exec(t, db, org, `insert into projects (tenant_id, id, key, name, visibility, status, archived_at, deleted_at)
						values ($1, $2, $6, 'P', $3, $4::text, case when $4::text = 'archived' then now() end, case when $5 then now() end)`,
						org, project, visibility, status, deleted, "K"+strings.ToUpper(project.String()[27:]))
					if role != "" {
						exec(t, db, org, `insert into project_members (tenant_id, project_id, user_id, role) values ($1, $2, $3, $4)`, org, project, named, role)
					}
					for _, openRole := range []work.Role{"", work.Contributor, work.Lead} {
						for user, is := range map[id.ID]work.Role{named: role, stranger: ""} {
							scope := tenant.Scope{Organization: org, User: user, OpenRole: string(openRole)}
							check(t, db.View(scope), project, expected(visibility, openRole, is), status == "archived", deleted)
						}
						check(t, db.View(tenant.ForSystem(org)), project, work.Lead, status == "archived", deleted)
					}
				}
			}
		}
	}
}

// expected is the rule in words: named people are what they are named, but in
// an open project nobody is less than a lead whose role in the organisation
// leads.
func expected(visibility string, openRole, named work.Role) work.Role {
	switch {
	case visibility == "open" && openRole == work.Lead:
		return work.Lead
	case named != "":
		return named
	case visibility == "open":
		return openRole
	}
	return ""
}

func check(t *testing.T, v tenant.View, project id.ID, want work.Role, archived, deleted bool) {
	t.Helper()
	ctx := context.Background()
	rows, err := tenant.List[sight](ctx, v, `select role, writable from project_access where project_id = $1`, project)
	if err != nil {
		t.Fatal(err)
	}
	trash, err := tenant.Values[work.Role](ctx, v, `select role from project_sight where project_id = $1 and deleted = $2`, project, deleted)
	if err != nil {
		t.Fatal(err)
	}
	var wanted []sight
	if want != "" && !deleted {
		wanted = []sight{{want, want.AtLeast(work.Contributor) && !archived}}
	}
	if fmt.Sprint(rows) != fmt.Sprint(wanted) {
		t.Errorf("project_access: %v, want %v (%+v)", rows, wanted, v.Scope())
	}
	if got := strings.Join(asStrings(trash), ""); got != string(want) {
		t.Errorf("project_sight: %q, want %q (%+v)", got, want, v.Scope())
	}
}

func asStrings(roles []work.Role) (out []string) {
	for _, r := range roles {
		out = append(out, string(r))
	}
	return out
}

// TestAccessNeedsAViewer: without the settings the views raise an error rather
// than show what is open to all.
func TestAccessNeedsAViewer(t *testing.T) {
	t.Parallel()
	db := tenanttest.New(t).Open(t)
	if _, err := tenant.Values[id.ID](context.Background(), db.Global(), `select project_id from project_access`); err == nil {
		t.Error("project_access answers without an organisation")
	}
}

// TestAccessIsCheap holds the plan for one project among ten thousand: two
// look-ups by primary key, whether the planner knows the parameters or not.
func TestAccessIsCheap(t *testing.T) {
	t.Parallel()
	db := tenanttest.New(t).Open(t)
	org, users := organization(t, db, 20)
	exec(t, db, org, `insert into projects (tenant_id, id, key, name) select $1::uuid, gen_random_uuid(), 'P' || g, 'Project ' || g from generate_series(1, 10000) g`, org)
	exec(t, db, org, `insert into project_members (tenant_id, project_id, user_id, role)
		select p.tenant_id, p.id, u, 'contributor' from projects p, unnest($1::uuid[]) u where right(p.key, 1) = '7'`, users)
	scope := tenant.Scope{Organization: org, User: users[0], OpenRole: "contributor"}
	ctx := context.Background()
	project, err := tenant.Value[id.ID](ctx, db.View(scope), `select p.id from projects p where p.key = 'P4217'`)
	if err != nil {
		t.Fatal(err)
	}
	for _, mode := range []string{"force_custom_plan", "force_generic_plan"} {
		var plan []string
		err := db.Write(ctx, scope, func(tx *tenant.Tx) (err error) {
			if _, err = tenant.Value[string](ctx, tx, `select set_config('plan_cache_mode', $1, true)`, mode); err != nil {
				return err
			}
			plan, err = tenant.Values[string](ctx, tx, `explain (analyze, costs off, timing off, summary off) select role, writable from project_access where project_id = $1`, project)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		text := strings.Join(plan, "\n")
		if strings.Contains(text, "Seq Scan") || strings.Contains(text, "Bitmap") || strings.Contains(text, "Hash") || strings.Count(text, "Index") < 2 || strings.Contains(text, "Removed by") {
			t.Errorf("%s: the plan is not two look-ups:\n%s", mode, text)
		}
	}
}
