package plugins

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/tap"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/authz"
	"github.com/guildhall-dev/guildhall/event"
	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/internal/outbound"
	"github.com/guildhall-dev/guildhall/plugins/sdk/bundle"
	"github.com/guildhall-dev/guildhall/plugins/sdk/pluginpb"
	"github.com/guildhall-dev/guildhall/tenant"
)

const (
	mostMessage = 2 << 20 // bytes of a host call
	mostFetched = 1 << 20
)

// allowance is how often an installation may call the host.
type allowance struct {
	calls   *rate.Limiter
	logs    *rate.Limiter
	tasks   *rate.Limiter
	denials *rate.Limiter
	work    chan struct{} // places for tasks and schedules at the same time
	pace    pace
}

func (h *Host) allowanceOf(i id.ID) *allowance {
	b, _ := h.limits.ComputeIfAbsent(i, func() (*allowance, bool) {
		return &allowance{calls: rate.NewLimiter(2000, 4000), logs: rate.NewLimiter(20, 200), tasks: rate.NewLimiter(5, 500), denials: rate.NewLimiter(5, 100), work: make(chan struct{}, 4)}, false
	})
	return b
}

// hostServer answers the calls of one process.
type hostServer struct {
	pluginpb.UnimplementedHostServer
	host    *Host
	process slot
	calls   atomic.Int64  // on their way, over all connections
	bad     *rate.Limiter // lines about calls without a good grant
	lost    atomic.Int64  // of these lines
}

// mostCalls is how many calls of a process are on their way at once. Each may hold
// a message, so that a process holds 128 MiB of the host's memory at most.
const mostCalls = 64

func newHostServer(h *Host, process slot) *hostServer {
	return &hostServer{host: h, process: process, bad: rate.NewLimiter(rate.Every(10*time.Second), 5)}
}

// admit looks at a call before any of its message is received: without a good
// grant, none is.
func (s *hostServer) admit(ctx context.Context, info *tap.Info) (context.Context, error) {
	if s.found(info.Header) == nil {
		return ctx, s.noGrant(ctx)
	}
	if s.calls.Add(1) > mostCalls {
		s.calls.Add(-1)
		return ctx, status.Errorf(codes.ResourceExhausted, "too many host calls at once: at most %d for each process", mostCalls)
	}
	// The context of a call ends with it, however it ends.
	context.AfterFunc(ctx, func() { s.calls.Add(-1) })
	return ctx, nil
}

func (s *hostServer) found(md metadata.MD) *grant {
	if tokens := md.Get("guildhall-grant"); len(tokens) == 1 {
		return s.host.grants.of(tokens[0], s.process, time.Now())
	}
	return nil
}

// noGrant answers a call that names no organisation whose audit log could hold it,
// so it is logged: not without end, because the log is on a disk.
func (s *hostServer) noGrant(ctx context.Context) error {
	if s.bad.Allow() {
		s.host.Log.WarnContext(ctx, "a plugin called without a good grant", "plugin", s.process.plugin, "version", s.process.version, "left_out", s.lost.Swap(0))
	} else {
		s.lost.Add(1)
	}
	return status.Error(codes.PermissionDenied, "this call carries no grant that is good: send the grant of the request that you serve as guildhall-grant, before that request ends")
}

// grant is known for all calls but those to the log. A check of the settings of an
// installation that does not run has nothing yet; no audit log tells of that, since
// nobody withheld anything.
func (s *hostServer) grant(ctx context.Context) (*grant, error) {
	g, err := s.known(ctx)
	if err == nil && g.check && g.granted == nil {
		return nil, status.Error(codes.PermissionDenied, "nothing is granted while the settings of a plugin are checked that does not run in the organisation")
	}
	return g, err
}

// known returns what the call is allowed by.
func (s *hostServer) known(ctx context.Context) (*grant, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	g := s.found(md)
	if g == nil {
		return nil, s.noGrant(ctx)
	}
	if !s.host.allowanceOf(g.ID).calls.Allow() {
		return nil, status.Error(codes.ResourceExhausted, "too many host calls: at most 2,000 a second for each installation")
	}
	return g, nil
}

// changing is grant for what a hook must not do.
func (s *hostServer) changing(ctx context.Context, what string) (*grant, error) {
	g, err := s.grant(ctx)
	if err == nil && g.readOnly {
		err = s.denied(ctx, g, what, "a hook is asked before a change and must not change anything itself")
	}
	return g, err
}

