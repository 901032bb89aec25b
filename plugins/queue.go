package plugins

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/guildhall-dev/guildhall/event"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/jobs"
	"github.com/guildhall-dev/guildhall/plugins/sdk/bundle"
	"github.com/guildhall-dev/guildhall/plugins/sdk/pluginpb"
	"github.com/guildhall-dev/guildhall/tenant"
)

// ListenerName is the name under which plugins hear the log; an organisation is
// invited while it has a plugin that listens.
const ListenerName = "plugins"

const (
	insertQueued = `insert into plugin_queue (tenant_id, installation_id, event_id, day, event_type, subject)
		select $1, u.installation_id, u.event_id, u.day, u.event_type, u.subject
		from unnest($2::uuid[], $3::uuid[], $4::date[], $5::text[], $6::text[]) with ordinality as u (installation_id, event_id, day, event_type, subject, n)
		order by u.n`
	wakeQueues = `insert into plugin_dispatch as d (tenant_id, installation_id, due_at) select $1, u.id, now() from unnest($2::uuid[]) as u (id) order by u.id
		on conflict on constraint plugin_dispatch_pkey do update set due_at = least(d.due_at, greatest(now(), d.rest_until))`

	leaseQueue = `update plugin_dispatch set lease_until = now() + make_interval(secs => $3), fence = fence + 1
		where tenant_id = $1 and installation_id = $2 and due_at <= now() and (lease_until is null or lease_until <= now()) returning fence`
	extendQueue = `update plugin_dispatch set lease_until = now() + make_interval(secs => $4)
		where tenant_id = $1 and installation_id = $2 and fence = $3`

	// What is due and not behind an event of the same subject that waits to be
	// tried again.
	selectQueued = `select q.position, q.attempts, ` + event.IsPrivate + ` as private, ` + event.Cols + `
		from plugin_queue q join event_log e on e.tenant_id = q.tenant_id and e.day = q.day and e.id = q.event_id` + event.WithProjects + `
		where q.tenant_id = $1 and q.installation_id = $2 and q.failed_at is null and q.due_at <= now()
		and not exists (select from plugin_queue b where b.tenant_id = q.tenant_id and b.installation_id = q.installation_id and b.subject = q.subject
			and b.position < q.position and b.failed_at is null and b.due_at > now())
		order by q.position limit $3`

	deleteQueued = `delete from plugin_queue where tenant_id = $1 and installation_id = $2 and position = any($3::bigint[])`
	deferQueued  = `update plugin_queue set attempts = attempts + 1, error = $4, due_at = now() + make_interval(secs => $5), failed_at = case when $6::boolean then now() end
		where tenant_id = $1 and installation_id = $2 and position = $3`

	// lockQueue comes before the release, in a statement of its own: what a fan-out
	// committed meanwhile is seen by the next one only.
	lockQueue = `select fence from plugin_dispatch where tenant_id = $1 and installation_id = $2 for update`

	// The queue of an installation that is not active rests until it is. An event
	// behind one of its subject that waits is due when that one is.
	releaseQueue = `update plugin_dispatch d set lease_until = null, rest_until = now() + make_interval(secs => $4), due_at = case
			when exists (select from plugin_installations i where i.tenant_id = $1 and i.id = $2 and i.status = 'active')
			then greatest(coalesce((select min(q.due_at) from plugin_queue q where q.tenant_id = $1 and q.installation_id = $2 and q.failed_at is null
					and not exists (select from plugin_queue b where b.tenant_id = q.tenant_id and b.installation_id = q.installation_id and b.subject = q.subject
						and b.position < q.position and b.failed_at is null and b.due_at > now())), 'infinity'),
				now() + make_interval(secs => $4))
			else 'infinity' end
		where d.tenant_id = $1 and d.installation_id = $2 and d.fence = $3 returning d.due_at <= now()`

	// Whatever the state of the installation: what happens while it is suspended
	// waits for it.
	selectListening = `select ` + installationCols + ` from organizations o
		join plugin_installations i on i.tenant_id = o.tenant_id
		join plugin_versions v on v.plugin_id = i.plugin_id and v.version = i.plugin_version
		where o.tenant_id = $1 and o.deleted_at is null order by i.id`

	purgeQueue   = `select purge_plugin_queue($1, $2)`
	purgeEmitted = `select purge_plugin_emitted($1)`

	nudgeQueues = `select tenant_id, installation_id from nudge_plugin_queues($1)`
)

const (
	heardAtOnce  = 50
	hearLease    = 30 // seconds
	hearSlice    = 20 * time.Second
	mostAttempts = 16
)

