package main

import (
	"testing"

	"github.com/guildhall-dev/guildhall/internal/id"
)

// variant puts a product with one variant into the database.
func (w *world) variant(org, sku string) (product, variant string) {
	w.t.Helper()
	product, variant = id.New().String(), id.New().String()
	w.sql(`insert into products (tenant_id, id, slug, name, name_key, currency, created_by_kind) values ($1, $2, $3, 'Mug', 'mug', 'EUR', 'system')`,
		org, product, sku)
	w.sql(`insert into product_variants (tenant_id, id, product_id, currency, sku, sku_key, title, option_key, price, position)
		values ($1, $2, $3, 'EUR', $4, $4, 'Mug', '', 1000, 1)`, org, variant, product, sku)
	return product, variant
}

func TestInventoryOfAnOrganization(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann := w.person("ann").organization("Acme")
	gus := w.join(ann, w.person("gus"), "guest")
	product, mug := w.variant(ann.org, "mug")

	// The first goods make the default location.
	first := ann.post("/v1/stock-movements", m{"variant_id": mug, "quantity": 10, "reason": "received", "note": "First."}).want(201)
	if first.num("level.on_hand") != 10 || first.num("on_hand_after") != 10 || first.str("created_by.id") != ann.user || first.str("level.product_id") != product {
		t.Errorf("booked %s", first.body)
	}
	locations := ann.get("/v1/stock-locations?include=total").want(200)
	main := locations.str("data.0.id")
	if locations.num("total") != 1 || locations.at("data.0.is_default") != true || main != first.str("location_id") {
		t.Errorf("locations are %s", locations.body)
	}
	made := ann.post("/v1/stock-locations", m{"code": "shop", "name": " Shop ", "priority": 3, "address": m{
		"name": "Shop", "line1": "1 High Street", "city": "Berlin", "postal_code": "10115", "country": "DE"}}).want(201)
	shop := made.str("id")
	if made.str("name") != "Shop" || made.str("address.city") != "Berlin" || made.header("Location") != "/v1/stock-locations/"+shop {
		t.Errorf("made %s", made.body)
	}
	ann.post("/v1/stock-locations", m{"code": "shop", "name": "Again"}).want(409).code("stock_location_code_taken")

	moved := ann.post("/v1/stock-transfers", m{"variant_id": mug, "from_location_id": main, "to_location_id": shop, "quantity": 4}).want(201)
	if moved.num("from.level.on_hand") != 6 || moved.num("to.level.on_hand") != 4 || moved.str("from.reference_id") != moved.str("id") {
		t.Errorf("moved %s", moved.body)
	}
	ann.post("/v1/stock-transfers", m{"variant_id": mug, "from_location_id": main, "to_location_id": shop, "quantity": 7}).want(409).code("stock_not_negative")
	level := "/v1/stock-levels/" + mug + "/" + shop
	limits := ann.patch(level, m{"low_stock_threshold": 3, "backorder_limit": 2}, `If-Match: "2"`).want(200)
	if limits.num("low_stock_threshold") != 3 || limits.header("ETag") != `"3"` {
		t.Errorf("limits are %s", limits.body)
	}
	ann.patch(level, m{"low_stock_threshold": 1}, `If-Match: "2"`).want(412).code("version_conflict")
	if n := ann.get("/v1/stock-levels?low=true").want(200).len("data"); n != 0 {
		t.Errorf("%d levels are low", n)
	}
	counted := ann.post("/v1/stock-counts", m{"location_id": shop, "lines": []m{{"variant_id": mug, "counted": 3}}}).want(201)
	if counted.num("lines.0.difference") != -1 {
		t.Errorf("counted %s", counted.body)
	}
	if low := ann.get("/v1/stock-levels?low=true&product_id=" + product + "&include=total").want(200); low.str("data.0.location_id") != shop || low.num("total") != 1 {
		t.Errorf("low is %s", low.body)
	}

	// The ledger, newest first and page by page.
	page := ann.get("/v1/stock-movements?limit=3&include=total&variant_id=" + mug).want(200)
	rest := ann.get("/v1/stock-movements?limit=3&variant_id=" + mug + "&cursor=" + page.str("next_cursor")).want(200)
	if page.num("total") != 4 || page.str("data.0.reason") != "counted" || rest.len("data") != 1 || rest.str("data.0.id") != first.str("id") {
		t.Errorf("the ledger is %s and %s", page.body, rest.body)
	}
	if got := ann.get("/v1/stock-levels?limit=1").want(200); ann.get("/v1/stock-levels?limit=1&cursor="+got.str("next_cursor")).want(200).len("data") != 1 {
		t.Errorf("the second page of levels is not there")
	}
	if got := ann.get("/v1/stock-locations?limit=1").want(200); ann.get("/v1/stock-locations?limit=1&cursor="+got.str("next_cursor")).want(200).str("data.0.id") != shop {
		t.Errorf("the second page of locations is not there")
	}

	ann.delete("/v1/stock-locations/" + shop).want(409).code("stock_level_location_in_use")
	ann.delete("/v1/stock-locations/" + main).want(409).code("stock_location_default_required")
	ann.patch("/v1/stock-locations/"+main, m{"active": false}).want(409).code("stock_location_default_active")
	ann.patch("/v1/stock-locations/"+main, m{"is_default": false}).want(409).code("stock_location_default_required")
	ann.patch("/v1/stock-locations/"+shop, m{"is_default": true}).want(200)
	if got := ann.get("/v1/stock-locations/" + main).want(200); got.at("is_default") != false {
		t.Errorf("two default locations: %s", got.body)
	}
	spare := ann.post("/v1/stock-locations", m{"code": "spare", "name": "Spare", "active": false}).want(201).str("id")
	ann.delete("/v1/stock-locations/" + spare).want(204)

	gus.get("/v1/stock-levels").want(403)
	w.settle()
	if n := ann.get("/v1/events?type=stock.low,stock_movement.created").want(200).len("data"); n != 4+1 {
		t.Errorf("%d events are in the feed", n)
	}
}
