package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"reflect"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/guildhall-dev/guildhall/authz"
	"github.com/guildhall-dev/guildhall/event"
	"github.com/guildhall-dev/guildhall/internal/page"
	"github.com/guildhall-dev/guildhall/tenant"
)

// Kernel is what every operation runs on.
type Kernel struct {
	DB        *tenant.DB
	Catalogue *authz.Catalogue
	Identify  Identify
	// IdentifyShopper is Identify for operations of the storefront.
	IdentifyShopper Identify
	Cursors         *page.Codec
	Log             *slog.Logger
	Limits          Limits
	Version         string
	// TrustedProxies may say for whom they forward.
	TrustedProxies []netip.Prefix
	// StrictEvents turns an event that is missing in Emits into an error of the
	// call; tests set it, production logs.
	StrictEvents bool
}

// Registered is an operation with the types of its handler; the generated
// tests and the document are made from the list of them.
type Registered struct {
	Op
	Tag   string
	In    reflect.Type
	Out   reflect.Type
	Write bool // has an effect and takes an Idempotency-Key
	// ContentType is set where the answer is a stream of something else than
	// one JSON value.
	ContentType string
}

// Router collects operations.
type Router struct {
	kernel *Kernel
	mux    *http.ServeMux
	huma   huma.API
	tag    string
	ops    *[]Registered
	seen   map[string]bool
	errs   *[]error
	limits *limiters
}

// NewRouter returns an empty router.
func NewRouter(k *Kernel) *Router {
	settleHuma()
	mux := http.NewServeMux()
	cfg := huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info:    &huma.Info{Title: "Guildhall", Version: cmp.Or(k.Version, "dev")},
			Components: &huma.Components{
				Schemas: huma.NewMapRegistry("#/components/schemas/", SchemaName),
				SecuritySchemes: map[string]*huma.SecurityScheme{
					"bearer":         {Type: "http", Scheme: "bearer"},
					"publishableKey": {Type: "apiKey", In: "header", Name: publishableKeyHeader},
				},
			},
		},
		Formats: map[string]huma.Format{
			"application/json": {Marshal: marshalJSON, Unmarshal: huma.DefaultJSONFormat.Unmarshal},
			"json":             {Marshal: marshalJSON, Unmarshal: huma.DefaultJSONFormat.Unmarshal},
		},
		DefaultFormat:                "application/json",
		RejectUnknownQueryParameters: true,
	}
	return &Router{
		kernel: k, mux: mux, huma: humago.New(mux, cfg), ops: &[]Registered{}, errs: &[]error{},
		seen: map[string]bool{}, limits: newLimiters(k.Limits),
	}
}

func marshalJSON(w io.Writer, v any) error { return huma.DefaultJSONFormat.Marshal(w, v) }

// SchemaName names the schema of a type in the document. It puts the package
// before a private type's name, so that two features may both have a
// createInput.
func SchemaName(t reflect.Type, hint string) string {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	name := huma.DefaultSchemaNamer(t, hint)
	pkg := t.PkgPath()
	if i := strings.LastIndexByte(pkg, '/'); i >= 0 {
		pkg = pkg[i+1:]
	}
	switch {
	case pkg == "" || strings.EqualFold(pkg, name) || pkg == "page":
		return name
	case t.Name() != "" && isUpper(t.Name()) && !strings.Contains(t.Name(), "["):
		return name
	}
	return strings.ToUpper(pkg[:1]) + pkg[1:] + strings.ToUpper(name[:1]) + name[1:]
}

func isUpper(s string) bool { return s[0] >= 'A' && s[0] <= 'Z' }

// Tagged returns the router under which a module registers.
func (r *Router) Tagged(tag string) *Router {
	c := *r
	c.tag = tag
	return &c
}

// Operations lists what was registered.
func (r *Router) Operations() []Registered { return *r.ops }

// OpenAPI returns Huma's document, before Document decorates it.
func (r *Router) OpenAPI() *huma.OpenAPI { return r.huma.OpenAPI() }

// Err joins what was wrong with the literals.
func (r *Router) Err() error { return errors.Join(*r.errs...) }

// Handle mounts a plain handler beside the operations.
func (r *Router) Handle(pattern string, h http.Handler) { r.mux.Handle(pattern, h) }

// Read registers an operation that reads: one round trip, read-only.
func Read[In, Out any](r *Router, op Op, fn func(ctx context.Context, v tenant.View, in *In) (Out, error)) {
	register(r, op, false, func(ctx context.Context, c *call, in *In) (*answer, error) {
		out, err := withFresh(ctx, c, func(ctx context.Context) (Out, error) { return fn(ctx, c.kernel.DB.View(c.caller.Scope), in) })
		if err != nil {
			return nil, err
		}
		if op.Audited {
			if err := c.recordRead(ctx, out); err != nil {
				return nil, err
			}
		}
		return c.answerRow(out)
	}, reflect.TypeFor[Out]())
}

