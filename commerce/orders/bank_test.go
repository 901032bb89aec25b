package orders

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// bank is a payment service with a memory. What it does under a key it does
// once. fail is asked before and after each call that changes anything: an error
// after it is an answer that never arrived.
type bank struct {
	mu      sync.Mutex
	charges map[string]*charge // by key
	refunds map[string]int64   // by key
	mode    string             // how new charges go
	fail    func(point string) error
}

type charge struct {
	Charge
	refunded int64
	started  Charge // what Start answers to a repeat: what it was then
}

var errLost = errors.New("the line is dead")

func newBank() *bank {
	return &bank{charges: map[string]*charge{}, refunds: map[string]int64{}, mode: "capture", fail: func(string) error { return nil }}
}

func (b *bank) Name() string { return "bank" }

func (b *bank) at(point string) error {
	b.mu.Lock()
	fail := b.fail
	b.mu.Unlock()
	return fail(point)
}

func (b *bank) set(mode string, fail func(string) error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.mode = mode; fail != nil {
		b.fail = fail
	}
}

// call does something between the two points at which the line may break.
func (b *bank) call(point string, do func() Charge) (Charge, error) {
	if err := b.at(point + ".before"); err != nil {
		return Charge{}, err
	}
	b.mu.Lock()
	c := do()
	b.mu.Unlock()
	if err := b.at(point + ".after"); err != nil {
		return Charge{}, err
	}
	return c, nil
}

func (b *bank) Start(_ context.Context, i Intent) (Charge, error) {
	return b.call("start", func() Charge {
		if c := b.charges[i.Key]; c != nil {
			return c.started
		}
		c := &charge{Charge: Charge{Reference: "ch_" + i.Key}}
		switch b.mode {
		case "capture":
			c.Status, c.Authorized, c.Captured = Captured, i.Amount, i.Amount
		case "authorize":
			c.Status, c.Authorized = Authorized, i.Amount
		case "decline":
			c.Status, c.Reason = Declined, "There is no money in it."
		case "challenge":
			c.Status, c.ClientSecret = RequiresAction, "secret_"+i.Key
		case "pending":
			c.Status = Pending
		}
		c.started = c.Charge
		b.charges[i.Key] = c
		return c.Charge
	})
}

func (b *bank) Fetch(_ context.Context, i Intent, reference string) (Charge, error) {
	return b.call("fetch", func() Charge { return b.charges[i.Key].Charge })
}

func (b *bank) Capture(_ context.Context, i Intent, reference string, amount int64) (Charge, error) {
	return b.call("capture", func() Charge {
		c := b.charges[i.Key]
		if c.Status == Authorized {
			c.Status, c.Captured = Captured, amount
		}
		return c.Charge
	})
}

func (b *bank) Void(_ context.Context, i Intent, reference string) (Charge, error) {
	return b.call("void", func() Charge {
		c := b.charges[i.Key]
		if c.Status != Captured {
			c.Status, c.Authorized = Declined, 0
		}
		return c.Charge
	})
}

func (b *bank) Refund(_ context.Context, i Intent, reference, key string, amount int64) (Refunded, error) {
	answer := Refunded{Reference: "re_" + key, Done: true}
	_, err := b.call("refund", func() Charge {
		c := b.charges[i.Key]
		if _, done := b.refunds[key]; done {
			return c.Charge
		}
		if c.refunded+amount > c.Captured {
			answer = Refunded{Reason: fmt.Sprintf("%d of %d", c.refunded+amount, c.Captured)}
			return c.Charge
		}
		b.refunds[key] = amount
		c.refunded += amount
		return c.Charge
	})
	return answer, err
}

// pass ends all challenges: the shoppers proved who they are, or did not.
func (b *bank) pass(well bool, amount int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range b.charges {
		if c.Status == RequiresAction || c.Status == Pending {
			if c.Status = Declined; well {
				c.Status, c.Authorized, c.Captured = Captured, amount, amount
			}
		}
	}
}

func (b *bank) captures() (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range b.charges {
		if c.Captured > 0 {
			n++
		}
	}
	return n
}

// net is what the bank took and did not give back, and what it still holds.
func (b *bank) net() (taken, held int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range b.charges {
		if taken += c.Captured - c.refunded; c.Status == Authorized {
			held += c.Authorized
		}
	}
	return taken, held
}
