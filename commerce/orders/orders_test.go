package orders

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/commerce"
	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/tenant"
)

func want(variant id.ID, n int) commerce.Demand {
	return commerce.Demand{VariantID: variant, Quantity: n}
}

func TestACartBecomesAnOrder(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	mug, book := s.variant("mug", 1250, 10, true), s.variant("book", 999, 3, true)
	cart := s.cart(want(mug, 2), want(book, 1))
	c, err := s.complete(cart, manual)
	if err != nil {
		t.Fatal(err)
	}
	o := s.order(c.Order.ID)
	if c.ResponseStatus() != 201 || *o.Number != 1 || o.Status != "placed" || o.PaymentStatus != "unpaid" || o.FulfilmentStatus != "unfulfilled" || o.Version != 1 {
		t.Errorf("%+v", o)
	}
	if o.Totals.Total.Amount != 3499 || o.Totals.Total.Currency != "EUR" || len(o.Lines) != 2 || o.Lines[0].Total.Amount != 2500 || o.ShippingAddress.City != "Berlin" {
		t.Errorf("%+v", o)
	}
	again, err := s.complete(cart, manual)
	if err != nil || again.ResponseStatus() != 200 || again.Order.ID != o.ID {
		t.Errorf("a repeat gave %+v, %v", again, err)
	}
	if got := s.events(o.ID); !slices.Equal(got, []string{"order.placed"}) {
		t.Errorf("events %q", got)
	}
	if n := value[int](s, `select reserved from stock_levels where variant_id = $1`, mug); n != 2 {
		t.Errorf("%d are reserved", n)
	}
	if next := s.placed(want(mug, 1)); *next.Number != 2 {
		t.Errorf("the next number is %d", *next.Number)
	}
	s.sound()
}

func TestWhatACartNeedsToBecomeAnOrder(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	mug, file := s.variant("mug", 1250, 2, true), s.variant("file", 500, 100, false)
	try := func(code string, sql string, wants ...commerce.Demand) *fault.Error {
		t.Helper()
		cart := s.cart(wants...)
		if sql != "" {
			s.must(sql, cart)
		}
		_, err := s.complete(cart, manual)
		s.wantCode(err, code)
		return fault.As(err)
	}
	try("email_required", `update carts set email = null where id = $1`, want(mug, 1))
	try("cart_empty", "")
	if f := try("validation_failed", `update carts set shipping_address = null where id = $1`, want(mug, 1)); f.Fields[0].Pointer != "/shipping_address" {
		t.Errorf("%+v", f)
	}
	if f := try("insufficient_stock", "", want(mug, 3)); f.Members["lines"].([]commerce.Shortage)[0].Requested != 3 {
		t.Errorf("%+v", f)
	}
	_, err := s.complete(id.NewRandom(), manual)
	s.wantCode(err, "not_found")

	// What is not sent needs no address, and is finished once it is paid.
	cart := s.cart(want(file, 1))
	s.must(`update carts set shipping_address = null where id = $1`, cart)
	c, err := s.complete(cart, manual)
	if err != nil || c.Order.FulfilmentStatus != "not_required" {
		t.Fatalf("%+v, %v", c, err)
	}
	if _, err := do(s, s.f.recordPayment, &recordPayment{OrderID: c.Order.ID}); err != nil {
		t.Fatal(err)
	}
	if got := s.events(c.Order.ID); !slices.Equal(got, []string{"order.placed", "order.paid", "order.completed"}) {
		t.Errorf("events %q", got)
	}

	// Another price is shown before it counts.
	cart = s.cart(want(mug, 1))
	s.must(`update product_variants set price = 1300 where id = $1`, mug)
	_, err = s.complete(cart, manual)
	s.wantCode(err, "cart_changed")
	if shown, ok := fault.As(err).Members["cart"].(interface{ RowVersion() int64 }); !ok || !strings.Contains(fmt.Sprintf("%+v", shown), "13.00") {
		t.Errorf("it shows %+v", shown)
	}
	if c, err = s.complete(cart, manual); err != nil || c.Order.Totals.Total.Amount != 1300 {
		t.Errorf("%+v, %v", c, err)
	}

	// So is what is not sold any more.
	cart = s.cart(want(mug, 1), want(file, 1))
	s.must(`update products set status = 'archived' where name = $1`, "mug")
	_, err = s.complete(cart, manual)
	s.wantCode(err, "cart_changed")
	_, err = s.complete(cart, manual)
	s.wantCode(err, "price_unavailable")
	s.must(`delete from cart_lines where variant_id = $1`, mug)
	s.show(cart)
	if _, err = s.complete(cart, manual); err != nil {
		t.Error(err)
	}
	s.sound()
}

