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
