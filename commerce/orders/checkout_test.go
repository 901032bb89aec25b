package orders

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/tenant"
)

// settle is what the job does.
func (s *shop) settle(order id.ID) {
	s.t.Helper()
	if err := s.f.Settle(context.Background(), s.member, order); err != nil {
		s.t.Fatal(err)
	}
}

// late makes the patience with all payments end, and lets what was reserved for
// them go, as the feature that keeps the stock does.
func (s *shop) late() {
	s.t.Helper()
	s.must(`update orders set attempt_until = now() - interval '1 second' where status = 'draft'`)
	s.must(`with r as (delete from stock_reservations where expires_at is not null returning variant_id, quantity),
		x as (select r.variant_id, sum(r.quantity) as quantity from r group by r.variant_id)
		update stock_levels l set reserved = l.reserved - x.quantity from x where l.variant_id = x.variant_id`)
}

// reconciled holds the bank against the orders: what is placed is paid, what is
// not has nothing of anybody's money, and the ledgers say what the bank says.
func (s *shop) reconciled() {
	s.t.Helper()
	s.sound()
	taken, held := s.bank.net()
	// Whoever cancels a placed order gives back by hand what was paid for it.
	want := value[int64](s, `select coalesce(sum(case when status = 'cancelled' then captured - refunded else total end), 0)::bigint
		from orders where placed_at is not null and payment_provider = 'bank'`)
	if taken+held != want {
		s.t.Errorf("the bank has %d and holds %d, the placed orders are worth %d", taken, held, want)
	}
	if ledger := value[int64](s, `select coalesce(sum(case kind when 'captured' then amount when 'refunded' then -amount end), 0)::bigint from order_payments where provider = 'bank'`); ledger != taken {
		s.t.Errorf("the bank has %d, the ledgers say %d", taken, ledger)
	}
	if n := value[int](s, `select count(*)::int from (select from orders where cart_id is not null group by cart_id having count(*) > 1) x`); n != 0 {
		s.t.Errorf("%d carts are several orders", n)
	}
}

func TestPaidAtAProvider(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	mug := s.variant("mug", 1000, 10, true)
	_, err := s.f.complete(context.Background(), &completeCart{Body: &completeBody{&paymentChoice{"nobody"}}})
	s.wantCode(err, "validation_failed")

	s.bank.set("capture", nil)
	c, err := s.complete(s.cart(want(mug, 2)), "bank")
	if err != nil || c.ResponseStatus() != 201 || c.Order.PaymentStatus != "paid" || c.Payment.Status != "captured" || *c.Order.Number != 1 {
		t.Fatalf("%+v, %v", c, err)
	}
	if got := s.events(c.Order.ID); !slices.Equal(got, []string{"order.placed", "order.paid"}) {
		t.Errorf("events %q", got)
	}

	s.bank.set("authorize", nil)
	c, err = s.complete(s.cart(want(mug, 1)), "bank")
	if err != nil || c.Order.PaymentStatus != "authorized" || c.Order.Status != "placed" {
		t.Fatalf("%+v, %v", c, err)
	}
	s.reconciled()
	// Nobody keeps money of an order that is cancelled.
	if _, err := do(s, s.f.cancel, &cancelOrder{OrderID: c.Order.ID}); err != nil {
		t.Fatal(err)
	}
	s.settle(c.Order.ID)
	s.settle(c.Order.ID)
	if got := s.order(c.Order.ID); got.PaymentStatus != "voided" {
		t.Errorf("%+v", got)
	}
	s.reconciled()
}

