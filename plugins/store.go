package plugins

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/guildhall-dev/guildhall/event"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/jobs"
	"github.com/guildhall-dev/guildhall/plugins/sdk/pluginpb"
	"github.com/guildhall-dev/guildhall/tenant"
)

const (
	mostValues  = 10_000 // keys of an installation
	mostSecrets = 100
	mostValue   = 64 << 10
	mostSecret  = 8 << 10
	mostAhead   = 30 * 24 * time.Hour
)

const (
	selectValue = `select value, version from plugin_values where tenant_id = $1 and installation_id = $2 and key = $3`
	listValues  = `select key from plugin_values where tenant_id = $1 and installation_id = $2 and key > $3 and key >= $4 and starts_with(key, $4)
		order by key limit $5`
	deleteValue = `delete from plugin_values where tenant_id = $1 and installation_id = $2 and key = $3`
	countValues = `select count(*) from plugin_values where tenant_id = $1 and installation_id = $2`
	lockValues  = `select pg_advisory_xact_lock(hashtextextended($1::text, 7302))`
	putValue    = `insert into plugin_values as v (tenant_id, installation_id, key, value) values ($1, $2, $3, $4)
		on conflict on constraint plugin_values_pkey do update set value = excluded.value, version = v.version + 1, updated_at = now()
		returning version`
	addValue = `insert into plugin_values (tenant_id, installation_id, key, value) values ($1, $2, $3, $4)
		on conflict on constraint plugin_values_pkey do nothing returning version`
	replaceValue = `update plugin_values set value = $4, version = version + 1, updated_at = now()
		where tenant_id = $1 and installation_id = $2 and key = $3 and version = $5 returning version`

	selectSecret = `select secret from plugin_secrets where tenant_id = $1 and installation_id = $2 and name = $3`
	putSecret    = `insert into plugin_secrets as s (tenant_id, installation_id, name, secret)
		select $1, $2, $3, $4 where exists (select from plugin_secrets where tenant_id = $1 and installation_id = $2 and name = $3)
			or (select count(*) from plugin_secrets where tenant_id = $1 and installation_id = $2) < $5
		on conflict on constraint plugin_secrets_pkey do update set secret = excluded.secret, updated_at = now()`
	deleteSecret = `delete from plugin_secrets where tenant_id = $1 and installation_id = $2 and name = $3`

	forgetEmitted = `delete from plugin_emitted where tenant_id = $1 and installation_id = $2 and key_hash = $3 and emitted_at < now() - interval '72 hours'`
	noteEmitted   = `insert into plugin_emitted (tenant_id, installation_id, key_hash, event_id) values ($1, $2, $3, $4)
		on conflict on constraint plugin_emitted_pkey do nothing`
	selectEmitted = `select event_id from plugin_emitted where tenant_id = $1 and installation_id = $2 and key_hash = $3`
)

// scope is the one in which a host call touches the database.
func (g *grant) scope() tenant.Scope {
	return tenant.Scope{
		Organization: g.Organization, Actor: tenant.Actor{Kind: tenant.Plugin, ID: g.ID}, OpenRole: "contributor",
		Check: &tenant.Check{Epoch: g.Epoch, Plugin: g.ID}, Operation: "plugin:" + g.PluginID, RequestID: g.request, SourceAddress: g.source,
	}
}

// fresh runs fn in the grant's scope; once more if the organisation's rights
// changed meanwhile and the installation runs all the same.
func (s *hostServer) fresh(ctx context.Context, g *grant, fn func(tenant.Scope) error) error {
	scope := g.scope()
	err := fn(scope)
	for range 3 {
		if !errors.Is(err, tenant.ErrStale) {
			break
		}
		a, lerr := s.host.load(ctx, g.Organization)
		if lerr != nil {
			return lerr
		}
		if a.find(g.ID) == nil {
			return status.Error(codes.PermissionDenied, "the organisation does not run this plugin any more")
		}
		scope.Check = &tenant.Check{Epoch: a.epoch, Plugin: g.ID}
		err = fn(scope)
	}
	return s.told(ctx, g, err)
}