// attemptDelays are the pauses between the attempts to let a plugin hear an
// event; the last one repeats, so that sixteen attempts take about two days.
var attemptDelays = []time.Duration{
	time.Second, 5 * time.Second, 30 * time.Second, 2 * time.Minute, 10 * time.Minute, 30 * time.Minute, time.Hour, 2 * time.Hour, 4 * time.Hour, 6 * time.Hour,
}

func attemptDelay(attempts int) time.Duration {
	return attemptDelays[min(attempts, len(attemptDelays)-1)]
}

type hearArgs struct {
	Installation id.ID `json:"installation_id"`
}

// queue is River's for what plugins do: they may hang, and what else there is to
// do does not wait for them.
const (
	queue   = "plugins"
	workers = 24
)

var hear = jobs.Kind[hearArgs]{Name: "plugins.hear", Queue: queue}

// Listener notes for each plugin that listens what it has to hear.
func (h *Host) Listener() event.Listener {
	return event.Listener{Name: ListenerName, Types: []string{"*"}, Invited: true, Hear: h.fanOut}
}

func (h *Host) fanOut(ctx context.Context, tx *tenant.Tx, events []event.Event) error {
	org := tx.Scope().Organization
	rows, err := tenant.List[Installation](ctx, tx, selectListening, org)
	if err != nil {
		return err
	}
	var private map[id.ID]bool
	var to, ids []id.ID
	var days []time.Time
	var types, subjects []string
	var wake []id.ID
	for n := range rows {
		i := &rows[n]
		if err := h.describe(i); err != nil {
			return err // the events are kept, and tried again
		}
		before := len(to)
		for _, e := range events {
			if !i.hears(e) {
				continue
			}
			if !i.Granted(bundle.AskPrivateProjects) && private == nil {
				if private, err = event.Private(ctx, tx, org, events); err != nil {
					return err
				}
			}
			if private[e.ID] && !i.Granted(bundle.AskPrivateProjects) {
				continue
			}
			to, ids, days = append(to, i.ID), append(ids, e.ID), append(days, event.Day(e.ID))
			types, subjects = append(types, e.Type), append(subjects, subjectOf(e))
		}
		if len(to) > before {
			wake = append(wake, i.ID)
		}
	}
	if len(to) == 0 {
		return nil
	}
	if _, err := tenant.Exec(ctx, tx, insertQueued, org, to, ids, days, types, subjects); err != nil {
		return err
	}
	tx.Queue(wakeQueues, org, wake)
	for _, i := range wake {
		if err := hear.Enqueue(ctx, h.Queue, tx, hearArgs{i}); err != nil {
			return err
		}
	}
	return nil
}

// hears reports whether the plugin asked for the event and was granted it. A
// plugin does not hear what it emitted itself.
func (i *Installation) hears(e event.Event) bool {
	if e.Actor.Type == string(tenant.Plugin) && e.Actor.ID != nil && *e.Actor.ID == i.ID {
		return false
	}
	for _, asked := range i.manifest.Events {
		if bundle.EventMatches(asked, e.Type) && i.Granted(bundle.AskEvent+":"+asked) {
			return true
		}
	}
	return false
}

func subjectOf(e event.Event) string {
	if e.Subject.ID == nil {
		return e.Subject.Type
	}
	return e.Subject.Type + ":" + e.Subject.ID.String()
}

// Jobs is the background work of the host.
func (h *Host) Jobs() []jobs.Definition {
	apart := func(d jobs.Definition) jobs.Definition {
		d.Workers = workers
		return d
	}
	return []jobs.Definition{
		apart(jobs.Work(hear, h.workQueue)),
		jobs.Tick("plugins.nudge", time.Second, h.nudge),
		jobs.Tick("plugins.settle", 2*time.Second, func(ctx context.Context, _ *tenant.DB, _ *jobs.Queue) (int, error) { return 0, h.Settle(ctx) }),
		apart(jobs.Work(runTask, h.workTask)),
		apart(jobs.Work(runSchedule, h.workSchedule)),
		jobs.Clock("plugins.purge", time.Hour, h.purge),
		jobs.Tick("plugins.schedules", time.Second, h.claimSchedules),
	}
}

