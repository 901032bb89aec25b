package sdk_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/guildhall-dev/guildhall/plugins/sdk"
	"github.com/guildhall-dev/guildhall/plugins/sdk/launch"
	"github.com/guildhall-dev/guildhall/plugins/sdk/pluginpb"
)

// TestMain makes the test binary the tests, the confining child, and the plugin.
func TestMain(m *testing.M) {
	launch.Main()
	if os.Getenv(pluginpb.CookieVariable) != "" || os.Getenv("SDK_TEST_BY_HAND") != "" {
		sdk.Serve(everything())
		return
	}
	os.Exit(m.Run())
}

// bench is one plugin process and its host.
type bench struct {
	plugin  pluginpb.PluginClient
	host    *host
	process *launch.Process
	mu      sync.Mutex
	printed []string
}

var accounts atomic.Int32

func setup(t *testing.T) *bench {
	t.Helper()
	binary, err := os.ReadFile(launch.Self)
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{host: newHost()}
	s := launch.Spec{
		Name: "everything", Version: "1.0.0", Command: launch.Command{Binary: binary}, Host: b.host, Confine: launch.Self,
		TLS: true, StartTimeout: time.Minute, Limits: launch.Limits{MemoryBytes: 1 << 30, CPUPercent: 200},
		Output: func(_ string, line []byte) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.printed = append(b.printed, string(line))
		},
	}
	if os.Geteuid() == 0 {
		s.UID = 600_000_000 + os.Getpid()%100_000*100 + int(accounts.Add(1))
	}
	if b.process, err = launch.Start(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.process.Kill)
	b.plugin = b.process.Plugin()
	return b
}

func call() *pluginpb.Call {
	return &pluginpb.Call{OrganizationId: "o", InstallationId: "i", ActorKind: "user", ActorId: "u", Grant: "grant-1",
		Settings: []byte(`{"words":["damn"],"token":"t"}`), SettingsVersion: 1}
}

func event(n int, title string) []byte {
	return fmt.Appendf(nil, `{"id":"e%d","type":"task.updated","timestamp":"2026-03-01T09:30:00Z","organization_id":"o","sequence":%d,
		"subject":{"type":"task","id":"t"},"actor":{"type":"system","id":null},"schema_version":1,"data":{"title":%q},"previous":{"title":"x"}}`, n, n, title)
}

func TestHear(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, c := range []struct {
		titles []string
		done   int32
		err    string
	}{
		{[]string{"one", "two"}, 2, ""},
		{[]string{"one", "later", "three"}, 1, "the other side is away"},
		{[]string{"never", "two"}, 2, ""},
		{[]string{"one", "panic"}, 1, "panic: in an event"},
	} {
		r := &pluginpb.HearRequest{Call: call()}
		for i, title := range c.titles {
			r.Events = append(r.Events, event(i, title))
		}
		a, err := b.plugin.Hear(t.Context(), r)
		if err != nil || a.GetDone() != c.done || a.GetError() != c.err {
			t.Errorf("%v: %v %v", c.titles, a, err)
		}
	}
	for _, want := range []string{
		`emit heard {"title":"two"} once e1`,
		"log LEVEL_INFO heard map[sequence:1 task.renamed:true task.title:two]",
		"log LEVEL_ERROR an event was passed over map[error:nobody wants e0 position:0]",
	} {
		if !b.host.noted(want) {
			t.Errorf("the host did not get %q but %q", want, b.host.calls)
		}
	}
	// It still runs, and has said where it fell.
	if err := b.process.Ping(t.Context()); err != nil {
		t.Error(err)
	}
	b.process.Stop(time.Minute)
	b.mu.Lock()
	defer b.mu.Unlock()
	if all := strings.Join(b.printed, "\n"); !strings.Contains(all, "Hear panicked: in an event") || !strings.Contains(all, "plugin_linux_test.go") {
		t.Errorf("it printed %q", all)
	}
}

func TestDecide(t *testing.T) {
	t.Parallel()
	b := setup(t)
	item := func(title string) *pluginpb.DecideItem {
		return &pluginpb.DecideItem{Subject: []byte(`{"title":"the house"}`), Draft: fmt.Appendf(nil, `{"title":%q}`, title)}
	}
	a, err := b.plugin.Decide(t.Context(), &pluginpb.DecideRequest{Call: call(), Hook: "task.will_create",
		Items: []*pluginpb.DecideItem{item("good"), item("damn bad"), item(" wide ")}})
	if err != nil || len(a.GetDecisions()) != 3 {
		t.Fatal(a, err)
	}
	d := a.GetDecisions()
	if d[0].GetRefusal() != "" || d[0].GetAmend() != nil || d[1].GetRefusal() != "The word damn is not used in the house." || string(d[2].GetAmend()) != `{"title":"wide"}` {
		t.Fatal(d)
	}
	_, err = b.plugin.Decide(t.Context(), &pluginpb.DecideRequest{Call: call(), Hook: "task.will_vanish"})
	if status.Code(err) != codes.Unimplemented {
		t.Fatal(err)
	}
}

