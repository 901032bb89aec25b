package webhooks

import (
	"context"

	"github.com/guildhall-dev/guildhall/internal/id"
)

// What the filters of one organisation may take over one batch of up to
// filterEvents, while its other endpoints wait; over a larger one more in
// proportion, so that a filter that is quick enough for each event comes to the
// last one too, but no more than filterMost times as much in one transaction.
// Half is shared out equally, so that none suffers from another;
// the other half is for those that need more than their share, first come first
// served, up to filterSteps in all.
//
// It is counted in steps, each in the order of a microsecond, and not by a clock:
// a machine that stands still is no fault of a filter, and what becomes of an
// event must not hang on it.
const (
	filtersSteps = 2_000_000
	filterSteps  = 200_000
	answerSteps  = 10 // what asking takes, besides the steps of the condition

	filterEvents = 200
	filterMost   = 3
)

const (
	tooSlow         = "The filter took too long; simplify it, then replay what was filtered."
	tooSlowTogether = "The filters of all endpoints took too long together, and this one took more than its share; simplify it, then replay what was filtered."
)

// budget is what the filters have left of a batch, in steps.
type budget struct {
	most  int // of each, at most
	share int // of each, whatever the others take
	rest  int // for who needs more
	spent map[id.ID]int
}

func newBudget(rules []rule, events int) *budget {
	n := 0
	for _, r := range rules {
		if r.Filter != "" {
			n++
		}
	}
	most, all := inProportion(filterSteps, events), inProportion(filtersSteps, events)
	return &budget{most: most, share: min(most, all/2/max(1, n)), rest: all / 2, spent: map[id.ID]int{}}
}

// inProportion is what so many events get where filterEvents get that many steps.
func inProportion(steps, events int) int {
	return steps * min(max(events, filterEvents), filterMost*filterEvents) / filterEvents
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

func (b *budget) took(endpoint id.ID, steps int) {
	before := b.spent[endpoint]
	after := before + steps
	b.spent[endpoint] = after
	b.rest -= max(after, b.share) - max(before, b.share)
}

// judgeInTime is judge, as long as the endpoint's filter has steps left.
func (f *Feature) judgeInTime(ctx context.Context, r rule, e *lazily, b *budget) (status, reason string) {
	if r.Filter == "" {
		status, reason, _ = f.judge(ctx, r, e)
		return status, reason
	}
	if why := b.stops(r.ID); why != "" {
		return "filtered", why
	}
	status, reason, steps := f.judge(ctx, r, e)
	b.took(r.ID, answerSteps+steps)
	return status, reason
}
