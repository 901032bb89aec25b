package plugintest

import (
	"context"
	"slices"
	"strings"
	"unicode/utf8"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/guildhall-dev/guildhall/plugins/sdk/pluginpb"
)

// What an installation may keep.
const (
	mostValues  = 10_000
	mostSecrets = 100
	mostValue   = 64 << 10
	mostSecret  = 8 << 10
	mostKey     = 200
	mostName    = 100
)

type value struct {
	bytes   []byte
	version int64
}

func goodKey(key string, most int) error {
	if key == "" || len(key) > most || !utf8.ValidString(key) || strings.ContainsRune(key, 0) {
		return status.Errorf(codes.InvalidArgument, "a name has 1 to %d bytes of UTF-8 without NUL", most)
	}
	return nil
}

// GetValue reads a value.
func (s *server) GetValue(ctx context.Context, in *pluginpb.GetValueRequest) (*pluginpb.GetValueResponse, error) {
	g, err := s.grant(ctx, "get a value")
	if err != nil {
		return nil, err
	}
	if err := goodKey(in.GetKey(), mostKey); err != nil {
		return nil, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	v, ok := g.values[in.GetKey()]
	return &pluginpb.GetValueResponse{Found: ok, Value: v.bytes, Version: v.version}, nil
}

// SetValue writes one, if the condition holds.
func (s *server) SetValue(ctx context.Context, in *pluginpb.SetValueRequest) (*pluginpb.SetValueResponse, error) {
	g, err := s.changing(ctx, "set a value")
	if err != nil {
		return nil, err
	}
	if err := goodKey(in.GetKey(), mostKey); err != nil {
		return nil, err
	}
	if len(in.GetValue()) > mostValue {
		return nil, status.Errorf(codes.InvalidArgument, "a value has at most %d bytes", mostValue)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	was, ok := g.values[in.GetKey()]
	if in.IfVersion != nil && in.GetIfVersion() != was.version {
		return nil, status.Error(codes.Aborted, "the value is not any more as the condition says: read it again")
	}
	if !ok && len(g.values) >= mostValues {
		return nil, status.Errorf(codes.ResourceExhausted, "an installation keeps at most %d values", mostValues)
	}
	g.values[in.GetKey()] = value{in.GetValue(), was.version + 1}
	return &pluginpb.SetValueResponse{Version: was.version + 1}, nil
}

// DeleteValue deletes one.
func (s *server) DeleteValue(ctx context.Context, in *pluginpb.DeleteValueRequest) (*pluginpb.DeleteValueResponse, error) {
	g, err := s.changing(ctx, "delete a value")
	if err != nil {
		return nil, err
	}
	if err := goodKey(in.GetKey(), mostKey); err != nil {
		return nil, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.values, in.GetKey())
	return &pluginpb.DeleteValueResponse{}, nil
}

// ListValues lists keys.
func (s *server) ListValues(ctx context.Context, in *pluginpb.ListValuesRequest) (*pluginpb.ListValuesResponse, error) {
	g, err := s.grant(ctx, "list values")
	if err != nil {
		return nil, err
	}
	limit := int(in.GetLimit())
	if limit == 0 {
		limit = 200
	}
	if limit < 1 || limit > 200 {
		return nil, status.Error(codes.InvalidArgument, "limit is 1 to 200")
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	var keys []string
	for k := range g.values {
		if strings.HasPrefix(k, in.GetPrefix()) && k > in.GetAfter() {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	return &pluginpb.ListValuesResponse{Keys: keys[:min(len(keys), limit)]}, nil
}

// GetSecret reads a secret.
func (s *server) GetSecret(ctx context.Context, in *pluginpb.GetSecretRequest) (*pluginpb.GetSecretResponse, error) {
	g, err := s.grant(ctx, "get a secret")
	if err != nil {
		return nil, err
	}
	if err := goodKey(in.GetName(), mostName); err != nil {
		return nil, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	secret, ok := g.secrets[in.GetName()]
	return &pluginpb.GetSecretResponse{Found: ok, Secret: secret}, nil
}

// SetSecret writes one.
func (s *server) SetSecret(ctx context.Context, in *pluginpb.SetSecretRequest) (*pluginpb.SetSecretResponse, error) {
	g, err := s.changing(ctx, "set a secret")
	if err != nil {
		return nil, err
	}
	if err := goodKey(in.GetName(), mostName); err != nil {
		return nil, err
	}
	if len(in.GetSecret()) > mostSecret {
		return nil, status.Errorf(codes.InvalidArgument, "a secret has at most %d bytes", mostSecret)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, ok := g.secrets[in.GetName()]; !ok && len(g.secrets) >= mostSecrets {
		return nil, status.Errorf(codes.ResourceExhausted, "an installation keeps at most %d secrets", mostSecrets)
	}
	g.secrets[in.GetName()] = in.GetSecret()
	return &pluginpb.SetSecretResponse{}, nil
}

// DeleteSecret deletes one.
func (s *server) DeleteSecret(ctx context.Context, in *pluginpb.DeleteSecretRequest) (*pluginpb.DeleteSecretResponse, error) {
	g, err := s.changing(ctx, "delete a secret")
	if err != nil {
		return nil, err
	}
	if err := goodKey(in.GetName(), mostName); err != nil {
		return nil, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.secrets, in.GetName())
	return &pluginpb.DeleteSecretResponse{}, nil
}