func TestActions(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, c := range []struct {
		action, input, output, refusal string
		code                           codes.Code
		noted                          string
	}{
		{action: "values", output: "[true,true,1,2,2,250]", noted: "delete count"},
		{action: "secrets", output: `[true,"s3cret"]`, noted: "delete secret token"},
		{action: "api", input: `{"title":"New"}`, output: `["New","\"1\""]`,
			noted: `POST /v1/tasks [Content-Type=application/json Idempotency-Key=k1 If-Match="3"] {"title":"New"}`},
		{action: "api", input: `{"title":""}`, refusal: "422 validation_failed /title"},
		{action: "fetch", output: `[302,"https://elsewhere.example/","moved",true]`, noted: "fetch POST https://api.example/messages hello within 5"},
		{action: "denied", code: codes.FailedPrecondition},
		{action: "panic", code: codes.Internal},
		{action: "refuse", refusal: "Not on Sundays \uFFFD."},
		{action: "unknown", code: codes.Unimplemented},
	} {
		a, err := b.plugin.Act(t.Context(), &pluginpb.ActRequest{Call: call(), Action: c.action, Input: []byte(c.input), SubjectType: "task", SubjectId: "t"})
		if status.Code(err) != c.code || string(a.GetOutput()) != c.output || a.GetRefusal() != c.refusal {
			t.Errorf("%s %s: %v %v", c.action, c.input, a, err)
		}
		if c.noted != "" && !b.host.noted(c.noted) {
			t.Errorf("%s: the host did not get %q", c.action, c.noted)
		}
	}
	without := call()
	without.Grant = ""
	if _, err := b.plugin.Act(t.Context(), &pluginpb.ActRequest{Call: without, Action: "secrets"}); status.Code(err) != codes.Unknown || !strings.Contains(err.Error(), "not granted") {
		t.Errorf("without a grant: %v", err)
	}
}

func TestServices(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ctx := t.Context()
	p, err := b.plugin.Provide(ctx, &pluginpb.ProvideRequest{Call: call(), Point: "notification.send", Name: "sms", Input: []byte(`{"to":"+1"}`)})
	if err != nil || string(p.GetOutput()) != `{"id":"sent-+1"}` {
		t.Error(p, err)
	}
	for _, bad := range []string{`{}`, `[`} {
		p, err = b.plugin.Provide(ctx, &pluginpb.ProvideRequest{Call: call(), Point: "notification.send", Name: "sms", Input: []byte(bad)})
		if err != nil || p.GetRefusal() == "" {
			t.Error(p, err)
		}
	}
	in := &pluginpb.ReceiveRequest{Call: call(), Name: "hook", Method: "POST", Query: "id=7", Body: []byte(`{"title":"in"}`)}
	r, err := b.plugin.Receive(ctx, in)
	if err != nil || r.GetStatus() != 401 {
		t.Error(r, err)
	}
	in.Headers = []*pluginpb.Header{{Name: "x-signature", Value: "good"}}
	r, err = b.plugin.Receive(ctx, in)
	if err != nil || r.GetStatus() != 200 || string(r.GetBody()) != "POST in" || r.GetHeaders()[0].GetValue() != "7" {
		t.Error(r, err)
	}
	due := time.Date(2026, 3, 1, 2, 0, 0, 0, time.UTC)
	if _, err = b.plugin.RunSchedule(ctx, &pluginpb.RunScheduleRequest{Call: call(), Name: "nightly", Due: timestamppb.New(due)}); err != nil {
		t.Error(err)
	}
	if !b.host.noted(`enqueue tidy {"due":"2026-03-01T02:00:00Z"} at 03:00`) {
		t.Error(b.host.calls)
	}
	_, err = b.plugin.RunTask(ctx, &pluginpb.RunTaskRequest{Call: call(), Name: "tidy", Payload: []byte(`{"what":"it"}`), Attempt: 2})
	if status.Code(err) != codes.Unknown || status.Convert(err).Message() != "try 2 of it failed" {
		t.Error(err)
	}
	if _, err = b.plugin.RunTask(ctx, &pluginpb.RunTaskRequest{Call: call(), Name: "tidy", Payload: []byte(`[`)}); status.Code(err) != codes.FailedPrecondition {
		t.Error(err)
	}
	bare := call()
	bare.Settings = nil
	s, err := b.plugin.CheckSettings(ctx, &pluginpb.CheckSettingsRequest{Call: bare})
	if err != nil || len(s.GetErrors()) != 1 || s.GetErrors()[0].GetPointer() != "/token" {
		t.Error(s, err)
	}
}

func TestStartedByHand(t *testing.T) {
	t.Parallel()
	c := exec.CommandContext(t.Context(), launch.Self, "--help")
	c.Env = []string{"SDK_TEST_BY_HAND=1"}
	out, err := c.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 2 || !strings.Contains(string(out), "is a plugin of Guildhall") {
		t.Fatalf("%v %s", err, out)
	}
}

// TestHostCallsAtOnce is many requests with host calls in each, over one connection.
func TestHostCallsAtOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var all sync.WaitGroup
	for i := range 50 {
		all.Go(func() {
			a, err := b.plugin.Hear(ctx, &pluginpb.HearRequest{Call: call(), Events: [][]byte{event(i, "at once")}})
			if err != nil || a.GetDone() != 1 {
				t.Error(a, err)
			}
		})
	}
	all.Wait()
}

// A listener that is slow says in time how far it came: what it did and did not tell
// of would all come again.
func TestHearStopsInTime(t *testing.T) {
	t.Parallel()
	heard := 0
	s := sdk.NewServer(sdk.Plugin{Hear: func(context.Context, *sdk.Call, sdk.Event) error {
		heard++
		time.Sleep(100 * time.Millisecond)
		return nil
	}}, nil)
	r := &pluginpb.HearRequest{Call: call()}
	for n := range 50 {
		r.Events = append(r.Events, event(n, "slow"))
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	a, err := s.Hear(ctx, r)
	if err != nil || ctx.Err() != nil || a.GetError() != "" || int(a.GetDone()) != heard || heard < 1 || heard > 9 {
		t.Errorf("heard %d, said %v, %v, %v", heard, a, err, ctx.Err())
	}
}
