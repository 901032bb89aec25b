package main

import "testing"

func TestTaxRates(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann := w.person("ann").organization("Acme")
	member := w.join(ann, w.person("bob"), "member")

	made := ann.post("/v1/tax-rates", m{"name": " VAT ", "country": "DE", "rate": "19.0"}).want(201)
	path := made.header("Location")
	if made.str("rate") != "19" || made.str("name") != "VAT" || made.str("tax_class") != "standard" || made.str("state") != "" || made.header("ETag") != `"1"` {
		t.Errorf("made %s", made.body)
	}
	ann.post("/v1/tax-rates", m{"name": "VAT", "country": "DE", "rate": "7"}).want(409).code("tax_rate_taken")
	ann.post("/v1/tax-rates", m{"name": "VAT", "country": "DE", "rate": "7", "tax_class": "reduced"}).want(201)
	us := ann.post("/v1/tax-rates", m{"name": "County", "country": "US", "state": "ny", "postal_code_prefix": "100 ", "rate": "8.875"}).want(201)
	if us.str("rate") != "8.875" || us.str("state") != "NY" || us.str("postal_code_prefix") != "100" {
		t.Errorf("made %s", us.body)
	}
	for name, r := range map[string]*reply{
		"a number":         ann.post("/v1/tax-rates", m{"name": "x", "country": "DE", "rate": 19}),
		"below zero":       ann.post("/v1/tax-rates", m{"name": "x", "country": "DE", "rate": "-1"}),
		"too precise":      ann.post("/v1/tax-rates", m{"name": "x", "country": "DE", "rate": "1.00001"}),
		"too much":         ann.post("/v1/tax-rates", m{"name": "x", "country": "DE", "rate": "500.1"}),
		"no country":       ann.post("/v1/tax-rates", m{"name": "x", "rate": "1"}),
		"no such country":  ann.post("/v1/tax-rates", m{"name": "x", "country": "Germany", "rate": "1"}),
		"nothing to see":   ann.post("/v1/tax-rates", m{"name": " ", "country": "DE", "rate": "1"}),
		"patched too much": ann.patch(path, m{"rate": "501"}),
	} {
		if r.status != 422 {
			t.Errorf("%s: %d %s", name, r.status, r.body)
		}
	}

	if got := ann.get("/v1/tax-rates?country=DE&tax_class=reduced&include=total").want(200); got.len("data") != 1 || got.num("total") != 1 {
		t.Errorf("the filters find %s", got.body)
	}
	first := ann.get("/v1/tax-rates?limit=2").want(200)
	rest := ann.get("/v1/tax-rates?limit=2&cursor=" + first.str("next_cursor")).want(200)
	if first.len("data") != 2 || rest.len("data") != 1 || rest.str("data.0.id") != made.str("id") {
		t.Errorf("pages: %s %s", first.body, rest.body)
	}

	if got := ann.patch(path, m{"rate": "16"}, `If-Match: "1"`).want(200); got.str("rate") != "16" || got.num("version") != 2 {
		t.Errorf("patched: %s", got.body)
	}
	ann.patch(path, m{"rate": "19"}, `If-Match: "1"`).want(412)
	ann.patch(path, m{"tax_class": "reduced"}).want(409).code("tax_rate_taken")
	ann.delete(path, `If-Match: "1"`).want(412)
	ann.delete(path).want(204)
	ann.get(path).want(404)

	member.get("/v1/tax-rates").want(403)
	member.get("/v1/tax-settings").want(403)
	if rows := w.sql(`select type, previous from event_log where type like 'tax_rate.%' and subject_id = $1 order by id`, made.str("id")); len(rows) != 3 ||
		rows[1]["type"] != "tax_rate.updated" || rows[1]["previous"].(map[string]any)["rate"] != "19" {
		t.Errorf("the audit log says %v", rows)
	}
}

func TestTaxSettings(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann := w.person("ann").organization("Acme")
	def := ann.get("/v1/tax-settings").want(200)
	if def.at("prices_include_tax") != false || def.str("rounding") != "half_up" || def.str("rounding_scope") != "line" || def.str("shipping_tax_class") != "standard" || def.header("ETag") != `"0"` {
		t.Errorf("the defaults are %s", def.body)
	}
	set := ann.put("/v1/tax-settings", m{"prices_include_tax": true, "rounding_scope": "unit", "shipping_tax_class": ""}, `If-Match: "0"`).want(200)
	if set.at("prices_include_tax") != true || set.str("rounding_scope") != "unit" || set.str("shipping_tax_class") != "" || set.num("version") != 1 {
		t.Errorf("set: %s", set.body)
	}
	ann.put("/v1/tax-settings", m{}, `If-Match: "0"`).want(412).code("version_conflict")
	if got := ann.get("/v1/tax-settings").want(200); got.str("rounding_scope") != "unit" {
		t.Errorf("stored: %s", got.body)
	}
	ann.put("/v1/tax-settings", m{"rounding": "down"}).want(422)
	if got := ann.put("/v1/tax-settings", m{}).want(200); got.str("shipping_tax_class") != "standard" || got.num("version") != 2 {
		t.Errorf("back to the defaults: %s", got.body)
	}
	if got := ann.put("/v1/tax-settings", m{}).want(200); got.num("version") != 2 {
		t.Errorf("a change that changes nothing: %s", got.body)
	}
}
