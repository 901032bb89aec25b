package webhooks

import (
	"context"
	"time"

	"github.com/guildhall-dev/guildhall/internal/id"
)

// What the filters of one organisation may take over one batch of up to
// filterEvents, while its other endpoints wait; over a larger one more in
// proportion, so that a filter that is quick enough for each event comes to the
// last one too, but no more than filterMost times as much in one transaction.
// Half is shared out equally, so that none suffers from another;
// the other half is for those that need more than their share, first come first
// served, up to filterTime in all.
//
// A single answer counts as filterOnce, for it may be the machine that was slow,
// unless it took so long that no machine is: as long as all of them may.
const (
	filtersTime = 2 * time.Second
	filterTime  = 200 * time.Millisecond
	filterOnce  = 50 * time.Millisecond

	filterEvents = 200
	filterMost   = 3
)

const (
	tooSlow         = "The filter took too long; simplify it, then replay what was filtered."
	tooSlowTogether = "The filters of all endpoints took too long together, and this one took more than its share; simplify it, then replay what was filtered."
)

// budget is what the filters have left of a batch.
type budget struct {
	most  time.Duration // of each, at most
	share time.Duration // of each, whatever the others take
	rest  time.Duration // for who needs more
	spent map[id.ID]time.Duration
}

func newBudget(rules []rule, events int) *budget {
	n := 0
	for _, r := range rules {
		if r.Filter != "" {
			n++
		}
	}
	most, all := inProportion(filterTime, events), inProportion(filtersTime, events)
	return &budget{most: most, share: min(most, all/2/time.Duration(max(1, n))), rest: all / 2, spent: map[id.ID]time.Duration{}}
}

// inProportion is the time that so many events get where filterEvents get d.
func inProportion(d time.Duration, events int) time.Duration {
	return d * time.Duration(min(max(events, filterEvents), filterMost*filterEvents)) / filterEvents
}

// stops says why the endpoint's filter may not be asked any more, or "".
func (b *budget) stops(endpoint id.ID) string {
	switch spent := b.spent[endpoint]; {
	case spent >= b.most:
		return tooSlow
	case spent >= b.share && b.rest <= 0:
		return tooSlowTogether
	}
	return ""
}

func (b *budget) took(endpoint id.ID, d time.Duration) {
	before := b.spent[endpoint]
	after := before + charged(d)
	b.spent[endpoint] = after
	b.rest -= max(after, b.share) - max(before, b.share)
}

// charged is what an answer that took so long counts as.
func charged(took time.Duration) time.Duration {
	if took >= filtersTime {
		return took
	}
	return min(took, filterOnce)
}

// judgeInTime is judge, as long as the endpoint's filter has time left.
func (f *Feature) judgeInTime(ctx context.Context, r rule, e *lazily, b *budget) (status, reason string) {
	if r.Filter == "" {
		return f.judge(ctx, r, e)
	}
	if why := b.stops(r.ID); why != "" {
		return "filtered", why
	}
	_, _ = e.fields() // once for all endpoints, so it is no filter's time; judge meets its error again
	begun := time.Now()
	status, reason = f.judge(ctx, r, e)
	b.took(r.ID, time.Since(begun))
	return status, reason
}
