package plugins

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/jobs"
	"github.com/guildhall-dev/guildhall/plugins/sdk/bundle"
	"github.com/guildhall-dev/guildhall/plugins/sdk/pluginpb"
	"github.com/guildhall-dev/guildhall/tenant"
)

// taskDeadline is how long a task or a schedule may take; a job has a minute.
const taskDeadline = 50 * time.Second

type scheduleArgs struct {
	Installation id.ID     `json:"installation_id"`
	Name         string    `json:"name"`
	Due          time.Time `json:"due"`
}

var runSchedule = jobs.Kind[scheduleArgs]{Name: "plugins.schedule", Queue: queue}

const claimSchedules = `select tenant_id, installation_id, name, due from claim_plugin_schedules($1)`

// claimSchedules turns schedules whose time has come into jobs.
func (h *Host) claimSchedules(ctx context.Context, db *tenant.DB, q *jobs.Queue) (n int, err error) {
	type claimed struct {
		Organization id.ID     `db:"tenant_id"`
		Installation id.ID     `db:"installation_id"`
		Name         string    `db:"name"`
		Due          time.Time `db:"due"`
	}
	err = db.GlobalWrite(ctx, func(tx *tenant.GlobalTx) error {
		rows, err := tenant.List[claimed](ctx, tx, claimSchedules, 100)
		if err != nil {
			return fmt.Errorf("plugins.claimSchedules: %w", err)
		}
		orgs, args := make([]id.ID, len(rows)), make([]scheduleArgs, len(rows))
		for i, c := range rows {
			orgs[i], args[i] = c.Organization, scheduleArgs{c.Installation, c.Name, c.Due}
		}
		n = len(rows)
		return runSchedule.EnqueueFor(ctx, q, tx, orgs, args)
	})
	return n, err
}

// workSchedule runs a schedule once. One that fails is tried again by its job,
// unless the plugin says that it would not help.
func (h *Host) workSchedule(ctx context.Context, _ *tenant.DB, s tenant.Scope, a scheduleArgs) error {
	i, err := h.Installed(ctx, s.Organization, a.Installation)
	if err != nil || i == nil || !i.Granted(bundle.AskSchedule+":"+a.Name) {
		return err
	}
	leave, ok := h.place(i)
	if !ok {
		return jobs.Later(2 * time.Second)
	}
	defer leave()
	return h.jobError(h.call(ctx, i, callOptions{point: "schedule:" + a.Name, deadline: taskDeadline, actor: s.Actor},
		func(ctx context.Context, p pluginpb.PluginClient, c *pluginpb.Call) error {
			_, err := p.RunSchedule(ctx, &pluginpb.RunScheduleRequest{Call: c, Name: a.Name, Due: timestamppb.New(a.Due)})
			return err
		}))
}

// workTask runs what a plugin put aside.
func (h *Host) workTask(ctx context.Context, db *tenant.DB, s tenant.Scope, a taskArgs) error {
	i, err := h.Installed(ctx, s.Organization, a.Installation)
	if err != nil {
		return err
	}
	if i == nil {
		there, err := tenant.Value[bool](ctx, db.View(s), selectInstalled, s.Organization, a.Installation)
		if err == nil && there {
			err = jobs.Later(time.Minute) // suspended: it waits
		}
		return err
	}
	leave, ok := h.place(i)
	if !ok {
		return jobs.Later(2 * time.Second)
	}
	defer leave()
	return h.jobError(h.call(ctx, i, callOptions{point: "task", deadline: taskDeadline, actor: s.Actor},
		func(ctx context.Context, p pluginpb.PluginClient, c *pluginpb.Call) error {
			_, err := p.RunTask(ctx, &pluginpb.RunTaskRequest{Call: c, Name: a.Name, Payload: a.Payload, Attempt: int32(jobs.Attempt(ctx))})
			return err
		}))
}

const selectInstalled = `select exists (select from plugin_installations where tenant_id = $1 and id = $2)`

// place takes one of the few places that an installation, and its plugin, has for
// background work at the same time: one that hangs holds no more.
func (h *Host) place(i *Installation) (leave func(), ok bool) {
	work := h.allowanceOf(i.ID).work
	select {
	case work <- struct{}{}:
	default:
		return nil, false
	}
	out, ok := h.places.enter(i.PluginID)
	if !ok {
		<-work
		return nil, false
	}
	return func() { out(); <-work }, true
}

// placesEach is how much background work a plugin has at the same time, in all
// organisations together: a third of the workers.
const placesEach = workers / 3

// places are those that are taken, by plugin.
type places struct {
	mu    sync.Mutex
	taken map[string]int
}

func (p *places) enter(plugin string) (leave func(), ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.taken[plugin] >= placesEach {
		return nil, false
	}
	p.taken[plugin]++
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.taken[plugin]--; p.taken[plugin] == 0 {
			delete(p.taken, plugin)
		}
	}, true
}

func (h *Host) jobError(err error) error {
	var e *CallError
	if errors.As(err, &e) && e.Final {
		return jobs.Cancel(err)
	}
	return err
}
