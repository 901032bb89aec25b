package access

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/authz"
	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/tenant"
	"github.com/guildhall-dev/guildhall/tenant/tenanttest"
)

// bench is a database with one person, and an identifier whose tokens are
// "<user> <session>" in clear.
type bench struct {
	*testing.T
	db         *tenant.DB
	identifier *Identifier
	user       id.ID
	session    id.ID
}

type clearTokens struct{}

func (clearTokens) Verify(_ context.Context, raw string) (user, session id.ID, expires time.Time, err error) {
	if len(raw) != 73 {
		return user, session, expires, api.Unauthenticated()
	}
	return id.MustParse(raw[:36]), id.MustParse(raw[37:]), time.Now().Add(time.Minute), nil
}

func newBench(t *testing.T) *bench {
	t.Helper()
	db := tenanttest.New(t).Open(t)
	authority, err := authz.NewAuthority(LoadRoles(db), 100)
	if err != nil {
		t.Fatal(err)
	}
	catalogue, err := authz.NewCatalogue([]authz.Permission{
		{Key: "tasks.read", From: authz.Guest}, {Key: "tasks.write", From: authz.Member}, {Key: "projects.manage", From: authz.Admin},
	})
	if err != nil {
		t.Fatal(err)
	}
	authority.Use(catalogue)
	b := &bench{T: t, db: db, user: id.New(), session: id.New()}
	b.identifier = NewIdentifier(db, authority, clearTokens{}, slog.New(slog.DiscardHandler))
	b.global(`insert into users (id, username, email, email_key, password_hash) values ($1, 'ann', 'ann@example.net', 'ann@example.net', '')`, b.user)
	b.global(`insert into sessions (id, user_id, nonce, expires_at) values ($1, $2, '', now() + interval '1 day')`, b.session, b.user)
	return b
}

