package main

import (
	"fmt"
	"slices"
	"sync"
	"testing"
)

func TestShippingZonesAndMethods(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann := w.person("ann").organization("Acme")
	member := w.join(ann, w.person("bob"), "member")

	zone := ann.post("/v1/shipping-zones", m{"name": "Germany", "countries": []string{"DE", "DE"}, "states": []string{"be"}, "postal_code_prefixes": []string{"10 1"}}).want(201)
	path := zone.header("Location")
	if fmt.Sprint(zone.at("countries"), zone.at("states"), zone.at("postal_code_prefixes")) != "[DE] [BE] [101]" {
		t.Errorf("made %s", zone.body)
	}
	ann.post("/v1/shipping-zones", m{"name": "Germany"}).want(409).code("shipping_zone_name_taken")
	for name, body := range map[string]m{
		"no such country": {"name": "x", "countries": []string{"Germany"}},
		"empty state":     {"name": "x", "states": []string{" "}},
		"odd prefix":      {"name": "x", "postal_code_prefixes": []string{"--"}},
		"no name":         {},
	} {
		if r := ann.post("/v1/shipping-zones", body); r.status != 422 {
			t.Errorf("%s: %d %s", name, r.status, r.body)
		}
	}
	if got := ann.patch(path, m{"states": []string{}, "postal_code_prefixes": []string{}}, `If-Match: "1"`).want(200); fmt.Sprint(got.at("states")) != "[]" || got.num("version") != 2 {
		t.Errorf("patched: %s", got.body)
	}
	ann.patch(path, m{"name": "DE"}, `If-Match: "1"`).want(412)

	methods := path + "/methods"
	flat := ann.post(methods, m{"name": "Standard", "kind": "flat", "currency": "EUR", "amount": 490, "free_from": 5000, "position": 2}).want(201)
	bands := []m{{"up_to": 1000, "amount": 490}, {"up_to": nil, "amount": 990}}
	heavy := ann.post(methods, m{"name": "By weight", "kind": "by_weight", "currency": "EUR", "bands": bands, "tax_class": "reduced", "position": 1}).want(201)
	if heavy.num("bands.0.up_to") != 1000 || heavy.num("bands.1.amount") != 990 || heavy.at("bands.1.up_to") != nil || heavy.at("active") != true {
		t.Errorf("made %s", heavy.body)
	}
	for name, body := range map[string]m{
		"unknown currency": {"name": "x", "kind": "flat", "currency": "XXQ"},
		"no bands":         {"name": "x", "kind": "by_price", "currency": "EUR"},
		"unknown kind":     {"name": "x", "kind": "pigeon", "currency": "EUR"},
		"below zero":       {"name": "x", "kind": "flat", "currency": "EUR", "amount": -1},
		"backwards":        {"name": "x", "kind": "by_price", "currency": "EUR", "bands": []m{{"up_to": 2, "amount": 1}, {"up_to": 1, "amount": 1}}},
	} {
		if r := ann.post(methods, body); r.status != 422 {
			t.Errorf("%s: %d %s", name, r.status, r.body)
		}
	}
	list := ann.get(methods + "?limit=1&include=total").want(200)
	rest := ann.get(methods + "?limit=1&include=total&cursor=" + list.str("next_cursor")).want(200)
	if names := slices.Concat(list.keys("name"), rest.keys("name")); fmt.Sprint(names) != "[By weight Standard]" || list.num("total") != 2 {
		t.Errorf("listed %v: %s", names, list.body)
	}

	one := flat.header("Location")
	ann.patch(one, m{"kind": "by_price"}).want(422)
	got := ann.patch(one, m{"kind": "by_price", "amount": 0, "bands": bands, "free_from": nil}, `If-Match: "1"`).want(200)
	if got.str("kind") != "by_price" || got.at("free_from") != nil || got.num("version") != 2 {
		t.Errorf("patched: %s", got.body)
	}
	ann.patch(one, m{"active": false}, `If-Match: "1"`).want(412)
	ann.delete(one, `If-Match: "1"`).want(412)
	ann.delete(one).want(204)
	ann.get(one).want(404)
	member.get(path).want(403)
	member.post(methods, m{"name": "x", "kind": "flat", "currency": "EUR"}).want(403)

	ann.delete(path).want(204)
	ann.get(heavy.header("Location")).want(404)
	ann.get(methods).want(404)
	var types []string
	for _, row := range w.sql(`select type from event_log where type like 'shipping%' order by id`) {
		types = append(types, row["type"].(string))
	}
	want := []string{"shipping_zone.created", "shipping_zone.updated", "shipping_method.created", "shipping_method.created", "shipping_method.updated", "shipping_method.deleted", "shipping_zone.deleted"}
	if !slices.Equal(types, want) {
		t.Errorf("the audit log says %v, want %v", types, want)
	}
}

