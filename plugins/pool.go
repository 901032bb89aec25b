package plugins

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/plugins/sdk/launch"
	"github.com/guildhall-dev/guildhall/plugins/sdk/pluginpb"
	"github.com/guildhall-dev/guildhall/tenant"
)

// key names a version of a plugin.
type key struct{ plugin, version string }

func (k key) String() string { return k.plugin + " " + k.version }

// slot is a place for a process: of a version for all organisations, or for one
// installation that is kept apart from the others.
type slot struct {
	key
	apart id.ID
}

// pool runs one process for each version that organisations use, and some for
// installations that are kept apart; see blame.go.
type pool struct {
	host    *Host
	mu      sync.Mutex
	runners map[slot]*runner
	past    map[key]*history
	closed  bool
	running context.Context // ends when the pool closes
	cancel  context.CancelFunc
	done    sync.WaitGroup
}

func newPool(h *Host) *pool {
	p := &pool{host: h, runners: map[slot]*runner{}, past: map[key]*history{}}
	p.running, p.cancel = context.WithCancel(context.Background())
	return p
}

// want returns the runner of a slot, and starts it if there is none; nil when
// the pool is closed.
func (p *pool) want(s slot) *runner {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.runners[s]
	if r == nil && !p.closed {
		r = newRunner(p.host, s)
		p.runners[s] = r
		p.done.Go(r.run)
	}
	return r
}

func (p *pool) has(s slot) *runner {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.runners[s]
}

// later runs fn beside the calls; close waits for it.
func (p *pool) later(fn func(ctx context.Context)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	p.done.Go(func() {
		ctx, cancel := context.WithTimeout(p.running, time.Minute)
		defer cancel()
		fn(ctx)
	})
}

// lease is a running process that stays for as long as the lease.
type lease struct {
	slot
	client pluginpb.PluginClient
	use    *use
	runner *runner
	proc   *launch.Process
}

func (l *lease) done() { l.runner.release(l.use) }

// ended says why the process is gone, "" while it runs. A call learns of the end
// a moment before the process is known to be gone.
func (l *lease) ended() string {
	select {
	case <-l.proc.Done():
	case <-time.After(100 * time.Millisecond):
		return ""
	}
	if err := l.proc.Err(); err != nil {
		return plain(launch.Ending(err), 300)
	}
	return ""
}

// errGone is why a runner leases no more: it has made room.
var errGone = errors.New("it has been stopped")

// shiftTime is how long after an upgrade the version before may serve on.
const shiftTime = time.Minute

// lease waits for the process of the installation's version. While that one
// starts, right after an upgrade, the version before serves on.
func (p *pool) lease(ctx context.Context, i *Installation) (*lease, error) {
	for {
		r := p.want(p.slotOf(key{i.PluginID, i.Version}, i.ID))
		if r == nil {
			return nil, errGone
		}
		if l := r.take(i.ID); l != nil {
			return l, nil
		}
		if i.Previous != nil && time.Since(i.UpgradedAt) < shiftTime {
			if before := p.has(p.slotOf(key{i.PluginID, *i.Previous}, i.ID)); before != nil {
				if l := before.take(i.ID); l != nil {
					return l, nil
				}
			}
		}
		l, err := r.wait(ctx, i.ID)
		if !errors.Is(err, errGone) {
			return l, err
		}
	}
}

func (p *pool) warm(ctx context.Context, k key) error {
	l, err := p.lease(ctx, &Installation{PluginID: k.plugin, Version: k.version})
	if err != nil {
		return err
	}
	defer l.done()
	return l.proc.Ping(ctx)
}

func (p *pool) health(k key, of id.ID) Health {
	r := p.has(p.slotOf(k, of))
	if r == nil {
		return Health{State: string(stopped)}
	}
	h := r.health()
	h.Restarts = p.ends(k, of)
	return h
}

// keys are the versions that have processes.
func (p *pool) keys() map[key]bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := map[key]bool{}
	for s := range p.runners {
		all[s.key] = true
	}
	return all
}

// settle starts what is used, stops what is not used any more, and kills what
// may not run any more; it reports whether there was any of that.
func (p *pool) settle(used, banned map[key]bool) (killed bool) {
	for k := range used {
		p.want(slot{key: k})
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for s, r := range p.runners {
		keep := used[s.key] && (s.apart.IsZero() || p.isApart(s))
		switch {
		case banned[s.key]:
			r.kill()
			killed = true
		case keep || !r.retire(p.host.Drain):
			continue
		}
		delete(p.runners, s)
	}
	return killed
}

// drop stops the process of an installation that is kept apart.
func (p *pool) drop(s slot) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if r := p.runners[s]; r != nil && !s.apart.IsZero() {
		r.stop()
		delete(p.runners, s)
	}
}

// close stops all processes, letting running calls finish.
func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	p.cancel()
	for _, r := range p.runners {
		r.stop()
	}
	p.mu.Unlock()
	p.done.Wait()
}

const (
	selectInUse = `select u.plugin_id, u.plugin_version from plugins_in_use() u
		join plugin_versions v on v.plugin_id = u.plugin_id and v.version = u.plugin_version and v.revoked_at is null
		join plugin_signers s on s.public_key = v.signer`
	// Those of the versions that may not run: revoked, of a signer who is not
	// trusted, or not in the catalogue any more.
	selectBanned = `select u.plugin_id, u.plugin_version from unnest($1::text[], $2::text[]) as u (plugin_id, plugin_version)
		where not exists (select from plugin_versions v join plugin_signers s on s.public_key = v.signer
			where v.plugin_id = u.plugin_id and v.version = u.plugin_version and v.revoked_at is null)`
)

// Run keeps the processes of the versions that organisations use running until
// ctx ends. They run on for the requests and jobs that are on their way; Close
// stops them.
func (h *Host) Run(ctx context.Context) error {
	tick := time.NewTicker(2 * time.Second)
	defer tick.Stop()
	for {
		if err := h.Settle(ctx); err != nil && ctx.Err() == nil {
			h.Log.WarnContext(ctx, "could not look which plugins are in use; will look again", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// Settle starts the processes of the versions that organisations use, stops
// those that have been of no use for a while, and kills those that the operator
// lets run no more.
func (h *Host) Settle(ctx context.Context) error {
	used, err := h.versions(ctx, selectInUse)
	if err != nil {
		return err
	}
	var ids, versions []string
	for k := range h.pool.keys() {
		ids, versions = append(ids, k.plugin), append(versions, k.version)
	}
	banned := map[key]bool{}
	if len(ids) > 0 {
		if banned, err = h.versions(ctx, selectBanned, ids, versions); err != nil {
			return err
		}
	}
	if h.pool.settle(used, banned) {
		// A revocation moves no organisation's epoch: what was known of them is read
		// anew.
		h.actives.InvalidateAll()
	}
	return nil
}

func (h *Host) versions(ctx context.Context, sql string, args ...any) (map[key]bool, error) {
	type version struct {
		Plugin  string `db:"plugin_id"`
		Version string `db:"plugin_version"`
	}
	rows, err := tenant.List[version](ctx, h.DB.Global(), sql, args...)
	if err != nil {
		return nil, fmt.Errorf("plugins.Settle: %w", err)
	}
	out := map[key]bool{}
	for _, r := range rows {
		out[key{r.Plugin, r.Version}] = true
	}
	return out, nil
}

// Close stops all processes.
func (h *Host) Close() { h.pool.close() }
