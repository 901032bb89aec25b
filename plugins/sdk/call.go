package sdk

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/guildhall-dev/guildhall/plugins/sdk/pluginpb"
)

// Call is one request of Guildhall: for whom it is, and the way back to the host.
// It ends with the handler; so do the host calls it allows.
type Call struct {
	OrganizationID  string
	InstallationID  string
	Actor           Reference // who caused it: user, key, plugin or system
	SettingsVersion int64     // changes whenever the settings do

	settings []byte
	grant    string
	host     pluginpb.HostClient
	stderr   io.Writer
}

func (s *server) call(c *pluginpb.Call) *Call {
	return &Call{
		OrganizationID: c.GetOrganizationId(), InstallationID: c.GetInstallationId(),
		Actor:           Reference{Type: c.GetActorKind(), ID: c.GetActorId()},
		SettingsVersion: c.GetSettingsVersion(), settings: c.GetSettings(), grant: c.GetGrant(), host: s.host, stderr: s.stderr,
	}
}

// dialHost is the one connection to the host. It is made at the first call.
func dialHost(socket string) pluginpb.HostClient {
	c, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage)))
	if err != nil { // the options are at odds, which they are not
		panic(err)
	}
	return pluginpb.NewHostClient(c)
}

// Settings decodes what the organisation set, secret fields in clear.
func (c *Call) Settings(v any) error {
	if len(c.settings) == 0 {
		return json.Unmarshal([]byte("{}"), v)
	}
	return json.Unmarshal(c.settings, v)
}

// granted adds what the host asks of every call.
func (c *Call) granted(ctx context.Context) context.Context {
	return metadata.AppendToOutgoingContext(ctx, pluginpb.GrantMetadata, c.grant)
}

// Emit writes an event "plugin.<plugin id>.<name>" into the organisation's log, and
// returns its id. The manifest declares the name and the shape of its data. With
// Once, it is written once however often it is called.
func (c *Call) Emit(ctx context.Context, name string, data any, opts ...Option) (string, error) {
	b, err := json.Marshal(data)
	if err != nil {
		return "", err
	}
	a, err := c.host.EmitEvent(c.granted(ctx), &pluginpb.EmitEventRequest{Name: name, Data: b, IdempotencyKey: collect(opts).once})
	if err != nil {
		return "", hostError("sdk.Emit("+name+")", err)
	}
	return a.GetEventId(), nil
}

// Enqueue puts work aside for Plugin.Tasks[name], not before at. The zero time is
// at once.
func (c *Call) Enqueue(ctx context.Context, name string, payload any, at time.Time) error {
	b, err := json.Marshal(payload)
	if err != nil {
		return err
	}
	r := &pluginpb.EnqueueRequest{Name: name, Payload: b}
	if !at.IsZero() {
		r.At = timestamppb.New(at)
	}
	if _, err := c.host.Enqueue(c.granted(ctx), r); err != nil {
		return hostError("sdk.Enqueue("+name+")", err)
	}
	return nil
}

// IsFinal says whether an error, or one that it wraps, was made by Final.
func IsFinal(err error) bool { return isFinal(err) }

// IsProblem finds the problem document in an error of Call.API.
func IsProblem(err error) (*Problem, bool) {
	var p *Problem
	return p, errors.As(err, &p)
}
