package sdk

import (
	"cmp"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/guildhall-dev/guildhall/plugins/sdk/pluginpb"
)

// NewServer is the server that Serve serves, for those who speak to a plugin
// within one process.
func NewServer(p Plugin, host pluginpb.HostClient) pluginpb.PluginServer {
	return &server{p: p, host: host, stderr: os.Stderr}
}

type server struct {
	pluginpb.UnimplementedPluginServer
	p      Plugin
	host   pluginpb.HostClient
	stderr io.Writer // the real one: go-plugin puts another in os.Stderr, which is lost at an exit
}

// named finds a handler, or says that there is none.
func named[H any](kind, name string, handlers map[string]H) (h H, err error) {
	h, ok := handlers[name]
	if !ok {
		err = status.Errorf(codes.Unimplemented, "there is no %s %s", kind, name)
	}
	return h, err
}

// run runs a handler of one request.
func run[A any](s *server, what string, handler func() (A, error)) (a A, err error) {
	err = s.guarded(what, func() error {
		a, err = handler()
		return err
	})
	if err != nil {
		err = answer(err)
	}
	return a, err
}

// Hear tells the plugin of one event after the other, and stops at the first that
// is to come again, or when there may be no time left for another: an answer after
// the deadline is none, and all of it would come again.
func (s *server) Hear(ctx context.Context, r *pluginpb.HearRequest) (*pluginpb.HearResponse, error) {
	if s.p.Hear == nil {
		return nil, status.Error(codes.Unimplemented, "it hears no events")
	}
	c := s.call(r.GetCall())
	began, longest := time.Now(), time.Duration(0)
	deadline, bounded := ctx.Deadline()
	for i, raw := range r.GetEvents() {
		last := time.Now()
		if bounded && i > 0 && deadline.Sub(last) < max(longest, deadline.Sub(began)/4) {
			return &pluginpb.HearResponse{Done: int32(i)}, nil
		}
		err := ctx.Err()
		if err == nil {
			err = s.guarded("Hear", func() error {
				var e Event
				if err := json.Unmarshal(raw, &e); err != nil {
					return Finalf("the event cannot be read: %w", err)
				}
				return s.p.Hear(ctx, c, e)
			})
		}
		if isFinal(err) {
			c.Log().Error("an event was passed over", "error", err, "position", i)
		} else if err != nil {
			return &pluginpb.HearResponse{Done: int32(i), Error: clip(err.Error())}, nil
		}
		longest = max(longest, time.Since(last))
	}
	return &pluginpb.HearResponse{Done: int32(len(r.GetEvents()))}, nil
}

// clip makes a text fit for a message: not too long, and valid UTF-8.
func clip(s string) string { return text(s[:min(len(s), 1000)]) }

