package main

import (
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sync/errgroup"
)

// product makes something that is sold, and returns its variant.
func (c *client) product(name string, price, stock int) string {
	c.w.t.Helper()
	variant := c.post("/v1/products", m{"name": name, "status": "active", "price": m{"amount": price, "currency": "EUR"}}).want(201).str("variants.0.id")
	c.post("/v1/stock-movements", m{"variant_id": variant, "quantity": stock, "reason": "received"}).want(201)
	return variant
}

// cart makes a cart with one line that could be completed.
func (c *client) cart(variant string, quantity int) *reply {
	c.w.t.Helper()
	at := c.post("/v1/storefront/carts", m{}).want(201).header("Location")
	c.post(at+"/lines", m{"variant_id": variant, "quantity": quantity}).want(201)
	return c.patch(at, m{"email": "ann@example.test", "shipping_address": anAddress}).want(200)
}

// completed completes a cart by bank transfer.
func (c *client) completed(cart string) *reply {
	c.w.t.Helper()
	return c.post("/v1/storefront/carts/"+cart+"/complete", m{"payment": m{"provider": "manual"}})
}

// TestAnOrderFromCartToParcelToRefund walks the whole way, and asserts every
// step of it.
func TestAnOrderFromCartToParcelToRefund(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	owner := w.person("owner").organization("Acme")
	shopper := owner.shop()
	mug := owner.product("Mug", 1250, 10)

	cart := shopper.post("/v1/storefront/carts", m{}).want(201)
	at := cart.header("Location")
	shopper.completed(cart.str("id")).want(422).code("email_required")
	cart = shopper.post(at+"/lines", m{"variant_id": mug, "quantity": 1}).want(201)
	cart = shopper.post(at+"/lines", m{"variant_id": mug, "quantity": 2}).want(201)
	line := cart.str("lines.0.id")
	if cart.len("lines") != 1 || cart.num("lines.0.quantity") != 3 || cart.num("lines.0.unit_price.amount") != 1250 || cart.num("totals.total.amount") != 3750 || cart.str("totals.total.currency") != "EUR" {
		t.Fatalf("%s", cart.body)
	}
	shopper.patch(at+"/lines/"+line, m{"quantity": 2}).want(200)
	shopper.patch(at, m{"email": "Ann <ann@example.test>"}).want(422)
	shopper.patch(at, m{"email": "ann@example.test"}).want(200)
	if r := shopper.completed(cart.str("id")).want(422); r.str("errors.0.pointer") != "/shipping_address" {
		t.Errorf("%s", r.body)
	}
	shopper.patch(at, m{"shipping_address": anAddress, "discount_codes": []string{"NONE"}}).want(422)
	shopper.patch(at, m{"shipping_address": anAddress}).want(200)
	if got := shopper.get(at + "/shipping-options").want(200); got.len("data") != 0 {
		t.Errorf("%s", got.body)
	}

	done := shopper.completed(cart.str("id")).want(201)
	order := "/v1/orders/" + done.str("order.id")
	if again := shopper.completed(cart.str("id")).want(200); again.str("order.id") != done.str("order.id") || done.num("order.number") != 1 {
		t.Errorf("%s", again.body)
	}
	shopper.post(at+"/lines", m{"variant_id": mug, "quantity": 1}).want(409).code("cart_completed")
	w.settle()
	if mails := w.mails("ann@example.test"); len(mails) != 1 || !strings.Contains(mails[0].Text, "2 x Mug: 25.00 EUR") {
		t.Errorf("mailed %+v", mails)
	}
	if got := owner.get("/v1/stock-levels?variant_id=" + mug).want(200); got.num("data.0.reserved") != 2 {
		t.Errorf("%s", got.body)
	}

	owner.post(order+"/payments", m{"amount": 2501}).want(409).code("payment_exceeds_open")
	owner.post(order+"/payments", m{"reference": "statement 1"}).want(201)
	owner.post(order+"/payments", m{"reference": "statement 1"}).want(200)
	if got := owner.get(order).want(200); got.str("payment_status") != "paid" || got.str("status") != "placed" {
		t.Errorf("%s", got.body)
	}
	parcel := owner.post(order+"/fulfilments", m{"carrier": "DHL"}).want(201).header("Location")
	owner.post(parcel+"/ship", m{"tracking_number": "1", "tracking_url": "https://example.test/1"}).want(200)
	owner.post(order+"/cancel", m{}).want(409).code("order_shipped")
	owner.post(parcel+"/deliver", nil).want(200)
	if got := owner.get(order).want(200); got.str("status") != "completed" || got.str("fulfilment_status") != "delivered" {
		t.Errorf("%s", got.body)
	}
	if got := owner.get("/v1/stock-levels?variant_id=" + mug).want(200); got.num("data.0.reserved") != 0 || got.num("data.0.on_hand") != 8 {
		t.Errorf("%s", got.body)
	}
	owner.post(order+"/refunds", m{"lines": []m{{"order_line_id": done.str("order.lines.0.id"), "quantity": 1}}, "restock": true, "reason": "broken"}).want(201)
	owner.post(order+"/refunds", m{"amount": 1251}).want(409).code("refund_exceeds_captured")
	owner.post(order+"/notes", m{"body": "Was angry."}).want(201)
	if got := owner.get(order + "/payments").want(200); got.len("data") != 2 || got.str("data.1.kind") != "refunded" || got.num("data.1.amount") != 1250 {
		t.Errorf("%s", got.body)
	}
	w.settle()
	if got := owner.get(order + "/timeline?include=total").want(200); got.num("total") != 9 || got.str("data.0.type") != "order.noted" {
		t.Errorf("%s", got.body)
	}
	if got := owner.get("/v1/events?type=fulfilment.*").want(200); got.len("data") != 3 {
		t.Errorf("%s", got.body)
	}
	if got := owner.get("/v1/orders?payment_status=partially_refunded&search=ann&sort=-total&include=total&limit=1").want(200); got.num("total") != 1 || got.num("data.0.refunded.amount") != 1250 {
		t.Errorf("%s", got.body)
	}
	if mails := w.mails("ann@example.test"); len(mails) != 2 || !strings.Contains(mails[1].Text, "https://example.test/1") {
		t.Errorf("mailed %+v", mails)
	}
}

