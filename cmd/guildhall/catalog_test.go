package main

import (
	"fmt"
	"strings"
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

func TestVariantsOfAProduct(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann := w.person("ann").organization("Acme")
	eur := func(n int) m { return m{"amount": n, "currency": "EUR"} }

	ann.post("/v1/products", m{"name": "Shirt"}).want(422)
	ann.post("/v1/products", m{"name": "Shirt", "price": eur(1), "options": []m{{"name": "Size", "values": []string{"S"}}}}).want(422)
	ann.post("/v1/products", m{"name": "Shirt", "price": m{"amount": 1, "currency": "XXY"}}).want(422)
	ann.post("/v1/products", m{"name": "Shirt", "currency": "USD", "price": eur(1)}).want(422)
	ann.post("/v1/products", m{"name": "Shirt", "price": m{"amount": -1}}).want(422)
	ann.post("/v1/products", m{"name": "Shirt", "price": m{"amount": 1_000_000_000_001}}).want(422)
	ann.post("/v1/products", m{"name": "Shirt", "price": eur(1), "publish_at": "2027-01-01T00:00:00Z", "unpublish_at": "2026-01-01T00:00:00Z"}).want(422)
	ann.post("/v1/products", m{"name": "Shirt", "price": eur(1), "attributes": m{"a": []string{"x"}}}).want(422)
	ann.post("/v1/products", m{"name": "Shirt", "price": eur(1), "image_urls": []string{"javascript:alert(1)"}}).want(422)

	sizes := []m{{"name": "Size", "values": []string{"S", "M", "L"}}, {"name": "Colour", "values": []string{"Red", "Blue"}}}
	ann.post("/v1/products", m{"name": "Shirt", "options": sizes, "variants": []m{{"price": eur(1), "options": m{"Size": "S"}}}}).want(422)
	ann.post("/v1/products", m{"name": "Shirt", "options": sizes, "variants": []m{
		{"price": eur(1), "options": m{"Size": "S", "Colour": "Red"}}, {"price": eur(1), "options": m{"size": "s", "colour": "RED"}},
	}}).want(409).code("variant_options_taken")
	made := ann.post("/v1/products", m{"name": "Shirt", "options": sizes, "variants": []m{
		{"price": eur(2000), "sku": "S-R", "options": m{"Size": "S", "Colour": "Red"}, "compare_at_price": eur(2500), "cost": eur(900)},
		{"price": eur(1500), "sku": "M-R", "options": m{"size": "m", "colour": "RED"}},
	}}).want(201)
	path := "/v1/products/" + made.str("id")
	if made.str("variants.1.options.Size") != "M" || made.str("variants.1.title") != "M / Red" || made.num("price.amount") != 1500 || made.num("variants.0.cost.amount") != 900 {
		t.Errorf("made %s", made.body)
	}
	ann.post("/v1/products", m{"name": "Other", "price": eur(1), "sku": "m-r"}).want(409).code("variant_sku_taken")

	third := ann.post(path+"/variants", m{"price": m{"amount": 1000}, "options": m{"Size": "L", "Colour": "Blue"}}).want(201)
	if third.header("Location") != "/v1/variants/"+third.str("id") || third.str("title") != "L / Blue" || third.num("position") != 3 || third.str("price.currency") != "EUR" {
		t.Errorf("added %s", third.body)
	}
	ann.post(path+"/variants", m{"price": m{"amount": 1000}, "options": m{"Size": "L", "Colour": "Blue"}}).want(409).code("variant_options_taken")
	if bad := ann.post(path+"/variants", m{"price": m{"amount": 1000, "currency": "USD"}, "options": m{"Size": "L", "Colour": "Red"}}).want(422); bad.str("errors.0.pointer") != "/price/currency" {
		t.Errorf("another currency: %s", bad.body)
	}
	if bad := ann.post(path+"/variants", m{"price": m{"amount": 1000}, "options": m{"Size": "XL", "Colour": "Red"}}).want(422); bad.str("errors.0.pointer") != "/options/Size" {
		t.Errorf("an unknown value: %s", bad.body)
	}
	if got := ann.get(path).want(200); got.num("version") != 2 || got.num("price.amount") != 1000 || got.len("variants") != 3 {
		t.Errorf("with the third: %s", got.body)
	}
	one := "/v1/variants/" + third.str("id")
	ann.patch(one, m{"price": m{"amount": 3000}, "position": 1}, `If-Match: "1"`).want(200)
	ann.patch(one, m{"sku": "x"}, `If-Match: "1"`).want(412).code("version_conflict")
	list := ann.get(path + "/variants?limit=2").want(200)
	if list.str("data.0.id") != third.str("id") || list.len("data") != 2 {
		t.Errorf("listed %s", list.body)
	}
	if rest := ann.get(path + "/variants?limit=2&cursor=" + list.str("next_cursor")).want(200); rest.len("data") != 1 || rest.str("data.0.sku") != "M-R" {
		t.Errorf("and then %s", rest.body)
	}

	// All at once: SKUs and options are swapped, one goes, one comes.
	was := ann.get(path).want(200)
	all := ann.patch(path, m{"options": []m{{"name": "Size", "values": []string{"S", "M"}}}, "variants": []m{
		{"id": was.str("variants.1.id"), "price": eur(1), "sku": "M-R", "options": m{"Size": "M"}},
		{"id": was.str("variants.2.id"), "price": eur(2), "sku": "S-R", "options": m{"Size": "S"}},
	}}).want(200)
	if all.len("variants") != 2 || all.str("variants.0.sku") != "M-R" || all.str("variants.1.sku") != "S-R" || all.str("variants.0.title") != "M" {
		t.Errorf("swapped: %s", all.body)
	}
	if read := ann.get(path).want(200); string(read.body) != string(all.body) {
		t.Errorf("answered %s\nread %s", all.body, read.body)
	}
	ann.get(one).want(404)
	ann.patch(path, m{"currency": "USD"}).want(422)
	ann.patch(path, m{"options": []m{}}).want(422)
	ann.patch(path, m{"price": eur(5)}).want(422)
	renamed := ann.patch(path, m{"options": []m{{"name": "Size", "values": []string{"S", "M", "XL"}}}}).want(200)
	if renamed.num("version") != all.num("version")+1 {
		t.Errorf("more values: %s", renamed.body)
	}
	ann.delete("/v1/variants/" + all.str("variants.0.id")).want(204)
	ann.delete("/v1/variants/" + all.str("variants.1.id")).want(409).code("product_needs_variant")

	w.settle()
	feed := ann.get("/v1/events?type=product.updated&limit=100").want(200)
	if feed.len("data") < 5 || feed.at("data.0.previous.variants") == nil {
		t.Errorf("the feed has %s", feed.body)
	}
}

func TestCategoriesAreATree(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann := w.person("ann").organization("Acme")
	make := func(name, parent string) *reply {
		body := m{"name": name}
		if parent != "" {
			body["parent_id"] = parent
		}
		return ann.post("/v1/categories", body).want(201)
	}
	clothes := make("Clothes", "").str("id")
	shirts := make("Shirts", clothes)
	linen := make("Linen Shirts", shirts.str("id"))
	tea := make("Tea", "").str("id")
	if shirts.header("Location") != "/v1/categories/"+shirts.str("id") || linen.str("path.1") != "shirts" || linen.str("slug") != "linen-shirts" {
		t.Errorf("made %s", linen.body)
	}
	if got := ann.get("/v1/categories?limit=3&include=total").want(200); len(got.keys("slug")) != 3 || got.keys("slug")[2] != "linen-shirts" || got.num("total") != 4 {
		t.Errorf("listed %s", got.body)
	} else if rest := ann.get("/v1/categories?limit=3&cursor=" + got.str("next_cursor")).want(200); len(rest.keys("slug")) != 1 || rest.keys("slug")[0] != "tea" {
		t.Errorf("and then %s", rest.body)
	}
	if got := ann.get("/v1/categories?parent_id=" + clothes).want(200).keys("slug"); len(got) != 1 || got[0] != "shirts" {
		t.Errorf("below clothes %q", got)
	}
	if got := ann.get("/v1/categories?parent_id=none").want(200).keys("slug"); len(got) != 2 {
		t.Errorf("at the top %q", got)
	}
	ann.post("/v1/categories", m{"name": "X", "slug": "tea"}).want(409).code("category_slug_taken")
	ann.patch("/v1/categories/"+clothes, m{"parent_id": linen.str("id")}).want(422)
	ann.patch("/v1/categories/"+clothes, m{"parent_id": clothes}).want(422)
	moved := ann.patch("/v1/categories/"+shirts.str("id"), m{"parent_id": tea, "position": 5}, `If-Match: "1"`).want(200)
	if moved.str("path.0") != "tea" || moved.num("version") != 2 {
		t.Errorf("moved %s", moved.body)
	}
	if got := ann.get("/v1/categories/" + linen.str("id")).want(200); got.str("path.0") != "tea" || got.num("version") != 1 {
		t.Errorf("moved with it %s", got.body)
	}
	ann.patch("/v1/categories/"+shirts.str("id"), m{"name": "x"}, `If-Match: "1"`).want(412)
	ann.delete("/v1/categories/" + tea).want(409).code("category_has_children")

	product := ann.post("/v1/products", m{"name": "P", "price": m{"amount": 1}, "category": "linen-shirts"}).want(201)
	if product.str("category_id") != linen.str("id") {
		t.Errorf("the product is %s", product.body)
	}
	for slug, want := range map[string]int{"tea": 1, "shirts": 1, "linen-shirts": 1, "clothes": 0, "nowhere": 0} {
		if got := ann.get("/v1/products?category=" + slug).want(200).len("data"); got != want {
			t.Errorf("category=%s lists %d, want %d", slug, got, want)
		}
	}
	ann.post("/v1/products", m{"name": "P", "price": m{"amount": 1}, "category": "nowhere"}).want(422)
	ann.post("/v1/products", m{"name": "P", "price": m{"amount": 1}, "category": "tea", "category_id": clothes}).want(422)
	ann.delete("/v1/categories/" + linen.str("id")).want(409).code("category_has_products")
	ann.patch("/v1/products/"+product.str("id"), m{"category": nil}).want(200)
	ann.delete("/v1/categories/" + linen.str("id")).want(204)
	ann.get("/v1/categories/" + linen.str("id")).want(404)

	at := tea
	for i := range 7 {
		at = make(fmt.Sprint("Level ", i), at).str("id")
	}
	ann.post("/v1/categories", m{"name": "Too deep", "parent_id": at}).want(422)
}

func TestProductsAreFilteredAndSorted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ann := w.person("ann").organization("Acme")
	for _, p := range []m{
		{"name": "b shirt", "price": m{"amount": 300}, "sku": "AAA-1", "tags": []string{"Summer", "sale"}, "brand": "Acme", "attributes": m{"color": "red", "size": 4}},
		{"name": "A shirt", "price": m{"amount": 100}, "tags": []string{"summer"}, "brand": "Other", "status": "active", "attributes": m{"color": "blue"}},
		{"name": "c 100% tea", "price": m{"amount": 200}, "sku": "bbb", "status": "active", "attributes": m{"organic": true}},
	} {
		ann.post("/v1/products", p).want(201)
	}
	for query, want := range map[string]string{
		"":                                       "c 100% tea,A shirt,b shirt",
		"sort=created_at":                        "b shirt,A shirt,c 100% tea",
		"sort=name":                              "A shirt,b shirt,c 100% tea",
		"sort=-name":                             "c 100% tea,b shirt,A shirt",
		"sort=price":                             "A shirt,c 100% tea,b shirt",
		"sort=-price":                            "b shirt,c 100% tea,A shirt",
		"sort=name&status=active":                "A shirt,c 100% tea",
		"sort=name&status=draft,archived":        "b shirt",
		"sort=name&search=SHIRT":                 "A shirt,b shirt",
		"sort=name&search=acme":                  "b shirt",
		"sort=name&search=aaa":                   "b shirt",
		"sort=name&search=0%25":                  "c 100% tea",
		"sort=name&price_min=200":                "b shirt,c 100% tea",
		"sort=name&price_max=200":                "A shirt,c 100% tea",
		"sort=name&price_min=150&price_max=250":  "c 100% tea",
		"sort=name&price_max=0":                  "",
		"sort=name&tag=summer":                   "A shirt,b shirt",
		"sort=name&tag=summer,SALE":              "b shirt",
		"sort=name&brand=acme,other":             "A shirt,b shirt",
		"sort=name&attribute=color:RED":          "b shirt",
		"sort=name&attribute=size:4":             "b shirt",
		"sort=name&attribute=organic:true":       "c 100% tea",
		"attribute=color:red&attribute=size:5":   "",
		"sort=name&in_stock=true":                "",
		"sort=name&in_stock=false&status=active": "A shirt,c 100% tea",
	} {
		got := ann.get("/v1/products?include=total&" + query).want(200)
		if names := strings.Join(got.keys("name"), ","); names != want || got.num("total") != int64(got.len("data")) {
			t.Errorf("%s: %s, total %d; want %s", query, names, got.num("total"), want)
		}
		// The same in pages of one.
		var walked []string
		for cursor := ""; ; {
			page := ann.get("/v1/products?limit=1&" + query + cursor).want(200)
			walked = append(walked, page.keys("name")...)
			if page.at("next_cursor") == nil {
				break
			}
			cursor = "&cursor=" + page.str("next_cursor")
		}
		if strings.Join(walked, ",") != want {
			t.Errorf("%s in pages of one: %q, want %s", query, walked, want)
		}
	}
	ann.get("/v1/products?attribute=Color").want(422)
	ann.get("/v1/products?sort=color").want(422)
}
