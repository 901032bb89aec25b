package plugintest

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/guildhall-dev/guildhall/plugins/sdk/pluginpb"
)

// Task is work that the plugin put aside.
type Task struct {
	Name    string
	Payload []byte
	At      time.Time // not before; zero: at once
	Attempt int       // how often it was tried
}

// RunTasks runs what is due at a time, earliest first, with what these tasks put
// aside for then; each once. Those that fail stay, unless the failure is final.
// The error has all failures. The plugin itself has the real time.
func (h *Host) RunTasks(at time.Time) (ran int, err error) {
	h.t.Helper()
	var failed []Task
	for {
		t, ok := h.takeTask(at)
		if !ok {
			break
		}
		ran++
		t.Attempt++
		r := &pluginpb.RunTaskRequest{Name: t.Name, Payload: t.Payload, Attempt: int32(t.Attempt)}
		bad := h.ask(request{point: "task " + t.Name, deadline: taskDeadline, actor: system()}, func(ctx context.Context, p pluginpb.PluginClient, c *pluginpb.Call) error {
			r.Call = c
			_, err := p.RunTask(ctx, r)
			return err
		})
		var e *CallError
		if errors.As(bad, &e) && !e.Final {
			failed = append(failed, t)
		}
		err = errors.Join(err, bad)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tasks = append(h.tasks, failed...)
	return ran, err
}

// takeTask takes the earliest task that is due.
func (h *Host) takeTask(at time.Time) (t Task, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	slices.SortStableFunc(h.tasks, func(a, b Task) int { return cmp.Compare(a.At.UnixNano(), b.At.UnixNano()) })
	if len(h.tasks) == 0 || h.tasks[0].At.After(at) {
		return t, false
	}
	t = h.tasks[0]
	h.tasks = slices.Delete(h.tasks, 0, 1)
	return t, true
}

func split(service string) (point, name string) {
	point, name, _ = strings.Cut(service, "/")
	return point, name
}
