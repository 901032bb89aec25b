package orders

import (
	"testing"

	"pgregory.net/rapid"
)

func TestPaymentStatusFollowsFromTheLedger(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		total int64
		l     ledger
		want  string
	}{
		{100, ledger{}, "unpaid"},
		{0, ledger{}, "paid"},
		{100, ledger{Authorized: 100}, "authorized"},
		{100, ledger{Authorized: 100, Voided: 100}, "voided"},
		{100, ledger{Authorized: 100, Captured: 40}, "partially_paid"},
		{100, ledger{Authorized: 100, Captured: 100}, "paid"},
		{100, ledger{Captured: 99}, "partially_paid"},
		{100, ledger{Captured: 100, Refunded: 1}, "partially_refunded"},
		{100, ledger{Captured: 40, Refunded: 40}, "refunded"},
		{100, ledger{Captured: 100, Refunded: 100}, "refunded"},
	} {
		if got := paymentStatus(c.total, c.l); got != c.want {
			t.Errorf("%d with %+v is %s, not %s", c.total, c.l, got, c.want)
		}
	}
}

func TestFulfilmentStatusFollowsFromTheParcels(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		lines []progress
		want  string
	}{
		{nil, "not_required"},
		{[]progress{{Quantity: 2}}, "not_required"},
		{[]progress{{Quantity: 2, RequiresShipping: true}}, "unfulfilled"},
		{[]progress{{Quantity: 2, Shipped: 1, RequiresShipping: true}, {Quantity: 9}}, "partially_fulfilled"},
		{[]progress{{Quantity: 2, Shipped: 2, Delivered: 2, RequiresShipping: true}, {Quantity: 1, RequiresShipping: true}}, "partially_fulfilled"},
		{[]progress{{Quantity: 2, Shipped: 2, Delivered: 1, RequiresShipping: true}}, "fulfilled"},
		{[]progress{{Quantity: 2, Shipped: 2, Delivered: 2, RequiresShipping: true}, {Quantity: 9}}, "delivered"},
	} {
		if got := fulfilmentStatus(c.lines); got != c.want {
			t.Errorf("%+v is %s, not %s", c.lines, got, c.want)
		}
	}
}

func TestSharesOfALineSumToIt(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		total, quantity := rapid.Int64Range(0, 1_000_000).Draw(t, "total"), rapid.IntRange(1, 99).Draw(t, "quantity")
		var sum int64
		for done := 0; done < quantity; {
			step := rapid.IntRange(1, quantity-done).Draw(t, "step")
			share := lineShare(total, quantity, done, step)
			if share < 0 {
				t.Fatalf("a share of %d", share)
			}
			sum, done = sum+share, done+step
		}
		if sum != total {
			t.Fatalf("the shares sum to %d", sum)
		}
	})
}
