package plugins

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/plugins/sdk/launch"
	"github.com/guildhall-dev/guildhall/tenant"
)

// All organisations share the process of a version, so when it ends one of them
// may have done it and the others are hurt. Who could have done it, since a call
// of theirs was cut off, not answered, or made shortly before, is kept apart from
// then on: in a process of its own, whose next end is nobody else's doing. The
// one that does harm is quarantined; the others are back among all after a while.
const (
	mostSuspects = 16
	harmTime     = 15 * time.Second // after a call, its harm may show
)

// history is what is known of the ends of a version's processes that nobody
// asked for.
type history struct {
	nobodys []time.Time // of a process that nobody had called
	of      map[id.ID][]time.Time
	apart   map[id.ID]time.Time // until when
}

func (p *pool) pastOf(k key, now time.Time) *history {
	h := p.past[k]
	if h == nil {
		h = &history{of: map[id.ID][]time.Time{}, apart: map[id.ID]time.Time{}}
		p.past[k] = h
	}
	old := func(t time.Time) bool { return now.Sub(t) > p.host.Restart.Window }
	h.nobodys = slices.DeleteFunc(h.nobodys, old)
	for i, ends := range h.of {
		if h.of[i] = slices.DeleteFunc(ends, old); len(h.of[i]) == 0 {
			delete(h.of, i)
		}
	}
	for i, until := range h.apart {
		if now.After(until) {
			delete(h.apart, i)
		}
	}
	return h
}

// slotOf is where the calls of an installation go.
func (p *pool) slotOf(k key, of id.ID) slot {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s := (slot{key: k, apart: of}); p.isApart(s) {
		return s
	}
	return slot{key: k}
}

func (p *pool) isApart(s slot) bool {
	h := p.past[s.key]
	return h != nil && time.Now().Before(h.apart[s.apart])
}

// ends is how often the process of an installation ended lately.
func (p *pool) ends(k key, of id.ID) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.past[k] == nil {
		return 0
	}
	h := p.pastOf(k, time.Now())
	return len(h.nobodys) + len(h.of[of])
}

// suspects are who may be behind the end of the process. What is over a limit, or
// does not answer, may have been left behind by any call of late; a sudden end is
// the doing of a call that was on its way, or that was given up. Unnamed says that
// there was one for no installation.
func (r *runner) suspects(err error, now time.Time) (_ []id.ID, unnamed bool) {
	if !r.slot.apart.IsZero() {
		return []id.ID{r.slot.apart}, false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	sudden := !errors.Is(err, launch.ErrLimit) && !errors.Is(err, errSilent)
	var near, far []id.ID
	for of, u := range r.uses {
		switch {
		case of.IsZero():
			unnamed = unnamed || u.calls > 0 || u.cut || u.late
		case u.calls > 0 || u.cut || u.late:
			near = append(near, of)
		case now.Sub(u.last) < harmTime:
			far = append(far, of)
		}
	}
	if !sudden || len(near) == 0 {
		near = append(near, far...)
	}
	slices.SortStableFunc(near, func(a, b id.ID) int { return cmp.Compare(r.uses[a].last.UnixNano(), r.uses[b].last.UnixNano()) * -1 })
	return near[:min(len(near), mostSuspects)], unnamed
}

// blame notes an end, and returns who did it too often: everybody, or one.
func (p *pool) blame(k key, who []id.ID, now time.Time) (all bool, one id.ID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	h := p.pastOf(k, now)
	if len(who) == 0 {
		h.nobodys = append(h.nobodys, now)
		return len(h.nobodys) >= p.host.Restart.Most, id.Nil
	}
	for _, i := range who {
		h.of[i] = append(h.of[i], now)
		if _, there := h.apart[i]; there || len(h.apart) < mostSuspects {
			h.apart[i] = now.Add(p.host.Restart.Window)
		}
	}
	if len(who) == 1 && len(h.of[who[0]])+len(h.nobodys) >= p.host.Restart.Most {
		return false, who[0]
	}
	return false, id.Nil
}

// forgive ends the count for an installation, or with nil for everybody.
func (p *pool) forgive(k key, i id.ID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	h := p.past[k]
	if h == nil {
		return
	}
	delete(h.of, i)
	if i.IsZero() {
		h.nobodys, h.of = nil, map[id.ID][]time.Time{}
	}
}

// fail notes that the process ended, and has those quarantined who did it too
// often; the others go on with the next start.
func (r *runner) fail(ctx context.Context, err error) {
	// Organisations are told how it ended; its last words may be about any of them
	// and are in the log.
	reason, now := launch.Ending(err), time.Now()
	who, unnamed := r.suspects(err, now)
	r.set(failed, nil, reason)
	// Every version that organisations have did start before they were moved to it:
	// one that takes too long is held up by this machine, which others are not.
	if errors.Is(err, errHere) || errors.Is(err, launch.ErrSlow) {
		return
	}
	if len(who) == 0 && unnamed {
		return // somebody's doing, but whose is not known
	}
	h, k := r.host, r.slot.key
	words := fmt.Sprintf("it failed %d times in %s, the last time: %s", h.Restart.Most, h.Restart.Window, plain(reason, 300))
	switch all, one := h.pool.blame(k, who, now); {
	case all:
		if err := h.reports.QuarantineAll(ctx, k.plugin, k.version, words); err != nil {
			h.Log.ErrorContext(ctx, "a plugin could not be quarantined", "plugin", k.plugin, "error", err)
			return
		}
		h.pool.forgive(k, id.Nil)
	case !one.IsZero():
		if err := h.quarantine(ctx, one, k.version, words); err != nil {
			h.Log.ErrorContext(ctx, "an installation could not be quarantined", "installation_id", one.String(), "error", err)
			return
		}
		h.pool.forgive(k, one)
		h.pool.drop(slot{key: k, apart: one})
	}
}

const selectOrganization = `select plugin_installation_by_id($1)`

func (h *Host) quarantine(ctx context.Context, installation id.ID, version, reason string) error {
	org, err := tenant.Value[*id.ID](ctx, h.DB.Global(), selectOrganization, installation)
	if err != nil || org == nil {
		return err
	}
	return h.reports.Quarantine(ctx, *org, installation, version, reason)
}