func TestADeclinedPaymentIsTriedAgain(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	mug, book := s.variant("mug", 1000, 1, true), s.variant("book", 500, 1, true)
	cart := s.cart(want(mug, 1))
	s.bank.set("decline", nil)
	for range 2 {
		_, err := s.complete(cart, "bank")
		s.wantCode(err, "payment_declined")
		if f := fault.As(err); f.Kind != fault.PaymentRequired || f.Members["reason"] != "There is no money in it." {
			t.Errorf("%+v", f)
		}
	}
	// Its stock is for others meanwhile, and the cart may change.
	other := s.placed(want(mug, 1))
	_, err := s.complete(cart, "bank")
	s.wantCode(err, "insufficient_stock")
	if _, err := do(s, s.f.cancel, &cancelOrder{OrderID: other.ID}); err != nil {
		t.Fatal(err)
	}
	s.must(seedCartLine, s.org, cart, id.New(), book, 1)
	s.show(cart)
	s.bank.set("capture", nil)
	c, err := s.complete(cart, "bank")
	if err != nil || c.Order.Totals.Total.Amount != 1500 || len(c.Order.Lines) != 2 || *c.Order.Number != 2 {
		t.Fatalf("%+v, %v", c, err)
	}
	if n := value[int](s, `select count(*)::int from order_payments where kind = 'failed'`); n != 2 {
		t.Errorf("%d failures stand in the ledger", n)
	}
	s.reconciled()
}

func TestAChallengeAtTheProvider(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	mug := s.variant("mug", 1000, 2, true)
	s.bank.set("challenge", nil)
	cart := s.cart(want(mug, 1))
	c, err := s.complete(cart, "bank")
	if err != nil || c.ResponseStatus() != 201 || c.Payment.Status != "requires_action" || c.Payment.ClientSecret == "" || c.Order.Status != "draft" || c.Order.Number != nil {
		t.Fatalf("%+v, %v", c, err)
	}
	again, err := s.complete(cart, "bank")
	if err != nil || again.ResponseStatus() != 200 || again.Payment != c.Payment {
		t.Errorf("%+v, %v", again, err)
	}
	// Another price in the catalogue is none of this payment's business.
	s.must(`update product_variants set price = 2000`)
	s.bank.pass(true, 1000)
	s.settle(c.Order.ID) // the webhook
	if got := s.order(c.Order.ID); got.Status != "placed" || got.PaymentStatus != "paid" || got.Totals.Total.Amount != 1000 {
		t.Errorf("%+v", got)
	}
	if again, err = s.complete(cart, "bank"); err != nil || again.Order.Status != "placed" || again.ResponseStatus() != 200 {
		t.Errorf("%+v, %v", again, err)
	}

	// Who changes the cart meanwhile pays for what is in it.
	cart = s.cart(want(mug, 1))
	if c, err = s.complete(cart, "bank"); err != nil {
		t.Fatal(err)
	}
	s.must(`update carts set email = 'bob@example.test' where id = $1`, cart)
	s.bank.set("capture", nil)
	if c, err = s.complete(cart, "bank"); err != nil || c.Order.Email != "bob@example.test" || c.Order.Status != "placed" {
		t.Fatalf("%+v, %v", c, err)
	}
	s.reconciled()

	// Who goes away gives the stock back when the patience ends.
	s.must(`update stock_levels set on_hand = on_hand + 1`)
	s.bank.set("challenge", nil)
	cart = s.cart(want(mug, 1))
	if c, err = s.complete(cart, "bank"); err != nil {
		t.Fatal(err)
	}
	s.settle(c.Order.ID)
	if got := s.order(c.Order.ID); got.Status != "draft" || s.bank.charges[c.Order.ID.String()].Status != RequiresAction {
		t.Errorf("it was given up too early: %+v", got)
	}
	s.late()
	s.settle(c.Order.ID)
	if s.bank.charges[c.Order.ID.String()].Status != Declined {
		t.Error("the payment is still open")
	}
	s.placed(want(mug, 1))
	s.reconciled()
}

