package plugintest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/guildhall-dev/guildhall/plugins/sdk/bundle"
	"github.com/guildhall-dev/guildhall/plugins/sdk/pluginpb"
)

// server answers the plugin's calls.
type server struct {
	pluginpb.UnimplementedHostServer
	p *process
}

const onlyReads = "a hook is asked before a change and must not change anything itself"

// grant returns what a call is allowed by.
func (s *server) grant(ctx context.Context, what string) (*grant, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	tokens := md.Get(pluginpb.GrantMetadata)
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	if len(tokens) == 1 {
		if g := s.p.grants[tokens[0]]; g != nil && time.Now().Before(g.until) {
			return g, nil
		}
	}
	s.p.denied = append(s.p.denied, what)
	return nil, status.Error(codes.PermissionDenied, "this call carries no grant that is good: send the grant of the request that you serve as guildhall-grant, before that request ends")
}

// changing is grant for what a hook must not do.
func (s *server) changing(ctx context.Context, what string) (*grant, error) {
	g, err := s.grant(ctx, what)
	if err == nil && g.readOnly {
		err = g.deny(what, onlyReads)
	}
	return g, err
}

func (g *grant) deny(what, why string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.denied = append(g.denied, what+": "+why)
	return status.Error(codes.PermissionDenied, why)
}

// Request hands an API request to the test's handler.
func (s *server) Request(ctx context.Context, in *pluginpb.RequestRequest) (*pluginpb.RequestResponse, error) {
	g, err := s.grant(ctx, in.GetMethod()+" "+in.GetPath())
	if err != nil {
		return nil, err
	}
	u, err := url.ParseRequestURI(in.GetPath())
	if err != nil || u.Host != "" || u.Scheme != "" || !strings.HasPrefix(u.Path, "/v1/") || path.Clean(u.Path) != u.Path {
		return nil, status.Error(codes.InvalidArgument, "path is a path of the API with its query, such as /v1/tasks?status=pending")
	}
	if !slices.Contains([]string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete}, in.GetMethod()) {
		return nil, status.Error(codes.InvalidArgument, "method is GET, POST, PUT, PATCH or DELETE")
	}
	if g.readOnly && in.GetMethod() != http.MethodGet {
		return nil, g.deny(in.GetMethod()+" "+u.Path, onlyReads)
	}
	r, err := http.NewRequestWithContext(ctx, in.GetMethod(), in.GetPath(), bytes.NewReader(in.GetBody()))
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, "the path is not one of a request")
	}
	r.Header.Set("User-Agent", "plugin/"+s.p.manifest.ID+" "+s.p.manifest.Version)
	if len(in.GetBody()) > 0 {
		r.Header.Set("Content-Type", "application/json")
	}
	for name, values := range fromHeaders(in.GetHeaders()) {
		if slices.Contains([]string{"If-Match", "Idempotency-Key", "Content-Type"}, name) {
			r.Header[name] = values[:1]
		}
	}
	a := httptest.NewRecorder()
	switch {
	case g.api == nil:
		s.p.t.Errorf("plugintest: the plugin calls %s %s, and the test has no Options.API", in.GetMethod(), in.GetPath())
		a.WriteHeader(http.StatusNotImplemented)
	case !g.mayAnything():
		a.WriteHeader(http.StatusForbidden)
		fmt.Fprintf(a, `{"status":403,"code":"permission_denied","title":"Forbidden","detail":"The organisation granted the plugin no permission."}`)
	default:
		g.api.ServeHTTP(a, r)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.requests = append(g.requests, Exchange{in.GetMethod(), in.GetPath(), r.Header, in.GetBody(), a.Code, a.Body.Bytes(), a.Header()})
	return &pluginpb.RequestResponse{Status: int32(a.Code), Headers: toHeaders(a.Header()), Body: a.Body.Bytes()}, nil
}

