package main

import (
	"maps"
	"strings"

	"github.com/guildhall-dev/guildhall/api"
)

// seeded is an organisation with one of everything.
type seeded struct {
	owner     *client
	ids       map[string]string // by ref kind
	emptyRole string            // key of a role without permissions
	shopper   *client           // with a publishable key
	customer  *client           // who has one of each that a customer can have
	owned     map[string]string // those of ids that only this customer sees in the shop
}

// seedOrganization makes an organisation with one thing of each kind that an
// operation can name. A kind that is new to the product gets its line here.
func seedOrganization(w *world, name string) seeded {
	w.t.Helper()
	owner := w.person("owner-" + name).organization(strings.ToUpper(name))
	member := w.join(owner, w.person("member-"+name), "member")
	s := seeded{owner: owner, owned: map[string]string{}, ids: map[string]string{"organization": owner.org, "user": member.user}}
	role := owner.post("/v1/roles", m{"key": "nothing_" + name, "name": "Nothing", "permissions": []string{}}).want(201)
	s.emptyRole = role.str("key")
	s.ids["role"] = role.str("id")
	s.ids["api_key"] = owner.post("/v1/api-keys", m{"name": "k", "permissions": []string{"tasks.read"}}).want(201).str("id")
	s.ids["invitation"] = owner.post("/v1/invitations", m{"email": "later@example.test", "role": "member"}).want(201).str("id")
	s.ids["session"] = owner.get("/v1/users/me/sessions").want(200).str("data.0.id")
	project := owner.post("/v1/projects", m{"name": "Open " + name}).want(201).str("id")
	for kind, v := range seedWork(owner, project) {
		s.ids[kind] = v
	}
	for kind, v := range seedCatalog(owner) {
		s.ids[kind] = v
	}
	s.ids["stock_location"] = seedStock(owner, s.ids["variant"])
	s.ids["product_import"] = strings.TrimPrefix(owner.post("/v1/products/imports", "name,price\nMug,9.90\n").want(202).str("result_url"), "/v1/product-imports/")
	maps.Copy(s.ids, seedRates(owner))
	s.ids["operation"] = owner.post("/v1/audit-log/integrity-checks", nil).want(202).str("id")
	// Paused: its address is somebody's.
	s.ids["webhook_endpoint"] = owner.post("/v1/webhook-endpoints", m{"url": "https://example.com/hooks/" + name, "enabled": false}).want(201).str("id")
	source := owner.post("/v1/inbound-sources", m{"name": "Shop", "kind": "standard_webhooks"}).want(201)
	s.ids["inbound_source"] = source.str("id")
	s.ids["inbound_message"] = sendStandard(w, source, "seed", `{"type": "order.paid"}`).want(201).str("id")
	s.ids["plugin_installation"] = w.installProbe(owner, nil)
	s.seedShop()
	s.seedOrders()
	w.settle()
	s.ids["event"] = owner.get("/v1/events").want(200).str("data.0.id")
	s.ids["webhook_delivery"] = owner.get("/v1/webhook-endpoints/" + s.ids["webhook_endpoint"] + "/deliveries").want(200).str("data.0.id")
	s.ids["state"] = "review"
	return s
}

// seedRates makes what is added to prices, where nobody else sends anything.
func seedRates(c *client) map[string]string {
	zone := c.post("/v1/shipping-zones", m{"name": "Iceland", "countries": []string{"IS"}}).want(201).str("id")
	return map[string]string{
		"tax_rate":        c.post("/v1/tax-rates", m{"name": "VAT", "country": "IS", "rate": "24"}).want(201).str("id"),
		"shipping_zone":   zone,
		"shipping_method": c.post("/v1/shipping-zones/"+zone+"/methods", m{"name": "Standard", "kind": "flat", "currency": "ISK", "amount": 990}).want(201).str("id"),
	}
}

// seedShop makes a shop with a customer. What a customer has and other customers
// must not find gets its line in owned too.
func (s *seeded) seedShop() {
	key := s.owner.post("/v1/storefront-keys", m{"name": "Shop", "allowed_origins": []string{"https://shop.example"}}).want(201)
	s.ids["storefront_key"] = key.str("id")
	s.shopper = &client{w: s.owner.w, key: key.str("key")}
	s.customer = s.shopper.customer("ann@example.test")
	s.ids["customer"] = s.customer.user
	s.owned["customer_address"] = s.customer.post("/v1/storefront/customers/me/addresses", m{"address": anAddress}).want(201).str("id")
	maps.Copy(s.ids, s.owned)
}

// as returns who may call an operation at all.
func (s seeded) as(op api.Registered) *client {
	if op.Access == api.Storefront {
		return s.customer
	}
	return s.owner
}

// anAddress is one where things can be sent.
var anAddress = m{"name": "Ann Example", "line1": "1 High Street", "city": "Berlin", "postal_code": "10115", "country": "DE"}

// seedWork makes a task with a label and a comment in a project.
func seedWork(c *client, project string) map[string]string {
	task := c.post("/v1/projects/"+project+"/tasks", m{"title": "A task", "labels": []string{"red"}}).want(201).str("id")
	comment := c.post("/v1/tasks/"+task+"/comments", m{"body": "A comment"}).want(201).str("id")
	label := c.get("/v1/labels?project_id=" + project).want(200).str("data.0.id")
	return map[string]string{"project": project, "task": task, "comment": comment, "label": label}
}

// seedCatalog makes a product in a category, a price list and a collection.
func seedCatalog(c *client) map[string]string {
	category := c.post("/v1/categories", m{"name": "Shirts"}).want(201).str("id")
	product := c.post("/v1/products", m{"name": "Shirt", "status": "active", "price": m{"amount": 4900}, "category_id": category}).want(201)
	list := c.post("/v1/price-lists", m{"name": "Wholesale", "currency": "EUR"}).want(201).str("id")
	collection := c.post("/v1/collections", m{"name": "Shirts", "rule": m{"category": "shirts"}}).want(201).str("id")
	return map[string]string{"category": category, "product": product.str("id"), "variant": product.str("variants.0.id"), "price_list": list, "collection": collection}
}

// seedStock puts a variant into stock.
func seedStock(c *client, variant string) string {
	return c.post("/v1/stock-movements", m{"variant_id": variant, "quantity": 50, "reason": "received"}).want(201).str("location_id")
}

// seedOrders makes a cart and an order of the customer, with a parcel.
func (s *seeded) seedOrders() {
	cart := s.customer.cart(s.ids["variant"], 1)
	s.owned["cart"], s.owned["cart_line"] = cart.str("id"), cart.str("lines.0.id")
	order := s.customer.completed(s.customer.cart(s.ids["variant"], 2).str("id")).want(201)
	s.owned["order"] = order.str("order.id")
	s.ids["order_line"] = order.str("order.lines.0.id")
	s.ids["fulfilment"] = s.owner.post("/v1/orders/"+s.owned["order"]+"/fulfilments", m{}).want(201).str("id")
	maps.Copy(s.ids, s.owned)
}

// seedPrivate makes the same in a project that only its owner sees.
func seedPrivate(w *world, s seeded) map[string]string {
	w.t.Helper()
	project := s.owner.post("/v1/projects", m{"name": "Hidden", "visibility": "private"}).want(201).str("id")
	ids := seedWork(s.owner, project)
	w.settle()
	for _, e := range s.owner.get("/v1/events?limit=200").want(200).at("data").([]any) {
		subject := e.(map[string]any)["subject"].(map[string]any)
		if subject["id"] == ids["task"] {
			ids["event"] = e.(map[string]any)["id"].(string)
		}
	}
	return ids
}