// told keeps what is ours from the plugin.
func (s *hostServer) told(ctx context.Context, g *grant, err error) error {
	if _, ours := status.FromError(err); err == nil || ours {
		return err
	}
	if ctx.Err() != nil {
		return status.FromContextError(ctx.Err()).Err()
	}
	s.host.Log.ErrorContext(ctx, "a host call failed", "plugin", g.PluginID, "installation_id", g.ID.String(), "error", err)
	return status.Error(codes.Internal, "the call failed inside Guildhall; its log says why")
}

func goodKey(key string, most int) error {
	if key == "" || len(key) > most || !utf8.ValidString(key) || strings.ContainsRune(key, 0) {
		return status.Errorf(codes.InvalidArgument, "a name has 1 to %d bytes of UTF-8 without NUL", most)
	}
	return nil
}

type valueRow struct {
	Value   []byte `db:"value"`
	Version int64  `db:"version"`
}

// GetValue implements pluginpb.HostServer.
func (s *hostServer) GetValue(ctx context.Context, in *pluginpb.GetValueRequest) (*pluginpb.GetValueResponse, error) {
	g, err := s.grant(ctx)
	if err != nil {
		return nil, err
	}
	if err := goodKey(in.Key, 200); err != nil {
		return nil, err
	}
	out := &pluginpb.GetValueResponse{}
	err = s.fresh(ctx, g, func(scope tenant.Scope) error {
		row, err := tenant.One[valueRow](ctx, s.host.DB.View(scope), selectValue, g.Organization, g.ID, in.Key)
		if errors.Is(err, tenant.ErrNoRows) {
			return nil
		}
		out.Found, out.Value, out.Version = err == nil, row.Value, row.Version
		return err
	})
	return out, err
}

// SetValue implements pluginpb.HostServer.
func (s *hostServer) SetValue(ctx context.Context, in *pluginpb.SetValueRequest) (*pluginpb.SetValueResponse, error) {
	g, err := s.changing(ctx, "set a value")
	if err != nil {
		return nil, err
	}
	if err := goodKey(in.Key, 200); err != nil {
		return nil, err
	}
	if len(in.Value) > mostValue {
		return nil, status.Errorf(codes.InvalidArgument, "a value has at most %d bytes", mostValue)
	}
	value := in.Value
	if value == nil {
		value = []byte{}
	}
	out := &pluginpb.SetValueResponse{}
	err = s.fresh(ctx, g, func(scope tenant.Scope) error {
		return s.host.DB.Write(ctx, scope, func(tx *tenant.Tx) (err error) {
			args := []any{g.Organization, g.ID, in.Key, value}
			sql := putValue
			switch {
			case in.IfVersion == nil:
			case *in.IfVersion == 0:
				sql = addValue
			default:
				sql, args = replaceValue, append(args, *in.IfVersion)
			}
			out.Version, err = tenant.Value[int64](ctx, tx, sql, args...)
			if errors.Is(err, tenant.ErrNoRows) {
				return status.Error(codes.Aborted, "the value is not any more as the condition says: read it again")
			}
			if err != nil || out.Version != 1 {
				return err
			}
			// A new key: they are counted one after the other.
			if _, err = tenant.Exec(ctx, tx, lockValues, g.ID.String()); err != nil {
				return err
			}
			n, err := tenant.Value[int64](ctx, tx, countValues, g.Organization, g.ID)
			if err == nil && n > mostValues {
				err = status.Errorf(codes.ResourceExhausted, "an installation keeps at most %d values", mostValues)
			}
			return err
		})
	})
	return out, err
}

// DeleteValue implements pluginpb.HostServer.
func (s *hostServer) DeleteValue(ctx context.Context, in *pluginpb.DeleteValueRequest) (*pluginpb.DeleteValueResponse, error) {
	g, err := s.changing(ctx, "delete a value")
	if err != nil {
		return nil, err
	}
	if err := goodKey(in.Key, 200); err != nil {
		return nil, err
	}
	return &pluginpb.DeleteValueResponse{}, s.exec(ctx, g, deleteValue, g.Organization, g.ID, in.Key)
}

func (s *hostServer) exec(ctx context.Context, g *grant, sql string, args ...any) error {
	return s.fresh(ctx, g, func(scope tenant.Scope) error {
		return s.host.DB.Write(ctx, scope, func(tx *tenant.Tx) error {
			_, err := tenant.Exec(ctx, tx, sql, args...)
			return err
		})
	})
}

