package main

import (
	"testing"
)

func TestProductsLifecycle(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann := w.person("ann").organization("Acme")

	made := ann.post("/v1/products", m{"name": "Linen shirt", "price": m{"amount": 4900}, "sku": "LS-1"}).want(201)
	path := "/v1/products/" + made.str("id")
	for field, want := range map[string]string{
		"slug": "linen-shirt", "status": "draft", "currency": "EUR", "price.currency": "EUR", "variants.0.sku": "LS-1",
		"variants.0.title": "Default", "tax_class": "standard",
	} {
		if got := made.str(field); got != want {
			t.Errorf("%s is %q, want %q", field, got, want)
		}
	}
	if made.num("price.amount") != 4900 || made.num("stock_quantity") != 0 || made.len("variants") != 1 {
		t.Errorf("made: %s", made.body)
	}
	if made.header("Location") != path || made.header("ETag") != `"1"` {
		t.Errorf("Location %q, ETag %q", made.header("Location"), made.header("ETag"))
	}
	if got := ann.get(path).want(200); string(got.body) != string(made.body) {
		t.Errorf("made %s\nread %s", made.body, got.body)
	}

	patched := ann.patch(path, m{"status": "active", "price": m{"amount": 4500, "currency": "EUR"}, "attributes": m{"color": "red", "organic": true, "weight": 1.5}}, `If-Match: "1"`).want(200)
	if patched.num("version") != 2 || patched.num("price.amount") != 4500 || patched.num("variants.0.version") != 2 || patched.str("attributes.color") != "red" {
		t.Errorf("patched: %s", patched.body)
	}
	stale := ann.patch(path, m{"name": "Old"}, `If-Match: "1"`).want(412).code("version_conflict")
	if stale.num("current.version") != 2 {
		t.Errorf("412 shows %s", stale.body)
	}
	if again := ann.patch(path, m{"name": "Linen shirt"}).want(200); again.num("version") != 2 {
		t.Errorf("a change that changes nothing made version %d", again.num("version"))
	}
	less := ann.patch(path, m{"attributes": m{"organic": nil}}).want(200)
	if less.at("attributes.organic") != nil || less.str("attributes.color") != "red" {
		t.Errorf("attributes are %s", less.body)
	}
	replaced := ann.put(path, m{"name": "Shirt"}).want(200)
	if replaced.str("slug") != "linen-shirt" || replaced.str("status") != "active" || replaced.num("price.amount") != 4500 || replaced.at("attributes.color") != nil {
		t.Errorf("replaced: %s", replaced.body)
	}

	variant := replaced.str("variants.0.id")
	ann.delete("/v1/variants/" + variant).want(409).code("product_needs_variant")
	ann.post("/v1/products", m{"name": "Other", "price": m{"amount": 1}, "sku": "ls-1"}).want(409).code("variant_sku_taken")
	ann.post("/v1/products", m{"name": "Other", "price": m{"amount": 1}, "slug": "linen-shirt"}).want(409).code("product_slug_taken")
	if got := ann.post("/v1/products", m{"name": "Linen  shirt!", "price": m{"amount": 1}}).want(201).str("slug"); got != "linen-shirt-2" {
		t.Errorf("the second slug is %q", got)
	}

	ann.delete(path, `If-Match: "1"`).want(412)
	ann.delete(path).want(204)
	ann.get(path).want(404).code("not_found")
	ann.get("/v1/variants/" + variant).want(404)
	ann.patch("/v1/variants/"+variant, m{"sku": "x"}).want(404)
	ann.delete(path).want(404)
	ann.post("/v1/products", m{"name": "Again", "price": m{"amount": 1}, "sku": "LS-1", "slug": "linen-shirt"}).want(201)
}