func TestPaidWhenItWasSoldOut(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"capture", "authorize"} {
		s := newShop(t)
		mug := s.variant("mug", 1000, 1, true)
		cart := s.cart(want(mug, 1))
		// It is paid for, but nobody hears of it, and the time is over.
		s.bank.set(mode, func(point string) error {
			if point == "start.after" {
				return errLost
			}
			return nil
		})
		_, err := s.complete(cart, "bank")
		s.wantCode(err, "payment_unavailable")
		s.bank.set(mode, func(string) error { return nil })
		s.late()
		s.placed(want(mug, 1))
		_, err = s.complete(cart, "bank")
		s.wantCode(err, "insufficient_stock")
		s.reconciled()
		// The cart is free for another try.
		s.must(`update stock_levels set on_hand = 2`)
		c, err := s.complete(cart, "bank")
		if err != nil || c.ResponseStatus() != 201 || c.Order.Status != "placed" {
			t.Fatalf("%+v, %v", c, err)
		}
		s.reconciled()

		// Where there is enough, who paid late gets it all the same.
		s.must(`update stock_levels set on_hand = 3`)
		cart = s.cart(want(mug, 1))
		s.bank.set("challenge", nil)
		if c, err = s.complete(cart, "bank"); err != nil {
			t.Fatal(err)
		}
		s.late()
		s.bank.pass(true, 1000)
		s.settle(c.Order.ID)
		if got := s.order(c.Order.ID); got.Status != "placed" {
			t.Errorf("%+v", got)
		}
		s.reconciled()
	}
}

// Each point at which the line may break, and each way on from there.
func TestEveryCrashHasAWayForward(t *testing.T) {
	t.Parallel()
	points := []string{"start.before", "start.after", "fetch.before", "fetch.after", "void.before", "void.after", "refund.before", "refund.after"}
	s, n := newShop(t), 0
	for _, mode := range []string{"capture", "authorize", "decline", "challenge"} {
		for _, point := range points {
			for _, way := range []string{"repeat", "job", "cancel", "late", "sold out"} {
				n++
				mug := s.variant(fmt.Sprint("mug", n), 1000, 1, true)
				cart := s.cart(want(mug, 1))
				s.bank.set(mode, func(p string) error {
					if p == point {
						return errLost
					}
					return nil
				})
				_, _ = s.complete(cart, "bank")
				order := value[id.ID](s, `select id from orders where cart_id = $1`, cart)
				switch way {
				case "repeat":
					_, _ = s.complete(cart, "bank") // broken still
				case "job":
					_ = s.f.Settle(context.Background(), s.member, order)
				case "cancel":
					if _, err := do(s, s.f.cancel, &cancelOrder{OrderID: order}); err != nil {
						t.Fatal(err)
					}
				case "sold out":
					s.late()
					if value[int](s, `select available from stock_levels where variant_id = $1`, mug) == 1 {
						s.placed(want(mug, 1))
					}
				case "late":
					s.late()
				}
				_ = s.f.Settle(context.Background(), s.member, order)
				_, _ = s.complete(cart, "bank")
				s.bank.set(mode, func(string) error { return nil })
				if mode == "challenge" {
					s.late()
				}
				for range 2 {
					for _, o := range values[id.ID](s, `select o.id from orders o join order_lines l on l.tenant_id = o.tenant_id and l.order_id = o.id where l.variant_id = $1`, mug) {
						s.settle(o)
					}
				}
				s.reconciledAt(fmt.Sprintf("%s, broken at %s, %s", mode, point, way))
			}
		}
	}
}

func (s *shop) reconciledAt(where string) {
	s.t.Helper()
	failed := s.t.Failed()
	s.reconciled()
	if s.t.Failed() && !failed {
		s.t.Fatal(where)
	}
}