func (b *bench) global(sql string, args ...any) {
	b.Helper()
	err := b.db.GlobalWrite(b.Context(), func(tx *tenant.GlobalTx) error {
		_, err := tenant.Exec(b.Context(), tx, sql, args...)
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
}

func (b *bench) in(organization id.ID, sql string, args ...any) {
	b.Helper()
	err := b.db.Write(b.Context(), tenant.ForSystem(organization), func(tx *tenant.Tx) error {
		_, err := tenant.Exec(b.Context(), tx, sql, args...)
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
}

// organization makes one to which the person belongs, unless role is "".
func (b *bench) organization(slug, role string) id.ID {
	b.Helper()
	org := id.New()
	b.in(org, `insert into organizations (tenant_id, slug, name) values ($1, $2, $2)`, org, slug)
	if role != "" {
		b.in(org, `insert into members (tenant_id, user_id, role) values ($1, $2, $3)`, org, b.user, role)
	}
	return org
}

func (b *bench) key(org id.ID, permissions ...string) (id.ID, string) {
	b.Helper()
	key := id.New()
	text, hash := newKey(key)
	b.in(org, `insert into api_keys (tenant_id, id, name, secret_hash, permissions, created_by_id) values ($1, $2, 'k', $3, $4, $5)`,
		org, key, hash, permissions, b.user)
	return key, text
}

func (b *bench) token() string { return b.user.String() + " " + b.session.String() }

// want asks and compares the fault's code; "" wants a caller.
func (b *bench) want(code string, c api.Credentials) *api.Caller {
	b.Helper()
	caller, err := b.identifier.Identify(b.Context(), c)
	got := ""
	if f := fault.As(err); f != nil {
		got = f.Code
	} else if err != nil {
		b.Fatal(err)
	}
	if got != code {
		b.Fatalf("Identify(%+v) answers %q, want %q", c, got, code)
	}
	return caller
}

// current reports whether a read in the caller's scope still passes.
func (b *bench) current(c *api.Caller) bool {
	b.Helper()
	_, err := tenant.Value[int](b.Context(), b.db.View(c.Scope), `select 1`)
	if err != nil && !errors.Is(err, tenant.ErrStale) {
		b.Fatal(err)
	}
	return err == nil
}

func TestPersonChoosesOrganization(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	token := b.token()
	b.want("organization_not_found", api.Credentials{Bearer: token})
	if c := b.want("", api.Credentials{Bearer: token, Access: api.SignedIn}); !c.Organization.IsZero() {
		t.Error("there is an organisation where none is")
	}
	acme := b.organization("acme", authz.Member)
	foreign := b.organization("foreign", "")
	if c := b.want("", api.Credentials{Bearer: token}); c.Organization != acme || c.Role != authz.Member || c.Scope.OpenRole != "contributor" || !b.current(c) {
		t.Errorf("the only organisation gives %+v", c)
	}
	if c := b.want("", api.Credentials{Bearer: token, Access: api.SignedIn}); c.Organization != acme || c.Role != authz.Member {
		t.Errorf("the only organisation gives %+v", c)
	}
	beta := b.organization("beta", authz.Owner)
	b.want("organization_required", api.Credentials{Bearer: token})
	b.want("", api.Credentials{Bearer: token, Access: api.SignedIn})
	for _, name := range []string{"beta", "BETA", beta.String()} {
		if c := b.want("", api.Credentials{Bearer: token, Organization: name}); c.Organization != beta || c.Scope.OpenRole != "lead" || !b.current(c) {
			t.Errorf("%q gives %+v", name, c)
		}
	}
	for _, name := range []string{"foreign", foreign.String(), id.New().String(), "nothing", string(make([]byte, 5000))} {
		b.want("organization_not_found", api.Credentials{Bearer: token, Organization: name})
		b.want("organization_not_found", api.Credentials{Bearer: token, Organization: name, Access: api.SignedIn})
	}
	b.in(acme, `update organizations set deleted_at = now()`)
	b.want("organization_not_found", api.Credentials{Bearer: token, Organization: "acme"})
	if c := b.want("", api.Credentials{Bearer: token}); c.Organization != beta {
		t.Errorf("an organisation in the bin counts: %+v", c)
	}
}

func TestRightsCountAtOnce(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	org := b.organization("acme", authz.Admin)
	creds := api.Credentials{Bearer: b.token(), Organization: "acme"}
	fresh := creds
	fresh.Fresh = true
	first := b.want("", creds)
	if again := b.want("", creds); again != first {
		t.Error("the caller was not kept")
	}
	b.in(org, `update members set role = 'guest', version = version + 1`)
	if b.current(first) {
		t.Fatal("a changed role passes the prologue")
	}
	c := b.want("", fresh)
	if c.Role != authz.Guest || c.Scope.OpenRole != "" || !b.current(c) {
		t.Fatalf("the new role gives %+v", c)
	}
	if kept := b.want("", creds); kept != c {
		t.Error("the fresh caller did not replace the old one")
	}
	b.in(org, `delete from members`)
	if b.current(c) {
		t.Fatal("a removed member passes the prologue")
	}
	b.want("organization_not_found", fresh)
	b.want("organization_not_found", creds)
	b.in(org, `insert into members (tenant_id, user_id, role) values ($1, $2, 'owner')`, org, b.user)
	b.global(`update sessions set revoked_at = now()`)
	b.want("unauthenticated", fresh)
	b.want("unauthenticated", api.Credentials{Bearer: b.token(), Access: api.SignedIn})
}

func TestKeyHasNoMoreThanItsCreator(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	org, other := b.organization("acme", authz.Owner), b.organization("other", authz.Owner)
	catalogue := b.identifier.authority.Catalogue()
	key, text := b.key(org, "tasks.write", "projects.manage")
	creds := api.Credentials{Bearer: text}
	fresh := creds
	fresh.Fresh = true
	c := b.want("", creds)
	if c.Organization != org || c.User != b.user || c.Scope.Actor != (tenant.Actor{Kind: tenant.Key, ID: key}) || c.Scope.OpenRole != "lead" || !b.current(c) {
		t.Fatalf("the key gives %+v", c)
	}
	if got := catalogue.Keys(c.Permissions); len(got) != 2 {
		t.Errorf("the key may %v", got)
	}
	used, err := tenant.Value[bool](t.Context(), b.db.View(tenant.ForSystem(org)), `select last_used_at is not null from api_keys`)
	if err != nil || !used {
		t.Errorf("the use of the key was not recorded: %v", err)
	}
	b.want("permission_denied", api.Credentials{Bearer: text, Access: api.SignedIn})
	b.want("organization_not_found", api.Credentials{Bearer: text, Organization: other.String()})
	b.want("unauthenticated", api.Credentials{Bearer: text[:len(text)-1] + "!"})
	_, unknown := b.key(other, "tasks.read")
	b.in(other, `delete from api_keys`)
	b.want("unauthenticated", api.Credentials{Bearer: unknown})
	forged, _ := newKey(key)
	b.want("unauthenticated", api.Credentials{Bearer: forged})

	b.in(org, `update members set role = 'member', version = version + 1`)
	if b.current(c) {
		t.Error("a key of a demoted creator passes the prologue")
	}
	if c = b.want("", fresh); len(catalogue.Keys(c.Permissions)) != 1 || c.Scope.OpenRole != "contributor" {
		t.Errorf("the key of a demoted creator gives %+v", c)
	}
	b.in(org, `update api_keys set revoked_at = now()`)
	if b.current(c) {
		t.Error("a revoked key passes the prologue")
	}
	b.want("unauthenticated", fresh)
	b.want("unauthenticated", creds)
}

func TestCustomRole(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	org := b.organization("acme", "reader")
	b.in(org, `insert into roles (tenant_id, id, key, name, permissions, guest) values ($1, $2, 'reader', 'Reader', '{tasks.read,gone.read}', true)`, org, id.New())
	c := b.want("", api.Credentials{Bearer: b.token()})
	if got := b.identifier.authority.Catalogue().Keys(c.Permissions); len(got) != 1 || got[0] != "tasks.read" || c.Scope.OpenRole != "" {
		t.Errorf("the custom role gives %v, open role %q", got, c.Scope.OpenRole)
	}
	b.in(org, `update roles set permissions = '{tasks.read,tasks.write}', guest = false`)
	b.in(org, `update organizations set epoch = epoch + 1`)
	if b.current(c) {
		t.Error("a changed role passes the prologue")
	}
	if c = b.want("", api.Credentials{Bearer: b.token(), Fresh: true}); c.Permissions.Len() != 2 || c.Scope.OpenRole != "contributor" {
		t.Errorf("the changed role gives %+v", c)
	}
}

// However the header spells the organisation, it is one entry of the cache.
func TestIdentifyKnowsAllSpellings(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	org := b.organization("acme", "member")
	for _, spellings := range [][]string{{"acme", "ACME", " Acme "}, {org.String(), strings.ToUpper(org.String())}} {
		var first *api.Caller
		for _, s := range spellings {
			c, err := b.identifier.Identify(t.Context(), api.Credentials{Bearer: b.user.String() + " " + b.session.String(), Organization: s})
			if err != nil {
				t.Fatalf("%q: %v", s, err)
			}
			if first == nil {
				first = c
			}
			if c != first {
				t.Errorf("%q was looked up again", s)
			}
		}
	}
}