func TestCartsOfGuestsAndCustomers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	owner := w.person("owner").organization("Acme")
	guest := owner.shop()
	ann, bob := guest.customer("ann@example.test"), guest.customer("bob@example.test")
	mug, book := owner.product("Mug", 1250, 10), owner.product("Book", 900, 10)

	// A guest's cart becomes the customer's.
	first := guest.cart(mug, 1)
	at := "/v1/storefront/carts/" + first.str("id")
	guest.post(at+"/claim", nil).want(401)
	if got := ann.post(at+"/claim", nil).want(200); got.str("id") != first.str("id") || got.str("customer_id") != ann.user {
		t.Errorf("%s", got.body)
	}
	ann.post(at+"/claim", nil).want(200)
	for _, other := range []*client{guest, bob} {
		other.get(at).want(404)
		other.patch(at, m{"note": "x"}).want(404)
		other.completed(first.str("id")).want(404)
	}
	bob.post(at+"/claim", nil).want(404)

	// A second one goes into it.
	second := guest.cart(mug, 2)
	guest.post("/v1/storefront/carts/"+second.str("id")+"/lines", m{"variant_id": book}).want(201)
	got := ann.post("/v1/storefront/carts/"+second.str("id")+"/claim", nil).want(200)
	if got.str("id") != first.str("id") || got.len("lines") != 2 || got.num("lines.0.quantity") != 3 || got.num("totals.total.amount") != 3*1250+900 {
		t.Errorf("%s", got.body)
	}
	guest.get("/v1/storefront/carts/" + second.str("id")).want(404)

	ann.completed(first.str("id")).want(201)
	if got := ann.get("/v1/storefront/orders?include=total").want(200); got.num("total") != 1 || got.str("data.0.email") != "ann@example.test" {
		t.Errorf("%s", got.body)
	}
	mine := "/v1/storefront/orders/" + ann.get("/v1/storefront/orders").want(200).str("data.0.id")
	ann.get(mine).want(200)
	bob.get(mine).want(404)
	guest.get(mine).want(401)

	// What is not for sale is told.
	open := bob.post("/v1/storefront/carts", m{"currency": "USD"}).want(201).header("Location")
	bob.post(open+"/lines", m{"variant_id": mug}).want(422).code("price_unavailable")
	bob.post(open+"/lines", m{"variant_id": owner.org}).want(422).code("price_unavailable")
	bob.post("/v1/storefront/carts", m{"currency": "XXZ"}).want(422)
	// A price that changes meanwhile is shown first.
	cart := bob.cart(mug, 1)
	product := owner.get("/v1/products?search=Mug").want(200).str("data.0.id")
	owner.patch("/v1/products/"+product, m{"price": m{"amount": 1300}}).want(200)
	if r := bob.completed(cart.str("id")).want(409).code("cart_changed"); r.num("cart.totals.total.amount") != 1300 {
		t.Errorf("%s", r.body)
	}
	bob.completed(cart.str("id")).want(201)
}