func (h *Host) nudge(ctx context.Context, db *tenant.DB, q *jobs.Queue) (n int, err error) {
	type due struct {
		Organization id.ID `db:"tenant_id"`
		Installation id.ID `db:"installation_id"`
	}
	err = db.GlobalWrite(ctx, func(tx *tenant.GlobalTx) error {
		rows, err := tenant.List[due](ctx, tx, nudgeQueues, 100)
		if err != nil {
			return fmt.Errorf("plugins.nudge: %w", err)
		}
		orgs, args := make([]id.ID, len(rows)), make([]hearArgs, len(rows))
		for i, d := range rows {
			orgs[i], args[i] = d.Organization, hearArgs{d.Installation}
		}
		n = len(rows)
		return hear.EnqueueFor(ctx, q, tx, orgs, args)
	})
	return n, err
}

type queuedEvent struct {
	Position int64 `db:"position"`
	Attempts int   `db:"attempts"`
	Private  bool  `db:"private"`
	event.Event
}

// workQueue lets one installation hear what is due, for a slice of time, under
// a lease: no transaction is open while the plugin works, and no second job
// tells it of the same events meanwhile.
func (h *Host) workQueue(ctx context.Context, db *tenant.DB, s tenant.Scope, a hearArgs) error {
	known, err := h.activeIn(ctx, s.Organization, 0)
	if err != nil {
		return err
	}
	if i := known.find(a.Installation); i != nil {
		leave, ok := h.places.enter(i.PluginID)
		if !ok {
			return nil // it stays due, and the nudge comes back; jobs that wait would pile up
		}
		defer leave()
	}
	var fence int64
	err = db.Write(ctx, s, func(tx *tenant.Tx) (err error) {
		fence, err = tenant.Value[int64](ctx, tx, leaseQueue, s.Organization, a.Installation, hearLease)
		return err
	})
	if errors.Is(err, tenant.ErrNoRows) {
		return nil // nothing is due, or somebody is at it and looks again
	}
	if err != nil {
		return err
	}
	var pause time.Duration
	for began := time.Now(); time.Since(began) < hearSlice; {
		more, wait, err := h.hearSome(ctx, db, s, a.Installation, fence)
		if err != nil {
			return jobs.Cancel(err) // the lease runs out, and the nudge comes back
		}
		if pause = wait; !more {
			break
		}
	}
	var again bool
	err = db.Write(ctx, s, func(tx *tenant.Tx) (err error) {
		if _, err := tenant.Value[int64](ctx, tx, lockQueue, s.Organization, a.Installation); err != nil {
			return err
		}
		again, err = tenant.Value[bool](ctx, tx, releaseQueue, s.Organization, a.Installation, fence, pause.Seconds())
		return err
	})
	if errors.Is(err, tenant.ErrNoRows) {
		return nil // the lease had run out and is somebody else's
	}
	if err == nil && again {
		return jobs.Again()
	}
	return err
}

// hearSome tells the plugin of some events and notes how far it came; more says
// that it is worth while to look again at once, else the queue rests for a
// pause.
func (h *Host) hearSome(ctx context.Context, db *tenant.DB, s tenant.Scope, installation id.ID, fence int64) (more bool, pause time.Duration, err error) {
	a, err := h.load(ctx, s.Organization)
	if err != nil {
		return false, 0, err
	}
	i := a.find(installation)
	if i == nil { // suspended, or its version may not run
		return false, time.Minute, nil
	}
	pace := &h.allowanceOf(installation).pace
	rows, err := tenant.List[queuedEvent](ctx, db.View(s), selectQueued, s.Organization, installation, pace.most())
	if err != nil || len(rows) == 0 {
		return false, 0, err
	}
	// What other processes found out stands in the attempts.
	rows = rows[:min(len(rows), max(1, heardAtOnce>>min(rows[0].Attempts, 8)))]
	// What was granted when the event happened may have been taken back, and a
	// project become private.
	granted := slices.DeleteFunc(slices.Clone(rows), func(r queuedEvent) bool {
		return !i.hears(r.Event) || r.Private && !i.Granted(bundle.AskPrivateProjects)
	})
	if len(granted) < len(rows) {
		return true, 0, h.forget(ctx, db, s, installation, fence, rows, granted)
	}
	req, size := &pluginpb.HearRequest{}, 0
	for n, r := range rows {
		raw, err := json.Marshal(r.Event)
		if err != nil {
			return false, 0, fmt.Errorf("plugins: event %s: %w", r.ID, err)
		}
		if size += len(raw); size > mostAsked && n > 0 {
			rows = rows[:n]
			break
		}
		req.Events = append(req.Events, raw)
	}
	var res *pluginpb.HearResponse
	callErr := h.call(ctx, i, callOptions{point: "events", deadline: h.Restart.Hear, actor: s.Actor}, func(ctx context.Context, p pluginpb.PluginClient, c *pluginpb.Call) (err error) {
		req.Call = c
		if res, err = p.Hear(ctx, req); err == nil && (res.Done < 0 || int(res.Done) > len(rows)) {
			err = errors.New("the plugin says that it is done with another number of events than it heard")
		}
		return err
	})
	if ctx.Err() != nil {
		return false, 0, ctx.Err()
	}
	pace.learn(len(rows), callErr)
	if err := h.noteHeard(ctx, db, s, installation, fence, rows, res, callErr); err != nil {
		return false, 0, err
	}
	// A plugin that could not be called is not called again at once for the rest.
	return callErr == nil, restOf(callErr, rows[0].Attempts), nil
}

