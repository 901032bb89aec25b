package api

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"

	"github.com/guildhall-dev/guildhall/event"
	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/obs"
	"github.com/guildhall-dev/guildhall/internal/seal"
	"github.com/guildhall-dev/guildhall/tenant"
)

// call is one request on its way through an operation.
type call struct {
	kernel     *Kernel
	limits     *limiters
	op         Op
	caller     *Caller
	identify   Identify // of a call from within; nil for those over the network
	bearer     Credentials
	url        url.URL
	key        string // Idempotency-Key
	hash       []byte // of the request
	userAgent  string
	header     func(name string) string // of the request
	eachHeader func(func(name, value string))
	setHeader  func(name, value string) // of the answer
}

// answer is what goes out.
type answer struct {
	status      int
	header      map[string]string
	body        []byte
	contentType string
	stream      func(io.Writer) error
}

// enter is the chain of an operation, before its body is read by anything:
// authenticate, limit, ask for the permission, then check the body.
func (r *Router) enter(hc huma.Context, op Op, write bool, query queryForm, form bodyForm, next func(huma.Context)) {
	ctx := hc.Context()
	c := &call{
		kernel: r.kernel, limits: r.limits, op: op, url: hc.URL(), userAgent: clip(strings.ToValidUTF8(hc.Header("User-Agent"), ""), 200),
		bearer: Credentials{Access: op.Access, Organization: hc.Header("Guildhall-Organization")},
		header: hc.Header, eachHeader: hc.EachHeader, setHeader: hc.SetHeader,
	}
	if op.Access == Storefront {
		c.bearer.PublishableKey = hc.Header(publishableKeyHeader)
	}
	ctx = context.WithValue(ctx, callKey{}, c)
	fail := func(err error) {
		c.logDefect(ctx, err)
		p := problemOf(ctx, err)
		for k, v := range p.headers {
			hc.SetHeader(k, v[0])
		}
		hc.SetHeader("Content-Type", p.ContentType(""))
		hc.SetStatus(p.Status)
		_ = json.NewEncoder(hc.BodyWriter()).Encode(p)
	}
	if !cleanURL(c.url) {
		fail(fault.New(fault.BadRequest, "bad_request", "The address holds a NUL character or is not UTF-8."))
		return
	}
	if c.identify, _ = ctx.Value(identifyKey{}).(Identify); c.identify != nil && op.Access != InOrganization {
		fail(fault.New(fault.Denied, "permission_denied", "A plugin cannot do this: it needs a person's log-in.").With("permission", "caller:person"))
		return
	}
	if op.Access != Public {
		c.bearer.Bearer = bearerOf(hc.Header("Authorization"))
		if err := c.authenticate(ctx, false); err != nil {
			if limited := r.limits.takeAddress(hc); limited != nil {
				err = limited
			}
			fail(err)
			return
		}
		if caller := c.caller; !caller.Organization.IsZero() {
			ctx = obs.With(ctx, slog.String("organization_id", caller.Organization.String()))
		}
	}
	if err := r.limits.take(hc, c); err != nil {
		fail(err)
		return
	}
	if c.caller != nil {
		if !c.allowed() {
			// Rights may have grown since they were cached; a refusal is final only on fresh ones.
			if err := c.authenticate(ctx, true); err != nil {
				fail(err)
				return
			}
		}
		if err := c.authorize(ctx); err != nil {
			fail(err)
			return
		}
	}
	if write {
		if err := c.readKey(hc); err != nil {
			fail(err)
			return
		}
	}
	if err := query.check(c.url); err != nil {
		fail(err)
		return
	}
	hc = huma.WithContext(hc, ctx)
	body, err := form.read(hc, op.MaxBody, r.huma.OpenAPI().Components.Schemas)
	if err != nil {
		fail(err)
		return
	}
	c.sum(body)
	if form.expected() {
		hc = &bodyContext{inner: hc, body: body}
	}
	next(hc)
}

// cleanURL reports whether Postgres could take every word of the address.
func cleanURL(u url.URL) bool {
	clean := func(s string) bool { return utf8.ValidString(s) && !strings.ContainsRune(s, 0) }
	if !clean(u.Path) {
		return false
	}
	if u.RawQuery == "" {
		return true
	}
	for name, values := range u.Query() {
		if !clean(name) || slices.ContainsFunc(values, func(v string) bool { return !clean(v) }) {
			return false
		}
	}
	return true
}

