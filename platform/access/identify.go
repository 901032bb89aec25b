package access

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/maypok86/otter/v2"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/authz"
	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/tenant"
)

// Tokens verifies access tokens without asking the database.
type Tokens interface {
	// Verify returns the person and the session of a token and when it ends. A
	// token that is no good is a fault; any other error is a defect.
	Verify(ctx context.Context, raw string) (user, session id.ID, expires time.Time, err error)
}

const (
	cacheSize = 100_000
	cacheLife = time.Minute
	// provenLife is how long a key that was good is looked up without a question.
	provenLife = 24 * time.Hour
	// maxChoice is the longest slug; an id is shorter.
	maxChoice = 63
)

// Identifier turns credentials into callers. It is safe for concurrent use.
type Identifier struct {
	db        *tenant.DB
	authority *authz.Authority
	tokens    Tokens
	log       *slog.Logger
	cache     *otter.Cache[cacheKey, cached]
	proven    *otter.Cache[[sha256.Size]byte, struct{}] // keys that were good lately
}

// cacheKey names credentials; the bearer itself is not kept in memory.
type cacheKey struct {
	bearer       [sha256.Size]byte
	organization string
}

type cached struct {
	caller *api.Caller
	until  time.Time
}

// NewIdentifier returns an identifier whose Identify is an api.Identify.
func NewIdentifier(db *tenant.DB, authority *authz.Authority, tokens Tokens, log *slog.Logger) *Identifier {
	return &Identifier{
		db: db, authority: authority, tokens: tokens, log: log,
		cache: otter.Must(&otter.Options[cacheKey, cached]{
			MaximumSize:      cacheSize,
			ExpiryCalculator: otter.ExpiryWritingFunc(func(e otter.Entry[cacheKey, cached]) time.Duration { return time.Until(e.Value.until) }),
		}),
		proven: otter.Must(&otter.Options[[sha256.Size]byte, struct{}]{
			MaximumSize:      cacheSize,
			ExpiryCalculator: otter.ExpiryAccessing[[sha256.Size]byte, struct{}](provenLife),
		}),
	}
}

// Identify implements api.Identify. Its faults are 401 unauthenticated, 400
// organization_required, 404 organization_not_found and, for keys in operations
// of a person, 403 permission_denied.
func (i *Identifier) Identify(ctx context.Context, c api.Credentials) (*api.Caller, error) {
	want, err := parseChoice(c.Organization)
	if err != nil {
		return nil, err
	}
	c.Organization = want.String() // one spelling, so that others do not fill the cache
	// What a person does outside an organisation has no prologue that would
	// notice a revoked session, and none notices that a person has come to
	// belong to a second organisation: such calls are looked up each time.
	keep := c.Access == api.InOrganization && (c.Organization != "" || strings.HasPrefix(c.Bearer, keyPrefix))
	k := cacheKey{sha256.Sum256([]byte(c.Bearer)), c.Organization}
	if keep && !c.Fresh {
		if e, ok := i.cache.GetIfPresent(k); ok {
			return e.caller, nil
		}
	}
	caller, expires, err := i.look(ctx, c, want)
	if err != nil {
		if keep {
			i.cache.Invalidate(k)
		}
		return nil, err
	}
	if until := time.Now().Add(cacheLife); keep {
		if expires.Before(until) {
			until = expires
		}
		i.cache.Set(k, cached{caller, until})
	}
	return caller, nil
}

func (i *Identifier) look(ctx context.Context, c api.Credentials, want choice) (*api.Caller, time.Time, error) {
	if strings.HasPrefix(c.Bearer, keyPrefix) {
		return i.key(ctx, c, want)
	}
	user, session, expires, err := i.tokens.Verify(ctx, c.Bearer)
	if err != nil {
		return nil, time.Time{}, err
	}
	caller, err := i.person(ctx, c, want, user, session)
	return caller, expires, err
}

// choice is the organisation that the header names: by id, by slug, or none.
type choice struct {
	ID   *id.ID
	Slug *string
}

// parseChoice reads the header; no slug looks like an id.
func parseChoice(header string) (choice, error) {
	header = strings.ToLower(strings.TrimSpace(header))
	if header == "" {
		return choice{}, nil
	}
	if len(header) > maxChoice {
		return choice{}, organizationNotFound()
	}
	if v, err := id.Parse(header); err == nil {
		return choice{ID: &v}, nil
	}
	return choice{Slug: &header}, nil
}

// String is the one spelling of the choice.
func (c choice) String() string {
	switch {
	case c.ID != nil:
		return c.ID.String()
	case c.Slug != nil:
		return *c.Slug
	}
	return ""
}

func (c choice) none() bool { return c.ID == nil && c.Slug == nil }

func (c choice) names(organization id.ID, slug string) bool {
	return c.none() || c.ID != nil && *c.ID == organization || c.Slug != nil && *c.Slug == slug
}

