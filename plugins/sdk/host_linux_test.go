package sdk_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/guildhall-dev/guildhall/plugins/sdk/pluginpb"
)

// host is a Host with a store, which takes down what it is asked.
type host struct {
	pluginpb.UnimplementedHostServer
	mu       sync.Mutex
	values   map[string][]byte
	versions map[string]int64
	secrets  map[string][]byte
	calls    []string
}

func newHost() *host {
	return &host{values: map[string][]byte{}, versions: map[string]int64{}, secrets: map[string][]byte{}}
}

// note takes a call down, and refuses those without the grant.
func (h *host) note(ctx context.Context, format string, args ...any) error {
	h.calls = append(h.calls, fmt.Sprintf(format, args...))
	if md, _ := metadata.FromIncomingContext(ctx); !slices.Equal(md.Get(pluginpb.GrantMetadata), []string{"grant-1"}) {
		return status.Error(codes.PermissionDenied, "there is no grant")
	}
	return nil
}

func (h *host) noted(call string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Contains(h.calls, call)
}

func (h *host) Request(ctx context.Context, r *pluginpb.RequestRequest) (*pluginpb.RequestResponse, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var named []string
	for _, n := range r.GetHeaders() {
		named = append(named, n.GetName()+"="+n.GetValue())
	}
	slices.Sort(named)
	if err := h.note(ctx, "%s %s %s %s", r.GetMethod(), r.GetPath(), named, r.GetBody()); err != nil {
		return nil, err
	}
	if strings.Contains(string(r.GetBody()), `""`) {
		return &pluginpb.RequestResponse{Status: 422, Body: []byte(`{"status":422,"code":"validation_failed","detail":"No.","errors":[{"pointer":"/title","message":"empty"}]}`)}, nil
	}
	return &pluginpb.RequestResponse{Status: 201, Headers: []*pluginpb.Header{{Name: "ETag", Value: `"1"`}}, Body: r.GetBody()}, nil
}

func (h *host) GetValue(ctx context.Context, r *pluginpb.GetValueRequest) (*pluginpb.GetValueResponse, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if r.GetKey() == "forbidden" {
		return nil, status.Error(codes.PermissionDenied, "values are not granted")
	}
	v, ok := h.values[r.GetKey()]
	return &pluginpb.GetValueResponse{Found: ok, Value: v, Version: h.versions[r.GetKey()]}, h.note(ctx, "get %s", r.GetKey())
}

func (h *host) SetValue(ctx context.Context, r *pluginpb.SetValueRequest) (*pluginpb.SetValueResponse, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if r.IfVersion != nil && r.GetIfVersion() != h.versions[r.GetKey()] {
		return nil, status.Error(codes.Aborted, "it has another version")
	}
	h.values[r.GetKey()] = r.GetValue()
	h.versions[r.GetKey()]++
	return &pluginpb.SetValueResponse{Version: h.versions[r.GetKey()]}, h.note(ctx, "set %s", r.GetKey())
}

func (h *host) DeleteValue(ctx context.Context, r *pluginpb.DeleteValueRequest) (*pluginpb.DeleteValueResponse, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.values, r.GetKey())
	return &pluginpb.DeleteValueResponse{}, h.note(ctx, "delete %s", r.GetKey())
}

func (h *host) ListValues(ctx context.Context, r *pluginpb.ListValuesRequest) (*pluginpb.ListValuesResponse, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var keys []string
	for k := range h.values {
		if strings.HasPrefix(k, r.GetPrefix()) && k > r.GetAfter() {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	return &pluginpb.ListValuesResponse{Keys: keys[:min(len(keys), int(r.GetLimit()))]}, h.note(ctx, "list %s", r.GetPrefix())
}

func (h *host) GetSecret(ctx context.Context, r *pluginpb.GetSecretRequest) (*pluginpb.GetSecretResponse, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s, ok := h.secrets[r.GetName()]
	return &pluginpb.GetSecretResponse{Found: ok, Secret: s}, h.note(ctx, "get secret %s", r.GetName())
}

func (h *host) SetSecret(ctx context.Context, r *pluginpb.SetSecretRequest) (*pluginpb.SetSecretResponse, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.secrets[r.GetName()] = r.GetSecret()
	return &pluginpb.SetSecretResponse{}, h.note(ctx, "set secret %s", r.GetName())
}

func (h *host) DeleteSecret(ctx context.Context, r *pluginpb.DeleteSecretRequest) (*pluginpb.DeleteSecretResponse, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.secrets, r.GetName())
	return &pluginpb.DeleteSecretResponse{}, h.note(ctx, "delete secret %s", r.GetName())
}

func (h *host) EmitEvent(ctx context.Context, r *pluginpb.EmitEventRequest) (*pluginpb.EmitEventResponse, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return &pluginpb.EmitEventResponse{EventId: "e"}, h.note(ctx, "emit %s %s once %s", r.GetName(), r.GetData(), r.GetIdempotencyKey())
}

func (h *host) Enqueue(ctx context.Context, r *pluginpb.EnqueueRequest) (*pluginpb.EnqueueResponse, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return &pluginpb.EnqueueResponse{}, h.note(ctx, "enqueue %s %s at %s", r.GetName(), r.GetPayload(), r.GetAt().AsTime().Format("15:04"))
}

func (h *host) Fetch(ctx context.Context, r *pluginpb.FetchRequest) (*pluginpb.FetchResponse, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return &pluginpb.FetchResponse{
		Status: 302, Headers: []*pluginpb.Header{{Name: "location", Value: "https://elsewhere.example/"}}, Body: []byte("moved"), Truncated: true,
	}, h.note(ctx, "fetch %s %s %s within %d", r.GetMethod(), r.GetUrl(), r.GetBody(), r.GetTimeoutSeconds())
}

func (h *host) Log(ctx context.Context, r *pluginpb.LogRequest) (*pluginpb.LogResponse, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return &pluginpb.LogResponse{}, h.note(ctx, "log %s %s %v", r.GetLevel(), r.GetMessage(), r.GetFields())
}