// denied refuses a call, which the organisation's audit log tells.
func (s *hostServer) denied(ctx context.Context, g *grant, what, why string) error {
	scope := tenant.Scope{Organization: g.Organization, Actor: tenant.Actor{Kind: tenant.Plugin, ID: g.ID}, Operation: "plugin:" + g.PluginID, RequestID: g.request, SourceAddress: g.source}
	f := event.Fact{Type: "plugin_call.denied", Subject: g.ID, Data: map[string]any{"plugin_id": g.PluginID, "call": what, "reason": why}}
	if !s.host.allowanceOf(g.ID).denials.Allow() { // the log tells of enough of them
		return status.Error(codes.PermissionDenied, why)
	}
	if err := event.Record(context.WithoutCancel(ctx), s.host.DB, scope, f); err != nil {
		s.host.Log.WarnContext(ctx, "could not record a plugin's denied call", "plugin", g.PluginID, "error", err)
	}
	return status.Error(codes.PermissionDenied, why)
}

// Request implements pluginpb.HostServer.
func (s *hostServer) Request(ctx context.Context, in *pluginpb.RequestRequest) (*pluginpb.RequestResponse, error) {
	g, err := s.grant(ctx)
	if err != nil {
		return nil, err
	}
	u, err := url.ParseRequestURI(in.Path)
	if err != nil || u.Host != "" || u.Scheme != "" || !strings.HasPrefix(u.Path, "/v1/") || path.Clean(u.Path) != u.Path {
		return nil, status.Error(codes.InvalidArgument, "path is a path of the API with its query, such as /v1/tasks?status=pending")
	}
	if !slices.Contains([]string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete}, in.Method) {
		return nil, status.Error(codes.InvalidArgument, "method is GET, POST, PUT, PATCH or DELETE")
	}
	if g.readOnly && in.Method != http.MethodGet {
		return nil, s.denied(ctx, g, in.Method+" "+u.Path, "a hook is asked before a change and must not change anything itself")
	}
	ctx, cancel := context.WithDeadline(api.As(ctx, s.host.identify(g)), g.until)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, in.Method, in.Path, bytes.NewReader(in.Body))
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, "the path is not one of a request")
	}
	req.Header.Set("User-Agent", "plugin/"+g.PluginID+" "+g.running.version)
	req.Header.Set("X-Request-Id", id.New().String())
	req.RemoteAddr = g.source
	if len(in.Body) > 0 {
		req.Header.Set("Content-Type", "application/json")
	}
	for _, h := range in.Headers {
		switch name := http.CanonicalHeaderKey(h.Name); name {
		case "If-Match", "Idempotency-Key", "Content-Type":
			req.Header.Set(name, h.Value)
		}
	}
	res, err := s.host.serve(req)
	if err != nil {
		return nil, s.told(ctx, g, err)
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, status.Error(codes.Internal, "the answer could not be read")
	}
	out := &pluginpb.RequestResponse{Status: int32(res.StatusCode), Body: body}
	for _, name := range []string{"Content-Type", "Etag", "Location", "Link", "Retry-After", "Idempotency-Replayed", "X-Request-Id"} {
		if v := res.Header.Get(name); v != "" {
			out.Headers = append(out.Headers, &pluginpb.Header{Name: name, Value: v})
		}
	}
	return out, nil
}

// serve runs a request through the API. A handler that breaks an answer off does
// so by a panic, which here would end the process.
func (h *Host) serve(req *http.Request) (res *http.Response, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("plugins: the answer to %s %s broke off: %v", req.Method, req.URL.Path, v)
		}
	}()
	rec := httptest.NewRecorder()
	h.handler.ServeHTTP(rec, req)
	return rec.Result(), nil
}

// identify is who a plugin's request comes from: the installation, with what it
// was granted. When its rights prove stale they are looked up again; an
// installation that does not run any more has none.
func (h *Host) identify(g *grant) api.Identify {
	return func(ctx context.Context, c api.Credentials) (*api.Caller, error) {
		i := g.Installation
		if c.Fresh {
			a, err := h.load(ctx, g.Organization)
			if err != nil {
				return nil, err
			}
			if i = a.find(g.ID); i == nil {
				return nil, fault.New(fault.Denied, "permission_denied", "The organisation does not run this plugin any more.").With("permission", "plugin:installed")
			}
		}
		return h.caller(i), nil
	}
}

// projectsManage is what makes its holder a lead of every open project.
var projectsManage = authz.Permission{Key: "projects.manage"}

func (h *Host) caller(i *Installation) *api.Caller {
	rights := h.catalogue.Set(slices.DeleteFunc(slices.Clone(i.Grants), func(g string) bool { return !Grantable(g) }))
	c := &api.Caller{Organization: i.Organization, Permissions: rights}
	c.Scope = tenant.Scope{
		Organization: i.Organization, Actor: tenant.Actor{Kind: tenant.Plugin, ID: i.ID}, OpenRole: "contributor",
		Check: &tenant.Check{Epoch: i.Epoch, Plugin: i.ID},
	}
	if h.catalogue.Has(rights, projectsManage) {
		c.Scope.OpenRole = "lead"
	}
	if i.Granted(bundle.AskPrivateProjects) {
		c.Scope.Everything, c.Scope.IncludePrivate = true, true
	}
	return c
}