// Shoppers, jobs and webhooks at once on two replicas, over a line that breaks
// all the time.
func TestRaceOverABrokenLine(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	mug := s.variant("mug", 1000, count(20, 1000), true)
	carts := make([]id.ID, count(40, 2000))
	for i := range carts {
		carts[i] = s.cart(want(mug, 1))
	}
	modes := []string{"capture", "authorize", "decline", "challenge", "pending"}
	s.bank.set("capture", func(string) error {
		if rand.IntN(4) == 0 {
			return errLost
		}
		return nil
	})
	var g errgroup.Group
	g.SetLimit(12)
	for i := range 4 * len(carts) {
		g.Go(func() error {
			ctx := context.Background()
			s.bank.set(modes[rand.IntN(len(modes))], nil)
			f, cart := s.replicas[i%2], carts[rand.IntN(len(carts))]
			if rand.IntN(8) == 0 {
				s.bank.pass(rand.IntN(2) == 0, 1000)
			}
			if rand.IntN(3) > 0 {
				_, err := f.Complete(ctx, s.shopper, cart, "bank")
				return defect(err)
			}
			drafts, err := tenant.Values[id.ID](ctx, f.DB.View(s.member), `select id from orders where status = 'draft' or cart_id is null limit 5`)
			if err != nil {
				return err
			}
			for _, d := range drafts {
				if err := defect(f.Settle(ctx, s.member, d)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	s.bank.set("capture", func(string) error { return nil })
	s.late()
	all := values[id.ID](s, `select id from orders`)
	for _, o := range all {
		s.settle(o)
	}
	s.reconciled()
	t.Logf("%d orders, %d placed", len(all), value[int](s, `select count(*)::int from orders where status = 'placed'`))
}

// defect lets through what a caller may be told.
func defect(err error) error {
	if f := fault.As(err); f != nil && f.Kind != fault.Internal {
		switch f.Code {
		case "payment_unavailable", "payment_declined", "insufficient_stock", "cart_completed", "unavailable":
			return nil
		}
	}
	return err
}

func TestRefundsAtAProvider(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	mug := s.variant("mug", 1000, 10, true)
	ctx := context.Background()
	c, err := s.complete(s.cart(want(mug, 3)), "bank")
	if err != nil {
		t.Fatal(err)
	}
	o := s.order(c.Order.ID)
	line := o.Lines[0].ID
	r, err := do(s, s.f.refund, &refundOrder{OrderID: o.ID, Body: &refundBody{Lines: []RefundLine{{line, 2}}}})
	if err != nil || r.Status != "pending" || r.Amount != 2000 {
		t.Fatalf("%+v, %v", r, err)
	}
	// What is promised counts.
	amount := int64(1001)
	_, err = do(s, s.f.refund, &refundOrder{OrderID: o.ID, Body: &refundBody{Amount: &amount}})
	s.wantCode(err, "refund_exceeds_captured")
	if got := s.order(o.ID); got.Refunded.Amount != 0 || got.PaymentStatus != "paid" {
		t.Errorf("%+v", got)
	}
	s.sound()
	args := refundArgs{OrderID: o.ID, RefundID: r.ID}
	for _, point := range []string{"refund.before", "refund.after", ""} {
		s.bank.set("", func(p string) error {
			if p == point {
				return errLost
			}
			return nil
		})
		if err := s.f.refundAtProvider(ctx, s.f.DB, s.member, args); (err == nil) != (point == "") {
			t.Errorf("%q: %v", point, err)
		}
	}
	if err := s.f.refundAtProvider(ctx, s.f.DB, s.member, args); err != nil {
		t.Error(err)
	}
	if got := s.order(o.ID); got.Refunded.Amount != 2000 || got.PaymentStatus != "partially_refunded" || got.Lines[0].RefundedQuantity != 2 {
		t.Errorf("%+v", got)
	}
	if got := s.events(o.ID); !slices.Equal(got, []string{"order.placed", "order.paid", "order.refunded"}) {
		t.Errorf("events %q", got)
	}
	// One that the bank refuses is taken back.
	r, err = do(s, s.f.refund, &refundOrder{OrderID: o.ID, Body: &refundBody{Lines: []RefundLine{{line, 1}}}})
	if err != nil {
		t.Fatal(err)
	}
	s.bank.charges[o.ID.String()].refunded = 2500
	if err := s.f.refundAtProvider(ctx, s.f.DB, s.member, refundArgs{o.ID, r.ID}); err != nil {
		t.Fatal(err)
	}
	page, err := s.f.listRefunds(ctx, s.f.DB.View(s.member), &listPaymentsInput{OrderID: o.ID, ListParams: api.ListParams{Limit: 50}})
	if got := s.order(o.ID); err != nil || got.Lines[0].RefundedQuantity != 2 || got.Refunded.Amount != 2000 || len(page.Data) != 2 || page.Data[1].Status != "failed" {
		t.Errorf("%+v %+v, %v", got, page, err)
	}
	s.sound()
}