// Two server processes, few units: nobody gets what is not there, and one cart is
// one order.
func TestRaceOfCheckoutsOnTwoReplicas(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	second := newWorldOn(t, w.db, w.app.cfg.DataDir)
	owner := w.person("owner").organization("Acme")
	shopper := owner.shop()
	units, buyers := count(5, 100), count(30, 10_000)
	mug := owner.product("Mug", 1000, units)
	carts := make([]string, buyers)
	for i := range carts {
		carts[i] = shopper.cart(mug, 1).str("id")
	}
	elsewhere := *shopper
	elsewhere.w = second
	at := []*client{shopper, &elsewhere}
	var sold, refused atomic.Int64
	var g errgroup.Group
	g.SetLimit(50)
	for i, cart := range carts {
		g.Go(func() error {
			r, err := at[i%2].try("POST", "/v1/storefront/carts/"+cart+"/complete", m{})
			switch {
			case err != nil:
				return err
			case r.status == 201:
				sold.Add(1)
			case r.status == 409 && r.str("code") == "insufficient_stock" && r.num("lines.0.requested") == 1:
				refused.Add(1)
			default:
				t.Errorf("%d %s", r.status, r.body)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	level := owner.get("/v1/stock-levels?variant_id=" + mug).want(200)
	if sold.Load() != int64(units) || refused.Load() != int64(buyers-units) || level.num("data.0.reserved") != int64(units) || owner.get("/v1/orders?include=total").num("total") != int64(units) {
		t.Errorf("%d sold and %d refused of %d: %s", sold.Load(), refused.Load(), units, level.body)
	}

	book := owner.product("Book", 1000, 100)
	cart := shopper.cart(book, 1).str("id")
	var first, again atomic.Int64
	for i := range 20 {
		g.Go(func() error {
			r, err := at[i%2].try("POST", "/v1/storefront/carts/"+cart+"/complete", m{})
			if err == nil && r.status == 201 {
				first.Add(1)
			} else if err == nil && r.status == 200 {
				again.Add(1)
			}
			return err
		})
	}
	if err := g.Wait(); err != nil || first.Load() != 1 || again.Load() != 19 {
		t.Errorf("%d were first, %d repeated, %v", first.Load(), again.Load(), err)
	}
	proved(t, "%d completions on %d units in two processes: %d orders, %d refusals; one cart completed 20 times: 1 order", buyers, units, sold.Load(), refused.Load())
}