func TestMoneyThatIsRecorded(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	mug := s.variant("mug", 1000, 10, true)
	o := s.placed(want(mug, 3))
	pay := func(amount int64, reference string) (OrderPayment, error) {
		in := &recordPayment{OrderID: o.ID, Body: &paymentBody{Reference: reference}}
		if amount > 0 {
			in.Body.Amount = &amount
		}
		return do(s, s.f.recordPayment, in)
	}
	if p, err := pay(1000, "one"); err != nil || p.ResponseStatus() != 201 || s.order(o.ID).PaymentStatus != "partially_paid" {
		t.Fatalf("%+v, %v", p, err)
	}
	if p, err := pay(1000, "one"); err != nil || p.ResponseStatus() != 200 || s.order(o.ID).Captured.Amount != 1000 {
		t.Errorf("a repeat gave %+v, %v", p, err)
	}
	_, err := pay(1001, "one")
	s.wantCode(err, "order_payment_recorded")
	_, err = pay(2001, "two")
	s.wantCode(err, "payment_exceeds_open")
	if p, err := pay(0, ""); err != nil || p.Amount != 2000 || s.order(o.ID).PaymentStatus != "paid" {
		t.Errorf("%+v, %v", p, err)
	}
	_, err = pay(0, "")
	s.wantCode(err, "payment_exceeds_open")
	if got := s.events(o.ID); !slices.Equal(got, []string{"order.placed", "order.updated", "order.paid"}) {
		t.Errorf("events %q", got)
	}
	s.sound()
}

func TestMoneyThatIsGivenBack(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	mug := s.variant("mug", 333, 10, true)
	o := s.placed(want(mug, 3))
	refund := func(body refundBody) (OrderRefund, error) {
		return do(s, s.f.refund, &refundOrder{OrderID: o.ID, Body: &body})
	}
	_, err := refund(refundBody{})
	s.wantCode(err, "nothing_to_refund")
	amount := int64(1)
	_, err = refund(refundBody{Amount: &amount})
	s.wantCode(err, "refund_exceeds_captured")
	if _, err := do(s, s.f.recordPayment, &recordPayment{OrderID: o.ID}); err != nil {
		t.Fatal(err)
	}
	line := o.Lines[0].ID
	// Not sent yet, so nothing can come back.
	_, err = refund(refundBody{Lines: []RefundLine{{line, 1}}, Restock: true})
	s.wantCode(err, "restock_exceeds_shipped")
	p, err := do(s, s.f.createFulfilment, &createFulfilment{OrderID: o.ID})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := do(s, s.f.ship, &shipFulfilment{OrderID: o.ID, FulfilmentID: p.ID}); err != nil {
		t.Fatal(err)
	}
	if r, err := refund(refundBody{Lines: []RefundLine{{line, 1}}, Restock: true, Reason: "broken"}); err != nil || r.Amount != 333 || r.Status != "succeeded" {
		t.Errorf("%+v, %v", r, err)
	}
	if n := value[int](s, `select on_hand from stock_levels where variant_id = $1`, mug); n != 8 {
		t.Errorf("%d are in stock", n)
	}
	_, err = refund(refundBody{Lines: []RefundLine{{line, 3}}})
	s.wantCode(err, "refund_exceeds_ordered")
	_, err = refund(refundBody{Lines: []RefundLine{{id.New(), 1}}})
	s.wantCode(err, "validation_failed")
	if got := s.order(o.ID); got.PaymentStatus != "partially_refunded" || got.Lines[0].ReturnedQuantity != 1 || got.Lines[0].RefundedQuantity != 1 {
		t.Errorf("%+v", got)
	}
	if r, err := refund(refundBody{}); err != nil || r.Amount != 666 || s.order(o.ID).PaymentStatus != "refunded" {
		t.Errorf("%+v, %v", r, err)
	}
	_, err = refund(refundBody{Amount: &amount})
	s.wantCode(err, "refund_exceeds_captured")
	s.sound()
}