// mayAnything reports whether any permission of the API is granted.
func (g *grant) mayAnything() bool {
	return slices.ContainsFunc(g.p.manifest.Asks(), func(a bundle.Ask) bool { return a.Kind == bundle.AskPermission && g.has(a.Key) })
}

// Emitted is an event that the plugin wrote.
type Emitted struct {
	ID   string
	Type string // "plugin.chat.message_posted"
	Name string
	Data json.RawMessage
	Once string // the idempotency key
}

// EmitEvent takes an event down.
func (s *server) EmitEvent(ctx context.Context, in *pluginpb.EmitEventRequest) (*pluginpb.EmitEventResponse, error) {
	g, err := s.changing(ctx, "emit "+in.GetName())
	if err != nil {
		return nil, err
	}
	if bad := s.p.manifest.CheckEmit(in.GetName(), in.GetData()); len(bad) > 0 {
		return nil, status.Errorf(codes.InvalidArgument, "data does not fit the manifest's event %s: %s %s", in.GetName(), bad[0].Pointer, bad[0].Message)
	}
	if len(in.GetIdempotencyKey()) > 255 {
		return nil, status.Error(codes.InvalidArgument, "idempotency_key has at most 255 bytes")
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	key := in.GetName() + "\n" + in.GetIdempotencyKey()
	if id, again := g.once[key]; again && in.GetIdempotencyKey() != "" {
		return &pluginpb.EmitEventResponse{EventId: id}, nil
	}
	id := uuid(5, len(g.emitted)+1)
	g.once[key] = id
	g.emitted = append(g.emitted, Emitted{id, s.p.manifest.EventType(in.GetName()), in.GetName(), in.GetData(), in.GetIdempotencyKey()})
	return &pluginpb.EmitEventResponse{EventId: id}, nil
}

// Enqueue puts a task aside.
func (s *server) Enqueue(ctx context.Context, in *pluginpb.EnqueueRequest) (*pluginpb.EnqueueResponse, error) {
	g, err := s.changing(ctx, "enqueue")
	if err != nil {
		return nil, err
	}
	if err := goodKey(in.GetName(), mostName); err != nil {
		return nil, err
	}
	if len(in.GetPayload()) > mostValue {
		return nil, status.Errorf(codes.InvalidArgument, "a payload has at most %d bytes", mostValue)
	}
	t := Task{Name: in.GetName(), Payload: in.GetPayload()}
	if in.GetAt() != nil {
		if t.At = in.GetAt().AsTime(); t.At.After(time.Now().Add(30 * 24 * time.Hour)) {
			return nil, status.Error(codes.InvalidArgument, "at is at most 30 days ahead")
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.tasks = append(g.tasks, t)
	return &pluginpb.EnqueueResponse{}, nil
}

// Log takes a line down.
func (s *server) Log(ctx context.Context, in *pluginpb.LogRequest) (*pluginpb.LogResponse, error) {
	g, err := s.grant(ctx, "log")
	if err != nil {
		return nil, err
	}
	level := strings.ToLower(strings.TrimPrefix(in.GetLevel().String(), "LEVEL_"))
	g.mu.Lock()
	defer g.mu.Unlock()
	g.logged = append(g.logged, Line{level, in.GetMessage(), maps.Clone(in.GetFields())})
	return &pluginpb.LogResponse{}, nil
}

func fromHeaders(in []*pluginpb.Header) http.Header {
	out := http.Header{}
	for _, h := range in {
		out.Add(h.GetName(), h.GetValue())
	}
	return out
}

func toHeaders(in http.Header) (out []*pluginpb.Header) {
	for name, values := range in {
		for _, v := range values {
			out = append(out, &pluginpb.Header{Name: name, Value: v})
		}
	}
	return out
}

// readUpTo reads a body, and says whether there is more of it.
func readUpTo(r io.Reader, most int) (body []byte, more bool, err error) {
	body, err = io.ReadAll(io.LimitReader(r, int64(most)+1))
	return body[:min(len(body), most)], len(body) > most, err
}