func bearerOf(header string) string {
	scheme, token, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

func (c *call) authenticate(ctx context.Context, fresh bool) error {
	creds := c.bearer
	creds.Fresh = fresh
	creds.Unproven = func() error { return c.limits.peekAddress(ctx) }
	switch {
	case c.identify != nil:
		return c.take(ctx, c.identify, creds)
	case c.op.Access == Storefront:
		return c.authenticateShopper(ctx, creds)
	case c.bearer.Bearer == "":
		return Unauthenticated()
	}
	return c.take(ctx, c.kernel.Identify, creds)
}

// take makes the caller of the call who identify says it is.
func (c *call) take(ctx context.Context, identify Identify, creds Credentials) error {
	caller, err := identify(ctx, creds)
	if err != nil {
		return err
	}
	own := *caller // the cached one is shared
	own.Scope.Operation, own.Scope.RequestID, own.Scope.SourceAddress = c.op.ID, RequestID(ctx), SourceAddress(ctx)
	c.caller = &own
	return nil
}

// allowed asks for the permission.
func (c *call) allowed() bool {
	return c.op.Access != InOrganization || c.op.AnyMember || c.kernel.Catalogue.Has(c.caller.Permissions, c.op.Can)
}

// authorize turns a missing permission into its fault; a refusal is a fact of
// the audit log.
func (c *call) authorize(ctx context.Context) error {
	if c.allowed() {
		return nil
	}
	f := event.Fact{Type: "call.denied", Data: map[string]any{"operation": c.op.ID, "permission": c.op.Can.Key}}
	if err := event.Record(ctx, c.kernel.DB, c.caller.Scope, f); err != nil {
		c.kernel.Log.WarnContext(ctx, "could not record a denied call", "error", err)
	}
	return fault.Deniedf(c.op.Can.Key)
}

// freshTries bounds how often a call starts again while roles, or what it was
// asked about, change around it.
const freshTries = 5

// ErrAskAgain says that a row is not any more as it was when plugins were asked
// about its change: the call starts again.
var ErrAskAgain = errors.New("api: what was asked about has changed")

// withFresh repeats fn with rights computed afresh while they prove stale.
func withFresh[T any](ctx context.Context, c *call, fn func(context.Context) (T, error)) (T, error) {
	for range freshTries {
		out, err := fn(ctx)
		switch {
		case errors.Is(err, ErrAskAgain):
			continue
		case !errors.Is(err, tenant.ErrStale):
			return out, err
		}
		if err := c.authenticate(ctx, true); err != nil {
			return out, err
		}
		if err := c.authorize(ctx); err != nil {
			return out, err
		}
	}
	var none T
	return none, fault.New(fault.Unavailable, "unavailable", "The rights in this organisation, or the row, are changing quickly. Try again shortly.")
}

var uuidForm = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)

func (c *call) readKey(hc huma.Context) error {
	c.key = hc.Header("Idempotency-Key")
	sent := c.key != ""
	hc.EachHeader(func(name, _ string) { sent = sent || name == "Idempotency-Key" })
	switch {
	case sent && c.key == "":
		return fault.Invalidf("header.Idempotency-Key", "the Idempotency-Key is empty; send 1 to 255 characters, or no key")
	case len(c.key) > 255:
		return fault.Invalidf("header.Idempotency-Key", "an Idempotency-Key has 1 to 255 characters")
	case c.key != "" && (c.caller == nil || c.caller.Scope.Actor.Kind == tenant.Shopper) && !uuidForm.MatchString(c.key):
		return fault.Invalidf("header.Idempotency-Key", "without a log-in an Idempotency-Key is a UUID, since others share its space")
	}
	return nil
}

func (c *call) sum(body []byte) {
	if c.key == "" {
		return
	}
	h := sha256.New()
	fmt.Fprintf(h, "%s\n%s?%s\n%s\n", c.op.Method(), c.url.Path, c.url.RawQuery, c.header("If-Match"))
	h.Write(body)
	c.hash = h.Sum(nil)
}

func (c *call) claim() *tenant.Claim {
	if c.key == "" {
		return nil
	}
	principal := "anonymous"
	if c.caller != nil {
		a := c.caller.Scope.Actor
		principal = string(a.Kind) + ":" + a.ID.String()
	}
	// Shoppers who are not logged in are one principal. Their keys are UUIDs, which
	// cannot be guessed, and the hash of the request must be the same.
	return &tenant.Claim{Principal: principal, Operation: c.op.ID, Key: c.key, Hash: c.hash}
}