func TestParcels(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	mug, file := s.variant("mug", 1000, 10, true), s.variant("file", 500, 10, false)
	o := s.placed(want(mug, 3), want(file, 1))
	pack := func(lines ...RefundLine) (Fulfilment, error) {
		return do(s, s.f.createFulfilment, &createFulfilment{OrderID: o.ID, Body: &fulfilmentBody{Lines: lines}})
	}
	line := o.Lines[0].ID
	_, err := pack(RefundLine{line, 4})
	s.wantCode(err, "fulfilment_exceeds_ordered")
	_, err = pack(RefundLine{o.Lines[1].ID, 1})
	s.wantCode(err, "validation_failed")
	first, err := pack(RefundLine{line, 1})
	if err != nil || *first.LocationID != s.location || first.Status != "pending" {
		t.Fatalf("%+v, %v", first, err)
	}
	rest, err := pack()
	if err != nil || rest.Lines[0].Quantity != 2 || len(rest.Lines) != 1 {
		t.Fatalf("%+v, %v", rest, err)
	}
	_, err = pack()
	s.wantCode(err, "nothing_to_fulfil")
	if _, err := do(s, s.f.cancelFulfilment, &fulfilmentPath{o.ID, rest.ID}); err != nil {
		t.Fatal(err)
	}
	_, err = do(s, s.f.ship, &shipFulfilment{OrderID: o.ID, FulfilmentID: rest.ID})
	s.wantCode(err, "fulfilment_cancelled")
	if rest, err = pack(); err != nil {
		t.Fatal(err)
	}
	for range 2 { // a repeat changes nothing
		p, err := do(s, s.f.ship, &shipFulfilment{OrderID: o.ID, FulfilmentID: first.ID, Body: &tracking{Carrier: "DHL", TrackingURL: "https://example.test/1"}})
		if err != nil || p.Status != "shipped" || p.Carrier != "DHL" || p.ShippedAt == nil {
			t.Fatalf("%+v, %v", p, err)
		}
	}
	if got := s.order(o.ID); got.FulfilmentStatus != "partially_fulfilled" || got.Lines[0].FulfilledQuantity != 1 {
		t.Errorf("%+v", got)
	}
	_, err = do(s, s.f.cancel, &cancelOrder{OrderID: o.ID})
	s.wantCode(err, "order_shipped")
	_, err = do(s, s.f.cancelFulfilment, &fulfilmentPath{o.ID, first.ID})
	s.wantCode(err, "fulfilment_shipped")
	in := &patchOrder{OrderID: o.ID}
	in.Body.ShippingAddress = api.Some(commerce.Address{Name: "B"})
	_, err = do(s, s.f.patch, in)
	s.wantCode(err, "order_shipped")
	for _, p := range []Fulfilment{first, rest} { // the second is sent by arriving
		if _, err := do(s, s.f.deliver, &fulfilmentPath{o.ID, p.ID}); err != nil {
			t.Fatal(err)
		}
	}
	if got := s.order(o.ID); got.FulfilmentStatus != "delivered" || got.Status != "placed" {
		t.Errorf("%+v", got)
	}
	if _, err := do(s, s.f.recordPayment, &recordPayment{OrderID: o.ID}); err != nil {
		t.Fatal(err)
	}
	if got := s.order(o.ID); got.Status != "completed" || got.CompletedAt == nil {
		t.Errorf("%+v", got)
	}
	_, err = do(s, s.f.cancel, &cancelOrder{OrderID: o.ID})
	s.wantCode(err, "order_shipped")
	page, err := s.f.timeline(context.Background(), s.f.DB.View(s.member), &listTimelineInput{OrderID: o.ID, ListParams: api.ListParams{Limit: 50}})
	if err != nil || len(page.Data) != 13 || page.Data[0].Type != "order.completed" {
		for _, e := range page.Data {
			t.Log(e.Type)
		}
		t.Errorf("%d entries, %v", len(page.Data), err)
	}
	s.sound()
}