func text(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

func (s *server) Decide(ctx context.Context, r *pluginpb.DecideRequest) (*pluginpb.DecideResponse, error) {
	hook, err := named("hook", r.GetHook(), s.p.Hooks)
	if err != nil {
		return nil, err
	}
	c, a := s.call(r.GetCall()), &pluginpb.DecideResponse{}
	for _, item := range r.GetItems() {
		d, err := run(s, "the hook "+r.GetHook(), func() (*pluginpb.Decision, error) {
			d, err := hook(ctx, c, Change{Hook: r.GetHook(), Subject: item.GetSubject(), Draft: item.GetDraft()})
			out := &pluginpb.Decision{Refusal: text(d.refusal)}
			if err == nil && d.amend != nil {
				out.Amend, err = json.Marshal(d.amend)
			}
			return out, err
		})
		if err != nil {
			return nil, err
		}
		a.Decisions = append(a.Decisions, d)
	}
	return a, nil
}

func (s *server) Act(ctx context.Context, r *pluginpb.ActRequest) (*pluginpb.ActResponse, error) {
	act, err := named("action", r.GetAction(), s.p.Actions)
	if err != nil {
		return nil, err
	}
	return run(s, "the action "+r.GetAction(), func() (*pluginpb.ActResponse, error) {
		res, err := act(ctx, s.call(r.GetCall()), &Action{
			Name: r.GetAction(), Input: r.GetInput(), Subject: Reference{Type: r.GetSubjectType(), ID: r.GetSubjectId()},
		})
		if err != nil {
			return nil, err
		}
		out := &pluginpb.ActResponse{Message: text(res.Message), Refusal: text(res.Refusal)}
		if res.Output != nil {
			out.Output, err = json.Marshal(res.Output)
		}
		return out, err
	})
}

func (s *server) Provide(ctx context.Context, r *pluginpb.ProvideRequest) (*pluginpb.ProvideResponse, error) {
	key := r.GetPoint() + "/" + r.GetName()
	provide, err := named("provider", key, s.p.Provides)
	if err != nil {
		return nil, err
	}
	return run(s, "the provider "+key, func() (*pluginpb.ProvideResponse, error) {
		out, err := provide(ctx, s.call(r.GetCall()), r.GetInput())
		if isFinal(err) {
			return &pluginpb.ProvideResponse{Refusal: clip(err.Error())}, nil
		}
		return &pluginpb.ProvideResponse{Output: out}, err
	})
}

func (s *server) Receive(ctx context.Context, r *pluginpb.ReceiveRequest) (*pluginpb.ReceiveResponse, error) {
	receive, err := named("inbound entry", r.GetName(), s.p.Inbound)
	if err != nil {
		return nil, err
	}
	return run(s, "the inbound entry "+r.GetName(), func() (*pluginpb.ReceiveResponse, error) {
		query, err := url.ParseQuery(r.GetQuery())
		if err != nil {
			return &pluginpb.ReceiveResponse{Status: http.StatusBadRequest}, nil
		}
		in := &Request{Name: r.GetName(), Method: r.GetMethod(), Query: query, Header: header(r.GetHeaders()), Body: r.GetBody()}
		res, err := receive(ctx, s.call(r.GetCall()), in)
		if err != nil {
			return nil, err
		}
		if res == nil {
			res = &Response{}
		}
		otherwise := http.StatusNoContent
		if len(res.Body) > 0 {
			otherwise = http.StatusOK
		}
		return &pluginpb.ReceiveResponse{Status: int32(cmp.Or(res.Status, otherwise)), Headers: headers(res.Header), Body: res.Body}, nil
	})
}

func (s *server) RunSchedule(ctx context.Context, r *pluginpb.RunScheduleRequest) (*pluginpb.RunScheduleResponse, error) {
	schedule, err := named("schedule", r.GetName(), s.p.Schedules)
	if err != nil {
		return nil, err
	}
	return run(s, "the schedule "+r.GetName(), func() (*pluginpb.RunScheduleResponse, error) {
		return &pluginpb.RunScheduleResponse{}, schedule(ctx, s.call(r.GetCall()), r.GetDue().AsTime())
	})
}

func (s *server) RunTask(ctx context.Context, r *pluginpb.RunTaskRequest) (*pluginpb.RunTaskResponse, error) {
	task, err := named("task", r.GetName(), s.p.Tasks)
	if err != nil {
		return nil, err
	}
	return run(s, "the task "+r.GetName(), func() (*pluginpb.RunTaskResponse, error) {
		t := &Task{Name: r.GetName(), Payload: r.GetPayload(), Attempt: int(r.GetAttempt())}
		return &pluginpb.RunTaskResponse{}, task(ctx, s.call(r.GetCall()), t)
	})
}

func (s *server) CheckSettings(ctx context.Context, r *pluginpb.CheckSettingsRequest) (*pluginpb.CheckSettingsResponse, error) {
	if s.p.CheckSettings == nil {
		return &pluginpb.CheckSettingsResponse{}, nil
	}
	return run(s, "CheckSettings", func() (*pluginpb.CheckSettingsResponse, error) {
		found, err := s.p.CheckSettings(ctx, s.call(r.GetCall()))
		out := &pluginpb.CheckSettingsResponse{}
		for _, f := range found {
			out.Errors = append(out.Errors, &pluginpb.SettingsError{Pointer: f.Pointer, Message: text(f.Message)})
		}
		return out, err
	})
}

func header(in []*pluginpb.Header) http.Header {
	out := http.Header{}
	for _, h := range in {
		out.Add(h.GetName(), h.GetValue())
	}
	return out
}

func headers(in http.Header) (out []*pluginpb.Header) {
	for name, values := range in {
		for _, v := range values {
			out = append(out, &pluginpb.Header{Name: name, Value: v})
		}
	}
	return out
}