// ListValues implements pluginpb.HostServer.
func (s *hostServer) ListValues(ctx context.Context, in *pluginpb.ListValuesRequest) (*pluginpb.ListValuesResponse, error) {
	g, err := s.grant(ctx)
	if err != nil {
		return nil, err
	}
	limit := int(in.Limit)
	if limit == 0 {
		limit = 200
	}
	if limit < 1 || limit > 200 {
		return nil, status.Error(codes.InvalidArgument, "limit is 1 to 200")
	}
	for _, k := range []string{in.Prefix, in.After} {
		if k != "" {
			if err := goodKey(k, 200); err != nil {
				return nil, err
			}
		}
	}
	out := &pluginpb.ListValuesResponse{}
	err = s.fresh(ctx, g, func(scope tenant.Scope) (err error) {
		out.Keys, err = tenant.Values[string](ctx, s.host.DB.View(scope), listValues, g.Organization, g.ID, in.After, in.Prefix, limit)
		return err
	})
	return out, err
}

func (g *grant) secretPlace(name string) string {
	return fmt.Sprintf("plugin_secrets/%s/%s/%s", g.Organization, g.ID, name)
}

// GetSecret implements pluginpb.HostServer.
func (s *hostServer) GetSecret(ctx context.Context, in *pluginpb.GetSecretRequest) (*pluginpb.GetSecretResponse, error) {
	g, err := s.grant(ctx)
	if err != nil {
		return nil, err
	}
	if err := goodKey(in.Name, 100); err != nil {
		return nil, err
	}
	out := &pluginpb.GetSecretResponse{}
	err = s.fresh(ctx, g, func(scope tenant.Scope) error {
		sealed, err := tenant.Value[[]byte](ctx, s.host.DB.View(scope), selectSecret, g.Organization, g.ID, in.Name)
		if errors.Is(err, tenant.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		out.Found = true
		out.Secret, err = s.host.Keys.Open(sealed, g.secretPlace(in.Name))
		return err
	})
	return out, err
}

// SetSecret implements pluginpb.HostServer.
func (s *hostServer) SetSecret(ctx context.Context, in *pluginpb.SetSecretRequest) (*pluginpb.SetSecretResponse, error) {
	g, err := s.changing(ctx, "set a secret")
	if err != nil {
		return nil, err
	}
	if err := goodKey(in.Name, 100); err != nil {
		return nil, err
	}
	if len(in.Secret) > mostSecret {
		return nil, status.Errorf(codes.InvalidArgument, "a secret has at most %d bytes", mostSecret)
	}
	sealed, err := s.host.Keys.Seal(in.Secret, g.secretPlace(in.Name))
	if err != nil {
		return nil, s.told(ctx, g, err)
	}
	return &pluginpb.SetSecretResponse{}, s.fresh(ctx, g, func(scope tenant.Scope) error {
		return s.host.DB.Write(ctx, scope, func(tx *tenant.Tx) error {
			if _, err := tenant.Exec(ctx, tx, lockValues, g.ID.String()); err != nil {
				return err
			}
			n, err := tenant.Exec(ctx, tx, putSecret, g.Organization, g.ID, in.Name, sealed, mostSecrets)
			if err == nil && n == 0 {
				err = status.Errorf(codes.ResourceExhausted, "an installation keeps at most %d secrets", mostSecrets)
			}
			return err
		})
	})
}

// DeleteSecret implements pluginpb.HostServer.
func (s *hostServer) DeleteSecret(ctx context.Context, in *pluginpb.DeleteSecretRequest) (*pluginpb.DeleteSecretResponse, error) {
	g, err := s.changing(ctx, "delete a secret")
	if err != nil {
		return nil, err
	}
	if err := goodKey(in.Name, 100); err != nil {
		return nil, err
	}
	return &pluginpb.DeleteSecretResponse{}, s.exec(ctx, g, deleteSecret, g.Organization, g.ID, in.Name)
}

// EmitEvent implements pluginpb.HostServer.
func (s *hostServer) EmitEvent(ctx context.Context, in *pluginpb.EmitEventRequest) (*pluginpb.EmitEventResponse, error) {
	g, err := s.changing(ctx, "emit "+plain(in.Name, 50))
	if err != nil {
		return nil, err
	}
	if bad := g.manifest.CheckEmit(in.Name, in.Data); len(bad) > 0 {
		return nil, status.Errorf(codes.InvalidArgument, "data does not fit the manifest's event %s: %s %s", plain(in.Name, 50), bad[0].Pointer, bad[0].Message)
	}
	if bytes.Contains(in.Data, []byte(`\u0000`)) {
		return nil, status.Error(codes.InvalidArgument, "data holds a NUL character")
	}
	if len(in.IdempotencyKey) > 255 {
		return nil, status.Error(codes.InvalidArgument, "idempotency_key has at most 255 bytes")
	}
	e := Emitted{PluginID: g.PluginID, InstallationID: g.ID, Name: in.Name, Data: json.RawMessage(in.Data)}
	sum := sha256.Sum256([]byte(in.Name + "\n" + in.IdempotencyKey))
	var emitted id.ID
	err = s.fresh(ctx, g, func(scope tenant.Scope) error {
		return s.host.DB.Write(ctx, scope, func(tx *tenant.Tx) (err error) {
			eid := id.New()
			if in.IdempotencyKey != "" {
				if _, err := tenant.Exec(ctx, tx, forgetEmitted, g.Organization, g.ID, sum[:]); err != nil {
					return err
				}
				n, err := tenant.Exec(ctx, tx, noteEmitted, g.Organization, g.ID, sum[:], eid)
				if err != nil {
					return err
				}
				if n == 0 {
					emitted, err = tenant.Value[id.ID](ctx, tx, selectEmitted, g.Organization, g.ID, sum[:])
					return err
				}
			}
			emitted = eid
			return Happened.EmitAs(ctx, tx, eid, g.manifest.EventType(in.Name), e)
		})
	})
	return &pluginpb.EmitEventResponse{EventId: emitted.String()}, err
}

// Emitted is what a plugin says has happened.
type Emitted struct {
	PluginID       string          `json:"plugin_id" maxLength:"40" example:"chat"`
	InstallationID id.ID           `json:"installation_id" ref:"plugin_installation"`
	Name           string          `json:"name" maxLength:"50" example:"message_posted" doc:"What happened; the plugin's manifest describes it."`
	Data           json.RawMessage `json:"data" doc:"As the plugin's manifest says."`
}

// EventSubject implements event.Subjected.
func (e Emitted) EventSubject() event.Subject { return event.Subject{ID: e.InstallationID} }

// Happened is what plugins emit. In the log each has a type of its own,
// plugin.<plugin id>.<name>.
var Happened = event.DefineFamily[Emitted]("plugin.event", `^plugin\.[a-z_]+\.[a-z][a-z0-9_]*$`, "A plugin tells of something; its type is plugin.<plugin id>.<name>, as the plugin's manifest declares.")

// Enqueue implements pluginpb.HostServer.
func (s *hostServer) Enqueue(ctx context.Context, in *pluginpb.EnqueueRequest) (*pluginpb.EnqueueResponse, error) {
	g, err := s.changing(ctx, "enqueue")
	if err != nil {
		return nil, err
	}
	if err := goodKey(in.Name, 100); err != nil {
		return nil, err
	}
	if len(in.Payload) > mostValue {
		return nil, status.Errorf(codes.InvalidArgument, "a payload has at most %d bytes", mostValue)
	}
	if !s.host.allowanceOf(g.ID).tasks.Allow() {
		return nil, status.Error(codes.ResourceExhausted, "too many tasks: at most 5 a second for each installation, and 500 at once")
	}
	var at time.Time
	if in.At != nil {
		if at = in.At.AsTime(); at.After(time.Now().Add(mostAhead)) {
			return nil, status.Error(codes.InvalidArgument, "at is at most 30 days ahead")
		}
	}
	return &pluginpb.EnqueueResponse{}, s.fresh(ctx, g, func(scope tenant.Scope) error {
		return s.host.DB.Write(ctx, scope, func(tx *tenant.Tx) error {
			return runTask.EnqueueAt(ctx, s.host.Queue, tx, taskArgs{g.ID, in.Name, in.Payload}, at)
		})
	})
}

// taskArgs are put aside by a plugin itself; they are its own data.
type taskArgs struct {
	Installation id.ID  `json:"installation_id"`
	Name         string `json:"name"`
	Payload      []byte `json:"payload"`
}

var runTask = jobs.Kind[taskArgs]{Name: "plugins.task", Queue: queue}