// Write registers an operation that changes the organisation's data in one
// transaction. What is given as before runs ahead of it, without a connection:
// it is the place to ask the world outside, a name server or a plugin, and may
// change the input. Its refusal is the answer only after the rights and the
// Idempotency-Key were looked at, so a repeat of a call that had its effect gets
// that answer still. If fn finds that what was asked about has changed meanwhile,
// it returns ErrAskAgain, and all of it runs again on the input as it came.
func Write[In, Out any](r *Router, op Op, fn func(ctx context.Context, tx *tenant.Tx, in *In) (Out, error), before ...func(ctx context.Context, in *In) error) {
	register(r, op, true, func(ctx context.Context, c *call, in *In) (*answer, error) {
		return withFresh(ctx, c, func(ctx context.Context) (*answer, error) {
			asked := *in
			var refused error
			for _, ask := range before {
				if refused = ask(ctx, &asked); refused != nil {
					break
				}
			}
			reply, replayed, err := c.kernel.DB.WriteOnce(ctx, c.caller.Scope, c.claim(), func(tx *tenant.Tx) (tenant.Reply, error) {
				if refused != nil {
					return tenant.Reply{}, refused
				}
				return runGuarded(ctx, c, func(ctx context.Context) (Out, error) { return fn(ctx, tx, &asked) })
			})
			return c.answerReply(reply, replayed, err)
		})
	}, reflect.TypeFor[Out]())
}

// Global registers an operation that belongs to no organisation and runs in
// one transaction on the global tables.
func Global[In, Out any](r *Router, op Op, fn func(ctx context.Context, tx *tenant.GlobalTx, in *In) (Out, error)) {
	register(r, op, true, func(ctx context.Context, c *call, in *In) (*answer, error) {
		reply, replayed, err := c.kernel.DB.GlobalWriteOnce(ctx, c.claim(), func(tx *tenant.GlobalTx) (tenant.Reply, error) {
			return runGuarded(ctx, c, func(ctx context.Context) (Out, error) { return fn(ctx, tx, in) })
		})
		return c.answerReply(reply, replayed, err)
	}, reflect.TypeFor[Out]())
}

// GlobalRead registers a read that belongs to no organisation.
func GlobalRead[In, Out any](r *Router, op Op, fn func(ctx context.Context, v tenant.GlobalView, in *In) (Out, error)) {
	register(r, op, false, func(ctx context.Context, c *call, in *In) (*answer, error) {
		out, err := fn(ctx, c.kernel.DB.Global(), in)
		if err != nil {
			return nil, err
		}
		return c.answerRow(out)
	}, reflect.TypeFor[Out]())
}

// Call registers the rare operation that needs more than one transaction, such
// as a log-in that hashes a password in between. It takes no Idempotency-Key.
// In a shop it runs again where one of its transactions found the caller stale.
func Call[In, Out any](r *Router, op Op, fn func(ctx context.Context, in *In) (Out, error)) {
	register(r, op, false, func(ctx context.Context, c *call, in *In) (*answer, error) {
		run := func(ctx context.Context) (Out, error) { return fn(ctx, in) }
		if op.Access == Storefront {
			once := run
			run = func(ctx context.Context) (Out, error) { return withFresh(ctx, c, once) }
		}
		out, err := run(ctx)
		if err != nil {
			return nil, err
		}
		return c.answerRow(out)
	}, reflect.TypeFor[Out]())
}

// Stream registers a read that writes its answer piece by piece; each piece
// comes from a read of its own, so that no transaction stays open.
func Stream[In any](r *Router, op Op, contentType string, fn func(ctx context.Context, v tenant.View, in *In, w io.Writer) error) {
	register(r, op, false, func(ctx context.Context, c *call, in *In) (*answer, error) {
		// Stale rights must show before the status is out.
		if _, err := withFresh(ctx, c, func(ctx context.Context) (int, error) {
			return tenant.Value[int](ctx, c.kernel.DB.View(c.caller.Scope), `select 1`)
		}); err != nil {
			return nil, err
		}
		if op.Audited {
			if err := c.recordRead(ctx, nil); err != nil {
				return nil, err
			}
		}
		return &answer{status: op.status(), contentType: contentType, stream: func(w io.Writer) error {
			return fn(ctx, c.kernel.DB.View(c.caller.Scope), in, w)
		}}, nil
	}, nil)
	if n := len(*r.ops); n > 0 && (*r.ops)[n-1].ID == op.ID {
		(*r.ops)[n-1].ContentType = contentType
	}
}

// output lets the adapter write the answer itself.
type output struct {
	Body func(huma.Context)
}