func (i *Identifier) person(ctx context.Context, c api.Credentials, want choice, user, session id.ID) (*api.Caller, error) {
	rows, err := tenant.List[personRow](ctx, i.db.Global(), selectPerson, user, session, want.ID, want.Slug)
	if err != nil {
		return nil, fmt.Errorf("access.Identify: look up session %s: %w", session, err)
	}
	if len(rows) == 0 {
		return nil, api.Unauthenticated()
	}
	caller := &api.Caller{User: user, Session: session, Operator: rows[0].Operator}
	caller.Scope = tenant.Scope{Actor: tenant.Actor{Kind: tenant.User, ID: user}, User: user}
	switch {
	case rows[0].Organization == nil && (!want.none() || c.Access == api.InOrganization):
		return nil, organizationNotFound()
	case rows[0].Organization == nil:
		return caller, nil
	case len(rows) > 1 && c.Access == api.InOrganization:
		return nil, fault.New(fault.BadRequest, "organization_required",
			"You belong to several organisations: name one in the header Guildhall-Organization, by id or slug.")
	case len(rows) > 1:
		return caller, nil
	}
	r := rows[0]
	grant, err := i.authority.Grant(ctx, *r.Organization, *r.Epoch, *r.Role)
	if err != nil {
		return nil, fmt.Errorf("access.Identify: %w", err)
	}
	i.enter(caller, *r.Organization, *r.Role, grant, grant.Set, tenant.Check{Epoch: *r.Epoch, MemberVersion: *r.MemberVersion, Session: session})
	return caller, nil
}

func (i *Identifier) key(ctx context.Context, c api.Credentials, want choice) (*api.Caller, time.Time, error) {
	keyID, ok := parseKey(c.Bearer)
	if !ok {
		return nil, time.Time{}, api.Unauthenticated()
	}
	sum := sha256.Sum256([]byte(c.Bearer))
	if _, good := i.proven.GetIfPresent(sum); !good && c.Unproven != nil {
		if err := c.Unproven(); err != nil {
			return nil, time.Time{}, err
		}
	}
	r, err := tenant.One[keyRow](ctx, i.db.Global(), selectKeyByID, keyID)
	switch {
	case errors.Is(err, tenant.ErrNoRows):
		i.proven.Invalidate(sum)
		return nil, time.Time{}, api.Unauthenticated()
	case err != nil:
		return nil, time.Time{}, fmt.Errorf("access.Identify: look up key %s: %w", keyID, err)
	case subtle.ConstantTimeCompare(r.Hash, hashKey(c.Bearer)) != 1:
		return nil, time.Time{}, api.Unauthenticated()
	}
	i.proven.Set(sum, struct{}{})
	switch {
	case c.Access == api.SignedIn:
		return nil, time.Time{}, fault.New(fault.Denied, "permission_denied", "An API key cannot do this: it needs a person's log-in.").With("permission", "caller:person")
	case !want.names(r.Organization, r.Slug):
		return nil, time.Time{}, organizationNotFound()
	}
	grant, err := i.authority.Grant(ctx, r.Organization, r.Epoch, r.Role)
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("access.Identify: %w", err)
	}
	caller := &api.Caller{User: r.CreatedByID}
	caller.Scope = tenant.Scope{Actor: tenant.Actor{Kind: tenant.Key, ID: keyID}, User: r.CreatedByID}
	rights := grant.Set.And(i.authority.Catalogue().Set(r.Permissions))
	i.enter(caller, r.Organization, r.Role, grant, rights, tenant.Check{Epoch: r.Epoch, MemberVersion: r.MemberVersion, Key: keyID})
	i.noteUse(ctx, r, keyID)
	until := time.Now().Add(cacheLife)
	if r.ExpiresAt != nil {
		until = *r.ExpiresAt
	}
	return caller, until, nil
}

// enter puts the caller into an organisation with the rights.
func (i *Identifier) enter(c *api.Caller, organization id.ID, role string, g authz.Grant, rights authz.Set, check tenant.Check) {
	c.Organization, c.Role, c.Permissions = organization, role, rights
	c.Scope.Organization, c.Scope.Check = organization, &check
	switch {
	case g.Guest:
		c.Scope.OpenRole = ""
	case i.authority.Catalogue().Has(rights, projectsManage):
		c.Scope.OpenRole = "lead"
	default:
		c.Scope.OpenRole = "contributor"
	}
}

// projectsManage is the permission that makes its holder a lead of every open
// project; the feature of projects defines it.
var projectsManage = authz.Permission{Key: "projects.manage"}

// noteUse records that the key was used, at most once a minute and apart from
// the request: a request that fails has used the key all the same.
func (i *Identifier) noteUse(ctx context.Context, r keyRow, key id.ID) {
	if !r.Note {
		return
	}
	err := i.db.Write(ctx, tenant.ForSystem(r.Organization), func(tx *tenant.Tx) error {
		_, err := tenant.Exec(ctx, tx, updateLastUse, r.Organization, key)
		return err
	})
	if err != nil {
		i.log.WarnContext(ctx, "could not record the use of an API key", "api_key_id", key.String(), "error", err)
	}
}

// organizationNotFound is the one answer for an organisation that does not
// exist, is not the caller's, or is in the bin.
func organizationNotFound() error {
	return fault.New(fault.NotFound, "organization_not_found",
		"There is no such organisation, or you do not belong to it. GET /v1/organizations lists yours.")
}