func TestCancelledOrdersGiveTheirStockBack(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	mug := s.variant("mug", 1000, 3, true)
	o := s.placed(want(mug, 3))
	p, err := do(s, s.f.createFulfilment, &createFulfilment{OrderID: o.ID})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		got, err := do(s, s.f.cancel, &cancelOrder{OrderID: o.ID, Body: &cancelBody{Reason: "mistake"}})
		if err != nil || got.Status != "cancelled" || *got.CancelReason != "mistake" {
			t.Fatalf("%+v, %v", got, err)
		}
	}
	if got := slices.Concat(s.events(o.ID), s.events(p.ID)); !slices.Equal(got, []string{"order.placed", "order.cancelled", "fulfilment.created", "fulfilment.cancelled"}) {
		t.Errorf("events %q", got)
	}
	_, err = do(s, s.f.recordPayment, &recordPayment{OrderID: o.ID})
	s.wantCode(err, "order_cancelled")
	_, err = do(s, s.f.createFulfilment, &createFulfilment{OrderID: o.ID})
	s.wantCode(err, "order_cancelled")
	s.placed(want(mug, 3))
	s.sound()
}

func TestOrdersAreFound(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	mug := s.variant("Mug", 1000, 100, true)
	var all []Order
	for i := range 5 {
		all = append(all, s.placed(want(mug, i+1)))
	}
	if _, err := do(s, s.f.recordPayment, &recordPayment{OrderID: all[1].ID}); err != nil {
		t.Fatal(err)
	}
	find := func(in listOrders) (numbers []int64) {
		t.Helper()
		in.Limit = 50
		p, err := s.f.list(context.Background(), s.f.DB.View(s.member), &in)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range p.Data {
			numbers = append(numbers, *o.Number)
		}
		return numbers
	}
	for _, c := range []struct {
		in   listOrders
		want []int64
	}{
		{listOrders{}, []int64{1, 2, 3, 4, 5}},
		{listOrders{Sort: "-total"}, []int64{5, 4, 3, 2, 1}},
		{listOrders{Sort: "-number,total"}, []int64{5, 4, 3, 2, 1}},
		{listOrders{PaymentStatus: []string{"paid"}}, []int64{2}},
		{listOrders{Status: []string{"draft", "cancelled"}}, nil},
		{listOrders{Search: "#4"}, []int64{4}},
		{listOrders{Search: "mug", Sort: "number"}, []int64{1, 2, 3, 4, 5}},
		{listOrders{Search: "nobody"}, nil},
		{listOrders{Email: "ANN@example.test", PlacedAfter: *all[2].PlacedAt, Sort: "placed_at"}, []int64{4, 5}},
		{listOrders{PlacedBefore: *all[2].PlacedAt, Sort: "-placed_at"}, []int64{2, 1}},
		{listOrders{CustomerID: id.New()}, nil},
	} {
		if got := find(c.in); !slices.Equal(got, c.want) {
			t.Errorf("%+v finds %v, want %v", c.in, got, c.want)
		}
	}
	for _, sort := range []string{"-created_at", "total", "-number,placed_at", "placed_at,-total"} {
		keys, err := api.ParseSort(sort, "number", "placed_at", "created_at", "total")
		if err != nil {
			t.Fatal(err)
		}
		var sel selection
		sel.and("o.tenant_id = ?", s.org)
		sel.after(keys, positionOf(keys, all[2]))
		rows, err := tenant.List[Order](context.Background(), s.f.DB.View(s.member), `select `+cols+` from orders o`+sel.where()+orderBy(keys), sel.args...)
		if err != nil || len(rows) != 2 {
			t.Errorf("after the third by %s come %d, %v", sort, len(rows), err)
		}
	}
}