func register[In any](r *Router, op Op, write bool, run func(ctx context.Context, c *call, in *In) (*answer, error), out reflect.Type) {
	if err := op.check(); err != nil {
		*r.errs = append(*r.errs, err)
		return
	}
	if r.seen[op.ID] {
		*r.errs = append(*r.errs, fmt.Errorf("operation %s is registered twice", op.ID))
		return
	}
	r.seen[op.ID] = true
	*r.ops = append(*r.ops, Registered{Op: op, Tag: r.tag, In: reflect.TypeFor[In](), Out: out, Write: write})

	ho := huma.Operation{
		OperationID: op.ID, Method: op.Method(), Path: op.Path(), Summary: op.Summary, Description: op.Doc,
		Tags: []string{r.tag}, DefaultStatus: op.status(), Errors: []int{},
		// bodyForm holds the limit; the library's own refuses the last byte already.
		MaxBodyBytes: cmp.Or(op.MaxBody, defaultMaxBody) + 1,
		Responses:    map[string]*huma.Response{fmt.Sprint(op.status()): r.response(op, out)},
		Extensions:   map[string]any{},
		Metadata:     map[string]any{},
	}
	if out == reflect.TypeFor[Raw]() {
		ho.Responses["default"] = r.response(op, out)
		ho.Responses["default"].Description = "Whatever it is that answers."
	}
	if !op.Can.IsZero() {
		ho.Extensions["x-permission"] = op.Can.Key
	}
	ho.Security = op.security()
	in := reflect.TypeFor[In]()
	_, hasBody := in.FieldByName("Body")
	form := bodyForm{raw: TakesRaw(in)} // the schemas are known after the registration
	query := queryForm{}
	ho.Middlewares = huma.Middlewares{func(hc huma.Context, next func(huma.Context)) { r.enter(hc, op, write, query, form, next) }}
	huma.Register(r.huma, ho, func(ctx context.Context, in *In) (*output, error) {
		c := callOf(ctx)
		a, err := run(ctx, c, in)
		if err != nil {
			c.logDefect(ctx, err)
			return nil, problemOf(ctx, err)
		}
		return &output{Body: func(hc huma.Context) { c.write(hc, a) }}, nil
	})
	query = queryFormOf(r.operation(op))
	if form.raw {
		r.describeRaw(op)
	}
	if !hasBody {
		return
	}
	content := r.operation(op).RequestBody.Content
	form.schema = content["application/json"].Schema
	form.timed = holdsTimes(form.schema, r.huma.OpenAPI().Components.Schemas)
	if op.Method() == http.MethodPatch {
		// A patch may also call itself what it is.
		content["application/merge-patch+json"] = content["application/json"]
	}
}

// TakesRaw reports whether an input takes its body as it was sent: it has a
// field RawBody of type []byte in the place of Body, good until the handler
// returns. For what is signed over its very bytes, or is no JSON.
func TakesRaw(in reflect.Type) bool {
	f, ok := in.FieldByName("RawBody")
	return ok && f.Type == reflect.TypeFor[[]byte]()
}

// describeRaw documents a raw body: any JSON, or bytes of any other type, or
// nothing. It comes after the registration, so that nothing reads the JSON.
func (r *Router) describeRaw(op Op) {
	most := int(cmp.Or(op.MaxBody, defaultMaxBody))
	body := r.operation(op).RequestBody
	body.Required = false
	body.Content = map[string]*huma.MediaType{
		"application/json":         {Schema: &huma.Schema{Description: "Any JSON value."}},
		"application/octet-stream": {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary", MaxLength: &most, Description: "Anything else."}},
	}
}

// operation returns the document's entry of an operation.
func (r *Router) operation(op Op) *huma.Operation {
	item := r.huma.OpenAPI().Paths[op.Path()]
	switch op.Method() {
	case http.MethodGet:
		return item.Get
	case http.MethodPost:
		return item.Post
	case http.MethodPut:
		return item.Put
	case http.MethodPatch:
		return item.Patch
	}
	return item.Delete
}

func (r *Router) response(op Op, out reflect.Type) *huma.Response {
	res := &huma.Response{Description: http.StatusText(op.status())}
	if out == nil || out == reflect.TypeFor[None]() || op.status() == http.StatusNoContent {
		return res
	}
	if out == reflect.TypeFor[Raw]() {
		most := int(cmp.Or(op.MaxBody, defaultMaxBody))
		res.Content = map[string]*huma.MediaType{"*/*": {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary", MaxLength: &most}}}
		return res
	}
	res.Content = map[string]*huma.MediaType{"application/json": {
		Schema: r.huma.OpenAPI().Components.Schemas.Schema(out, true, op.ID+"Response"),
	}}
	return res
}

// Events lists the types of a literal's events.
func Events(types ...*event.Type) []*event.Type { return types }
