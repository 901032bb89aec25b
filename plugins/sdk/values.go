package sdk

import (
	"context"
	"encoding/json"
	"iter"

	"github.com/guildhall-dev/guildhall/plugins/sdk/pluginpb"
)

// Values is the installation's own store: keys of up to 200 bytes, values of up to
// 64 KiB. It is gone when the organisation removes the plugin.
type Values struct{ c *Call }

// Values of the installation.
func (c *Call) Values() Values { return Values{c} }

// Value is a stored value.
type Value struct {
	Bytes   []byte
	Version int64 // counts the writes of the key; for SetIf
}

// Decode decodes a value that is JSON.
func (v Value) Decode(to any) error { return json.Unmarshal(v.Bytes, to) }

// Get reads a value; ErrNotFound if there is none.
func (v Values) Get(ctx context.Context, key string) (Value, error) {
	a, err := v.c.host.GetValue(v.c.granted(ctx), &pluginpb.GetValueRequest{Key: key})
	if err != nil {
		return Value{}, hostError("sdk.Values.Get("+key+")", err)
	}
	if !a.GetFound() {
		return Value{}, ErrNotFound
	}
	return Value{Bytes: a.GetValue(), Version: a.GetVersion()}, nil
}

// Set writes a value and returns its new version.
func (v Values) Set(ctx context.Context, key string, value []byte) (int64, error) {
	return v.set(ctx, &pluginpb.SetValueRequest{Key: key, Value: value})
}

// SetIf writes a value if its version is still this one, 0 if it does not exist:
// ErrChanged otherwise.
func (v Values) SetIf(ctx context.Context, key string, value []byte, version int64) (int64, error) {
	return v.set(ctx, &pluginpb.SetValueRequest{Key: key, Value: value, IfVersion: &version})
}

func (v Values) set(ctx context.Context, r *pluginpb.SetValueRequest) (int64, error) {
	a, err := v.c.host.SetValue(v.c.granted(ctx), r)
	if err != nil {
		return 0, hostError("sdk.Values.Set("+r.GetKey()+")", err)
	}
	return a.GetVersion(), nil
}

// Delete deletes a value; a missing one is no error.
func (v Values) Delete(ctx context.Context, key string) error {
	if _, err := v.c.host.DeleteValue(v.c.granted(ctx), &pluginpb.DeleteValueRequest{Key: key}); err != nil {
		return hostError("sdk.Values.Delete("+key+")", err)
	}
	return nil
}

// List walks over the keys with a prefix, in their order. It ends with the first
// error.
func (v Values) List(ctx context.Context, prefix string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		const page = 200
		for after := ""; ; {
			a, err := v.c.host.ListValues(v.c.granted(ctx), &pluginpb.ListValuesRequest{Prefix: prefix, After: after, Limit: page})
			if err != nil {
				yield("", hostError("sdk.Values.List("+prefix+")", err))
				return
			}
			for _, after = range a.GetKeys() {
				if !yield(after, nil) {
					return
				}
			}
			if len(a.GetKeys()) < page {
				return
			}
		}
	}
}

// Secrets are small secrets of the installation, such as tokens, encrypted where
// they are kept: names of up to 100 bytes, up to 8 KiB each.
type Secrets struct{ c *Call }

// Secrets of the installation.
func (c *Call) Secrets() Secrets { return Secrets{c} }

// Get reads a secret; ErrNotFound if there is none.
func (s Secrets) Get(ctx context.Context, name string) ([]byte, error) {
	a, err := s.c.host.GetSecret(s.c.granted(ctx), &pluginpb.GetSecretRequest{Name: name})
	if err != nil {
		return nil, hostError("sdk.Secrets.Get("+name+")", err)
	}
	if !a.GetFound() {
		return nil, ErrNotFound
	}
	return a.GetSecret(), nil
}

// Set writes a secret.
func (s Secrets) Set(ctx context.Context, name string, secret []byte) error {
	if _, err := s.c.host.SetSecret(s.c.granted(ctx), &pluginpb.SetSecretRequest{Name: name, Secret: secret}); err != nil {
		return hostError("sdk.Secrets.Set("+name+")", err)
	}
	return nil
}

// Delete deletes a secret; a missing one is no error.
func (s Secrets) Delete(ctx context.Context, name string) error {
	if _, err := s.c.host.DeleteSecret(s.c.granted(ctx), &pluginpb.DeleteSecretRequest{Name: name}); err != nil {
		return hostError("sdk.Secrets.Delete("+name+")", err)
	}
	return nil
}