// Grantable reports whether a permission may be granted to plugins: not those
// with which one becomes somebody else, or gives rights away.
func Grantable(permission string) bool {
	noun, verb, _ := strings.Cut(permission, ".")
	switch noun {
	case "api_keys", "roles", "plugins", "webhooks", "inbound_sources", "audit_logs":
		return false
	case "members", "organizations":
		return verb == "read"
	}
	return true
}

// Fetch implements pluginpb.HostServer.
func (s *hostServer) Fetch(ctx context.Context, in *pluginpb.FetchRequest) (*pluginpb.FetchResponse, error) {
	g, err := s.grant(ctx)
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(in.Url)
	if err != nil || u.Host == "" {
		return nil, status.Error(codes.InvalidArgument, "url is not an address")
	}
	if g.readOnly && in.Method != http.MethodGet && in.Method != http.MethodHead {
		return nil, s.denied(ctx, g, "fetch "+u.Host, "a hook is asked before a change and must not change anything itself")
	}
	if !g.reaches(u) {
		return nil, s.denied(ctx, g, "fetch "+u.Host, "the organisation did not grant requests to "+u.Host)
	}
	if in.TimeoutSeconds < 0 || in.TimeoutSeconds > 30 {
		return nil, status.Error(codes.InvalidArgument, "timeout_seconds is 1 to 30")
	}
	wait := 10 * time.Second
	if in.TimeoutSeconds > 0 {
		wait = time.Duration(in.TimeoutSeconds) * time.Second
	}
	if a, err := s.host.load(ctx, g.Organization); err != nil || a.find(g.ID) == nil || !g.asNow(a.find(g.ID)).reaches(u) {
		return nil, s.denied(ctx, g, "fetch "+u.Host, "the organisation does not run this plugin any more, or took the grant back")
	}
	ctx, cancel := context.WithDeadline(ctx, earlier(time.Now().Add(wait), g.until))
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, in.Method, in.Url, bytes.NewReader(in.Body))
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, "method or url is not one of a request")
	}
	for _, h := range in.Headers {
		req.Header.Add(h.Name, h.Value)
	}
	res, err := s.host.Outbound.DoKeeping(ctx, req, mostFetched)
	var blocked *outbound.BlockedError
	switch {
	case errors.As(err, &blocked):
		return nil, s.denied(ctx, g, "fetch "+u.Host, err.Error())
	case err != nil:
		return nil, status.Error(codes.Unavailable, plain(err.Error(), 500))
	}
	out := &pluginpb.FetchResponse{Status: int32(res.StatusCode), Body: res.Body, Truncated: res.Truncated}
	for name, values := range res.Header {
		for _, v := range values {
			out.Headers = append(out.Headers, &pluginpb.Header{Name: name, Value: v})
		}
	}
	return out, nil
}

// asNow is the installation with what is granted now. A check is about other
// settings than those, and about another version perhaps.
func (g *grant) asNow(now *Installation) *Installation {
	if !g.check {
		return now
	}
	probe := *g.Installation
	probe.granted = now.granted
	return &probe
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// Log implements pluginpb.HostServer.
func (s *hostServer) Log(ctx context.Context, in *pluginpb.LogRequest) (*pluginpb.LogResponse, error) {
	g, err := s.known(ctx)
	if err != nil {
		return nil, err
	}
	if !s.host.allowanceOf(g.ID).logs.Allow() {
		return nil, status.Error(codes.ResourceExhausted, "too many lines: at most 20 a second for each installation")
	}
	args := []any{"plugin", g.PluginID, "version", g.running.version, "organization_id", g.Organization.String(), "installation_id", g.ID.String()}
	n := 0
	for k, v := range in.Fields {
		if n++; n > 20 {
			break
		}
		args = append(args, "plugin_"+plain(k, 50), plain(v, 500))
	}
	s.host.Log.Log(ctx, levels[in.Level], plain(in.Message, 1000), args...)
	return &pluginpb.LogResponse{}, nil
}

// reaches reports whether the organisation granted requests to the host of the
// address: by its name, or as the host of an address in its settings.
func (i *Installation) reaches(u *url.URL) bool {
	if u.Scheme != "https" && u.Scheme != "http" {
		return false
	}
	for _, h := range i.manifest.Hosts {
		switch {
		case h.Host != "" && i.Granted(bundle.AskHost+":"+h.Host) && hostMatches(h.Host, u):
			return true
		case h.Setting != "" && i.Granted(bundle.AskHostSetting+":"+h.Setting) && sameHost(i.setting(h.Setting), u):
			return true
		}
	}
	return false
}