// forget deletes what the plugin may not hear any more.
func (h *Host) forget(ctx context.Context, db *tenant.DB, s tenant.Scope, installation id.ID, fence int64, rows, granted []queuedEvent) error {
	var gone []int64
	for _, r := range rows {
		if !slices.ContainsFunc(granted, func(g queuedEvent) bool { return g.Position == r.Position }) {
			gone = append(gone, r.Position)
		}
	}
	return db.Write(ctx, s, func(tx *tenant.Tx) error {
		n, err := tenant.Exec(ctx, tx, extendQueue, s.Organization, installation, fence, hearLease)
		if err == nil && n > 0 {
			_, err = tenant.Exec(ctx, tx, deleteQueued, s.Organization, installation, gone)
		}
		return err
	})
}

// pace is how many events an installation hears at once. Those of a call that took
// too long are all told again, so it hears fewer the next time, and at last one.
type pace struct{ less atomic.Int32 } // than heardAtOnce

func (p *pace) most() int { return heardAtOnce - int(p.less.Load()) }

func (p *pace) learn(told int, err error) {
	switch {
	case status.Code(errors.Unwrap(err)) == codes.DeadlineExceeded:
		p.less.Store(int32(heardAtOnce - max(1, told/2)))
	case err == nil && told >= p.most(): // there may be more, and it kept up
		p.less.Store(int32(heardAtOnce - min(heardAtOnce, 2*told)))
	}
}

// noteHeard deletes what is done, and puts off the first event that is not: what
// follows of its subject waits with it, the rest goes on. What the plugin had no
// time for was not tried, and is due as before.
func (h *Host) noteHeard(ctx context.Context, db *tenant.DB, s tenant.Scope, installation id.ID, fence int64, rows []queuedEvent, res *pluginpb.HearResponse, callErr error) error {
	done, reason := 0, ""
	switch {
	case callErr != nil:
		reason = callErr.Error()
	default:
		done = int(res.Done)
		if reason = plain(res.Error, 1000); reason == "" {
			reason = "the plugin put it off without a reason"
		}
	}
	return db.Write(ctx, s, func(tx *tenant.Tx) error {
		n, err := tenant.Exec(ctx, tx, extendQueue, s.Organization, installation, fence, hearLease)
		if err != nil {
			return err
		}
		if n == 0 {
			return errors.New("plugins: the lease on the queue is somebody else's")
		}
		positions := make([]int64, done)
		for k, r := range rows[:done] {
			positions[k] = r.Position
		}
		if done > 0 {
			tx.Queue(deleteQueued, s.Organization, installation, positions)
		}
		untried := callErr == nil && done > 0 && res.Error == ""
		if done < len(rows) && !untried {
			late := rows[done]
			var e *CallError
			final := late.Attempts+1 >= mostAttempts || errors.As(callErr, &e) && e.Final
			tx.Queue(deferQueued, s.Organization, installation, late.Position, reason, attemptDelay(late.Attempts).Seconds(), final)
		}
		return nil
	})
}

// restOf is how long the queue of a plugin rests that could not be called.
func restOf(callErr error, attempts int) time.Duration {
	if callErr == nil {
		return 0
	}
	return min(attemptDelay(attempts), 30*time.Second)
}

// keepDays is how long an event waits for a plugin that is suspended, or is kept
// that a plugin could not hear.
const keepDays = 30

const purgeBatch = 5000

func (h *Host) purge(ctx context.Context, db *tenant.DB) error {
	for _, old := range [][]any{{purgeQueue, keepDays, purgeBatch}, {purgeEmitted, purgeBatch}} {
		for n := int64(purgeBatch); n == purgeBatch; {
			var err error
			if n, err = tenant.Value[int64](ctx, db.Global(), old[0].(string), old[1:]...); err != nil {
				return err
			}
		}
	}
	return nil
}
