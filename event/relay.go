package event

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/jobs"
	"github.com/guildhall-dev/guildhall/tenant"
)

// Listener hears events of some types, or "*" for every public one, in the
// order of the log, in a transaction of the organisation. It calls nothing
// outside the database: what must leave goes into a job that it enqueues. If
// it fails, the batch is heard again later and the ones behind it wait.
type Listener struct {
	Name  string // stable: batches in the database carry it
	Types []string
	// Invited limits the listener to the organisations that Invite named; the
	// others have no work with it.
	Invited bool
	Hear    func(ctx context.Context, tx *tenant.Tx, events []Event) error
}

type listenArgs struct {
	Listener string `json:"listener"`
}

var listen = jobs.Define[listenArgs]("event.listen")

const (
	inviteListener   = `insert into event_audiences (tenant_id, listener) values ($1, $2) on conflict do nothing`
	uninviteListener = `delete from event_audiences where tenant_id = $1 and listener = $2`
)

// Invite says whether a listener that is Invited hears the organisation. It
// counts for events that commit after the transaction.
func Invite(ctx context.Context, tx *tenant.Tx, listener string, hears bool) error {
	sql := uninviteListener
	if hears {
		sql = inviteListener
	}
	_, err := tenant.Exec(ctx, tx, sql, tx.Scope().Organization, listener)
	return err
}

// relayBatch bounds one relay transaction and one batch of a listener.
const relayBatch = 500

// pace is the least time between two transactions of the relay that find
// little: each costs the listeners' jobs, however few events it takes.
const pace = 10 * time.Millisecond

const relayEvents = `select tenant_id, listener, taken from relay_events($1, $2, $3, $4)`

type woken struct {
	Organization *id.ID  `db:"tenant_id"` // null in the one row that counts
	Listener     *string `db:"listener"`
	Taken        int     `db:"taken"`
}

// Relay moves committed events from the pending table to the listeners. Any
// number of replicas may run one; they take turns.
type Relay struct {
	db      *tenant.DB
	queue   *jobs.Queue
	log     *slog.Logger
	names   []string
	types   []string
	invited []string
	wake    chan struct{}
}

// NewRelay needs the pool of work.
func NewRelay(db *tenant.DB, queue *jobs.Queue, listeners []Listener, log *slog.Logger) *Relay {
	r := &Relay{db: db, queue: queue, log: log, names: []string{}, types: []string{}, invited: []string{}, wake: make(chan struct{}, 1)}
	for _, l := range listeners {
		if l.Invited {
			r.invited = append(r.invited, l.Name)
		}
		for _, t := range l.Types {
			r.names, r.types = append(r.names, l.Name), append(r.types, t)
		}
	}
	return r
}

// Wake makes the relay look at once; it never blocks.
func (r *Relay) Wake() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Run relays until ctx ends: on Wake, on a notification of another process,
// and every 250 ms.
func (r *Relay) Run(ctx context.Context) {
	go tenant.Listen(ctx, r.db, wakeChannel, r.Wake, r.log)
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for {
		for {
			n, err := r.Once(ctx)
			if err != nil && ctx.Err() == nil {
				r.log.ErrorContext(ctx, "the event relay failed and will try again", "error", err)
			}
			if err != nil || n == 0 {
				break
			}
			if n < relayBatch { // under a steady stream, some at a time
				time.Sleep(pace)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-r.wake:
		case <-tick.C:
		}
	}
}

// Once relays one batch in one transaction and returns how many events it
// took. It runs no feature's code.
func (r *Relay) Once(ctx context.Context) (int, error) {
	var n int
	err := r.db.GlobalWrite(ctx, func(tx *tenant.GlobalTx) error {
		rows, err := tenant.List[woken](ctx, tx, relayEvents, relayBatch, r.names, r.types, r.invited)
		if err != nil {
			return fmt.Errorf("event.Relay: %w", err)
		}
		var orgs []id.ID
		var args []listenArgs
		for _, w := range rows {
			if n += w.Taken; w.Listener != nil {
				orgs, args = append(orgs, *w.Organization), append(args, listenArgs{*w.Listener})
			}
		}
		return listen.SoonFor(ctx, r.queue, tx, orgs, args)
	})
	return n, err
}

// wakeChannel carries "there are new events" between processes.
const wakeChannel = "guildhall_events"

// Notifier tells the relays of other processes about new events, at most
// every 20 ms.
func Notifier(ctx context.Context, db *tenant.DB, wake <-chan struct{}, log *slog.Logger) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-wake:
		}
		if _, err := tenant.Exec(ctx, db.Global(), `select pg_notify($1, '')`, wakeChannel); err != nil && ctx.Err() == nil {
			log.WarnContext(ctx, "could not notify the event relay; it polls", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(20 * time.Millisecond):
		}
	}
}