// The bounds hold against many at once.
func TestShippingMethodsAreBounded(t *testing.T) {
	t.Parallel()
	const most, more = 50, 10
	w := newWorld(t)
	ann := w.person("ann").organization("Acme")
	methods := ann.post("/v1/shipping-zones", m{"name": "World"}).want(201).header("Location") + "/methods"
	var wg sync.WaitGroup
	statuses := make(chan int, most+more)
	for i := range most + more {
		wg.Go(func() {
			r, err := ann.try("POST", methods, m{"name": fmt.Sprint(i), "kind": "flat", "currency": "EUR"})
			if err != nil {
				t.Error(err)
				return
			}
			statuses <- r.status
		})
	}
	wg.Wait()
	close(statuses)
	got := map[int]int{}
	for s := range statuses {
		got[s]++
	}
	if got[201] != most || got[409] != more {
		t.Errorf("answers: %v", got)
	}
}

// TestCartsAreTaxedAndSent buys something that is taxed and sent, and asserts
// every amount.
func TestCartsAreTaxedAndSent(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	owner := w.person("owner").organization("Acme")
	shopper := owner.shop()
	mug := owner.product("Mug", 1250, 10)
	owner.post("/v1/tax-rates", m{"name": "VAT", "country": "DE", "rate": "19"}).want(201)
	zone := owner.post("/v1/shipping-zones", m{"name": "Germany", "countries": []string{"DE"}}).want(201).header("Location")
	flat := owner.post(zone+"/methods", m{"name": "Standard", "kind": "flat", "currency": "EUR", "amount": 490, "free_from": 5000}).want(201)
	owner.post(zone+"/methods", m{"name": "Yen", "kind": "flat", "currency": "JPY"}).want(201)

	cart := shopper.cart(mug, 2)
	at := "/v1/storefront/carts/" + cart.str("id")
	if got := shopper.get(at + "/shipping-options").want(200); got.len("data") != 1 || got.str("data.0.name") != "Standard" || got.num("data.0.price.amount") != 490 {
		t.Errorf("the options are %s", got.body)
	}
	shopper.completed(cart.str("id")).want(422) // nobody said how it is sent
	sums := func(r *reply, at string) [4]int64 {
		return [4]int64{r.num(at + "subtotal.amount"), r.num(at + "shipping.amount"), r.num(at + "tax.amount"), r.num(at + "total.amount")}
	}
	got := shopper.patch(at, m{"shipping_method_id": flat.str("id")}).want(200)
	if sums(got, "totals.") != [4]int64{2500, 490, 568, 3558} { // 475 on the mugs, 93.1 on the parcel
		t.Errorf("the totals are %v: %s", sums(got, "totals."), got.body)
	}
	line := got.str("lines.0.id")
	if got = shopper.patch(at+"/lines/"+line, m{"quantity": 4}).want(200); sums(got, "totals.") != [4]int64{5000, 0, 950, 5950} {
		t.Errorf("free from 50: %v", sums(got, "totals."))
	}
	owner.put("/v1/tax-settings", m{"prices_include_tax": true}).want(200)
	shopper.completed(cart.str("id")).want(409).code("cart_changed")
	if got = shopper.get(at).want(200); sums(got, "totals.") != [4]int64{5000, 0, 798, 5000} {
		t.Errorf("inclusive: %v", sums(got, "totals."))
	}
	done := shopper.completed(cart.str("id")).want(201)
	if sums(done, "order.totals.") != [4]int64{5000, 0, 798, 5000} {
		t.Errorf("the order says %v: %s", sums(done, "order.totals."), done.body)
	}
}