func TestMailsToCustomers(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	mug := s.variant("<Mug>", 123456, 100, true)
	o := s.placed(want(mug, 2))
	ctx := context.Background()
	if err := s.f.sendMail(ctx, s.f.DB, s.member, mailArgs{OrderID: o.ID}); err != nil {
		t.Fatal(err)
	}
	s.must(`update orders set locale = 'de-AT'`)
	p, err := do(s, s.f.createFulfilment, &createFulfilment{OrderID: o.ID, Body: &fulfilmentBody{TrackingURL: "https://example.test/1?a=b&c=d"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.f.sendMail(ctx, s.f.DB, s.member, mailArgs{OrderID: o.ID, FulfilmentID: &p.ID}); err != nil {
		t.Fatal(err)
	}
	en, de := s.letters.sent[0], s.letters.sent[1]
	if en.To != "ann@example.test" || en.Subject != "Your order 1 at The <Shop>" || !strings.Contains(en.Text, "2 x <Mug>: 2469.12 EUR") ||
		!strings.Contains(en.HTML, "2 x</td>") || !strings.Contains(en.HTML, "&lt;Mug&gt;") || strings.Contains(en.HTML, "Ann") {
		t.Errorf("%+v", en)
	}
	if de.Subject != "Ihre Bestellung 1 bei The <Shop> ist unterwegs" || !strings.Contains(de.Text, "https://example.test/1?a=b&c=d") || !strings.Contains(de.HTML, `lang="de"`) {
		t.Errorf("%+v", de)
	}
}

// Many want what is there for few, on two replicas at once.
func TestRaceForTheLastUnits(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	units, buyers := count(5, 100), count(30, 2000)
	mug, book := s.variant("mug", 1000, units, true), s.variant("book", 500, units*2, true)
	all := make([]id.ID, buyers)
	for i := range all {
		// In either order, so that locks could cross.
		if all[i] = s.cart(want(mug, 1), want(book, 1)); i%2 == 0 {
			all[i] = s.cart(want(book, 1), want(mug, 1))
		}
	}
	var sold, refused atomic.Int64
	var g errgroup.Group
	g.SetLimit(16)
	for i, cart := range all {
		g.Go(func() error {
			_, err := s.replicas[i%2].Complete(context.Background(), s.shopper, cart, []string{manual, "bank"}[i/2%2])
			switch f := fault.As(err); {
			case err == nil:
				sold.Add(1)
			case f != nil && f.Code == "insufficient_stock":
				refused.Add(1)
			default:
				return err
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	if int(sold.Load()) != units || int(refused.Load()) != buyers-units {
		t.Errorf("%d sold, %d refused of %d for %d units", sold.Load(), refused.Load(), buyers, units)
	}
	if n := value[int](s, `select count(*)::int from orders where status = 'placed'`); n != units {
		t.Errorf("%d orders", n)
	}
	s.sound()
}

func TestRaceToCompleteOneCart(t *testing.T) {
	t.Parallel()
	for _, provider := range []string{manual, "bank"} {
		s := newShop(t)
		mug := s.variant("mug", 1000, 100, true)
		for range count(3, 100) {
			cart := s.cart(want(mug, 1))
			var first atomic.Int64
			ids := make([]id.ID, 20)
			var g errgroup.Group
			for i := range ids {
				g.Go(func() error {
					c, err := s.replicas[i%2].Complete(context.Background(), s.shopper, cart, provider)
					if ids[i] = c.Order.ID; c.ResponseStatus() == 201 {
						first.Add(1)
					}
					return err
				})
			}
			if err := g.Wait(); err != nil {
				t.Fatal(err)
			}
			if first.Load() != 1 || len(slices.Compact(ids)) != 1 {
				t.Errorf("%s: %d were first, orders %v", provider, first.Load(), ids)
			}
		}
		if n, orders := s.bank.captures(), value[int](s, `select count(*)::int from orders`); orders != count(3, 100) || provider == "bank" && n != orders {
			t.Errorf("%s: %d orders, %d charged", provider, orders, n)
		}
		s.sound()
	}
}

func TestRaceToRefund(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	mug := s.variant("mug", 1000, 1000, true)
	for range count(3, 100) {
		o := s.placed(want(mug, 1))
		if _, err := do(s, s.f.recordPayment, &recordPayment{OrderID: o.ID}); err != nil {
			t.Fatal(err)
		}
		amount := int64(300)
		var done atomic.Int64
		var g errgroup.Group
		for i := range 10 {
			g.Go(func() error {
				f := s.replicas[i%2]
				err := f.DB.Write(context.Background(), s.member, func(tx *tenant.Tx) error {
					_, err := f.refund(context.Background(), tx, &refundOrder{OrderID: o.ID, Body: &refundBody{Amount: &amount}})
					return err
				})
				if err == nil {
					done.Add(1)
				} else if f := fault.As(err); f == nil || f.Code != "refund_exceeds_captured" || f.Kind != fault.Conflict {
					return err
				}
				return nil
			})
		}
		if err := g.Wait(); err != nil {
			t.Fatal(err)
		}
		if got := s.order(o.ID); done.Load() != 3 || got.Refunded.Amount != 900 {
			t.Errorf("%d refunds, %d given back", done.Load(), got.Refunded.Amount)
		}
	}
	s.sound()
}