// runGuarded runs a handler inside its transaction, holds what it emits
// against the literal and makes the reply, which is stored before commit.
func runGuarded[Out any](ctx context.Context, c *call, fn func(context.Context) (Out, error)) (tenant.Reply, error) {
	guard := &event.Guard{}
	out, err := fn(event.WithGuard(ctx, guard))
	if err != nil {
		return tenant.Reply{}, err
	}
	for _, t := range guard.Seen {
		if !slices.Contains(c.op.Emits, t) {
			msg := fmt.Sprintf("operation %s emits %s, which its Emits does not name", c.op.ID, t.Name)
			if c.kernel.StrictEvents {
				return tenant.Reply{}, errors.New(msg)
			}
			c.kernel.Log.ErrorContext(ctx, msg)
		}
	}
	a, err := c.answerRow(out)
	if err != nil {
		return tenant.Reply{}, err
	}
	r := tenant.Reply{Status: a.status, Header: a.header, Body: a.body}
	if row, ok := any(out).(event.Subjected); ok {
		r.Project = row.EventSubject().Project
	}
	if rows, ok := any(out).(OfProjects); ok {
		r.Projects = rows.OfProjects()
	}
	if c.op.Secret && c.key != "" {
		sealed, err := seal.SealWith([]byte(c.key), a.body, c.op.ID)
		if err != nil {
			return tenant.Reply{}, fmt.Errorf("api: seal the reply: %w", err)
		}
		r.Body = sealed
	}
	return r, nil
}

func (c *call) answerReply(r tenant.Reply, replayed bool, err error) (*answer, error) {
	if err != nil {
		return nil, err
	}
	a := &answer{status: r.Status, header: r.Header, body: r.Body}
	if c.op.Secret && c.key != "" {
		if a.body, err = seal.OpenWith([]byte(c.key), r.Body, c.op.ID); err != nil {
			return nil, fmt.Errorf("api: open the stored reply: %w", err)
		}
	}
	if replayed {
		h := map[string]string{"Idempotency-Replayed": "true"}
		for k, v := range r.Header {
			h[k] = v
		}
		a.header = h
	}
	return a, nil
}

// answerRow encodes what a handler returned.
func (c *call) answerRow(out any) (*answer, error) {
	a := &answer{status: c.op.status(), header: map[string]string{}}
	if s, ok := out.(interface{ ResponseStatus() int }); ok {
		a.status = s.ResponseStatus()
	}
	if tag := etag(out); tag != "" {
		a.header["ETag"] = tag
	}
	if row, ok := out.(Located); ok && a.status == http.StatusCreated {
		a.header["Location"] = row.Location()
	}
	if row, ok := out.(Cached); ok {
		a.header["Cache-Control"] = fmt.Sprintf("public, max-age=%d", int(row.CacheFor().Seconds()))
	}
	if p, ok := out.(interface{ Next() *string }); ok && p.Next() != nil {
		a.header["Link"] = c.nextLink(*p.Next())
	}
	if _, none := out.(None); none || a.status == http.StatusNoContent {
		return a, nil
	}
	if raw, ok := out.(Raw); ok {
		a.status, a.body, a.contentType = raw.Status, raw.Body, raw.ContentType
		return a, nil
	}
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(out); err != nil {
		return nil, fmt.Errorf("api: encode the answer of %s: %w", c.op.ID, err)
	}
	a.body = buf.Bytes()
	return a, nil
}

// write sends the answer.
func (c *call) write(hc huma.Context, a *answer) {
	for k, v := range a.header {
		hc.SetHeader(k, v)
	}
	if c.op.Secret {
		hc.SetHeader("Cache-Control", "no-store")
	}
	if a.stream != nil {
		hc.SetHeader("Content-Type", a.contentType)
		hc.SetStatus(a.status)
		if err := a.stream(hc.BodyWriter()); err != nil {
			c.logDefect(hc.Context(), err)
			// The status is out: only a broken connection tells that this is not all.
			panic(http.ErrAbortHandler)
		}
		return
	}
	if len(a.body) > 0 {
		hc.SetHeader("Content-Type", cmp.Or(a.contentType, "application/json"))
	}
	hc.SetStatus(a.status)
	_, _ = hc.BodyWriter().Write(a.body)
}

// recordRead leaves a trace of an audited read.
func (c *call) recordRead(ctx context.Context, out any) error {
	f := event.Fact{Type: "record.read", Data: map[string]any{"operation": c.op.ID}}
	if row, ok := out.(event.Subjected); ok {
		f.Subject = row.EventSubject().ID
	}
	if err := event.Record(ctx, c.kernel.DB, c.caller.Scope, f); err != nil {
		return fmt.Errorf("api: record the read: %w", err)
	}
	return nil
}

// logDefect writes what the caller is not told.
func (c *call) logDefect(ctx context.Context, err error) {
	f := fault.As(err)
	var p *Problem
	if errors.As(err, &p) || (f != nil && f.Kind != fault.Internal && f.Kind != fault.Unavailable) || errors.Is(err, context.Canceled) {
		return
	}
	c.kernel.Log.ErrorContext(ctx, "operation failed", "operation", c.op.ID, "error", err)
}
