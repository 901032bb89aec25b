package openapi

import (
	"reflect"

	"github.com/guildhall-dev/guildhall/api"
)

const about = `One API for an organisation's work and trade.

**Who calls.** Send an access token or an API key as ` + "`Authorization: Bearer`" + `. ` + "`Guildhall-Organization`" + ` chooses the
organisation by id or slug; it may be left out where a key is bound to one or a person has only one. Operations under ` + "`/v1/storefront`" + ` are for shops: they take a ` + "`Guildhall-Publishable-Key`" + ` and, where a
customer is logged in, the customer's access token.

**Errors** are problem documents (RFC 9457). ` + "`code`" + ` is stable and meant for programs; ` + "`type`" + ` is the address of a page about it.
A thing that does not exist and a thing that the caller may not see give the same 404.

**Lists** are ` + "`{data, next_cursor}`" + `. Pass ` + "`next_cursor`" + ` as ` + "`cursor`" + ` for the next page.

**Changes.** Every write but those of log-ins and passwords takes an ` + "`Idempotency-Key`" + `: the same request sent again within 72 hours has no second effect and gets
the stored answer. Rows with a ` + "`version`" + ` carry an ` + "`ETag`" + `; send it as ` + "`If-Match`" + ` to refuse a change of a newer version.
PATCH is a JSON merge patch: it sets the fields that it names.

**Limits.** ` + "`RateLimit`" + ` says what is left; after a 429 wait as long as ` + "`Retry-After`" + ` says.`

// head writes what the library cannot know: who publishes this, where it runs,
// the tags, and the components that every operation shares.
func (g *generator) head() {
	g.doc["info"] = object{
		"title": "Guildhall", "version": contractVersion, "description": about,
		"contact": object{"name": "The Guildhall project", "url": "https://github.com/guildhall-dev/guildhall"},
		"license": object{"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
	}
	g.doc["servers"] = []any{object{"url": "/", "description": "This installation (production).", "x-internal": false}}
	comp := sub(g.doc, "components")
	comp["securitySchemes"] = object{"bearer": object{
		"type": "http", "scheme": "bearer",
		"description": "An access token from /v1/auth/login, valid for 15 minutes, or an API key (ghk_…). In operations under /v1/storefront, a customer's access token from /v1/storefront/auth/login.",
	}, "publishableKey": object{
		"type": "apiKey", "in": "header", "name": "Guildhall-Publishable-Key",
		"description": "Says which organisation's shop it is (ghp_…). It is no secret: pages carry it. A browser may use it on the origins that it names.",
	}}
	comp["headers"], comp["parameters"], comp["responses"] = headers(), parameters(), object{}
	g.register(reflect.TypeFor[api.Problem](), "Problem")
	problem := g.resolve(ref("schemas", "Problem"))
	problem["description"] = "A problem document (RFC 9457). Some codes add members."
	problem["additionalProperties"] = true
	sub(problem, "properties")["permission"] = object{
		"type": "string", "maxLength": 100, "pattern": `^[a-z_]+(\.(read|write|manage)|:[a-z]+)$`, "examples": []any{"tasks.write"},
		"description": "With permission_denied: the permission that is missing, or what one would have to be to the thing itself: project:lead, comment:author.",
	}
	g.doc["webhooks"] = object{}
	if g.doc["paths"] == nil {
		g.doc["paths"] = object{}
	}
	g.declareTags()
}

// declareTags lists the features that have something to show, in order.
func (g *generator) declareTags() {
	docs := map[string]string{}
	used := map[string]bool{}
	for _, m := range g.tags {
		docs[m.Name] = m.Doc
		for _, e := range m.Events {
			used[m.Name] = used[m.Name] || !e.Internal
		}
	}
	for _, op := range g.router.Operations() {
		used[op.Tag] = true
	}
	tags := []any{}
	for _, name := range sorted(used) {
		if docs[name] == "" {
			g.fail("the feature %q has no Doc: the reference shows it above its operations", name)
		}
		if used[name] {
			tags = append(tags, object{"name": name, "description": docs[name]})
		}
	}
	g.doc["tags"] = tags
}

// asciiText are the characters of a header's value.
const asciiText = `^[\x20-\x7E]*$`

func headers() object {
	text := func(doc string, n int, example string) object {
		return object{"description": doc, "schema": object{
			"type": "string", "maxLength": n, "pattern": asciiText, "examples": []any{example},
		}}
	}
	return object{
		"RateLimit":        text("What is left of the tightest quota: its name, r requests, t seconds until one more.", 200, `"principal";r=998;t=1`),
		"RateLimit-Policy": text("The quota: its name, q requests within w seconds.", 200, `"principal";q=1000;w=5`),
		"Retry-After": object{"description": "Seconds to wait before the next try.", "schema": object{
			"type": "integer", "format": "int32", "minimum": 0, "maximum": 86400, "examples": []any{1},
		}},
		"X-Request-Id":                text("Names the request in the log; the client's own if it sent a fit one.", 100, "0198c1f2-7b1e-7c3a-9d52-3f4b8a6e1c07"),
		"Access-Control-Allow-Origin": text("The request's Origin, where the installation allows it.", 300, "https://shop.example.org"),
		"WWW-Authenticate":            text("How to authenticate.", 100, "Bearer"),
		"ETag":                        text("The version of the row, for If-Match.", 30, `"3"`),
		"Location":                    text("Path of the new row.", 500, "/v1/tasks/0198c1f2-7b1e-7c3a-9d52-3f4b8a6e1c07"),
		"Cache-Control":               text("How long the answer may be kept.", 100, "public, max-age=300"),
		"Link":                        text("The next page, as rel=\"next\" (RFC 8288); absent on the last one.", 5000, `</v1/tasks?cursor=eyJ>; rel="next"`),
		"Idempotency-Replayed":        text("\"true\" when the answer was stored by an earlier request with the same Idempotency-Key.", 5, "true"),
	}
}

func parameters() object {
	header := func(name, doc string, schema object) object {
		return object{"name": name, "in": "header", "description": doc, "required": false, "schema": schema}
	}
	return object{
		"Organization": header("Guildhall-Organization",
			"The organisation, by id or slug. May be left out where the key is bound to one or the person has only one.",
			object{"type": "string", "maxLength": 100, "pattern": asciiText}),
		"IdempotencyKey": header("Idempotency-Key",
			"A value of the client's choice, fresh for each intended effect. Sent again within 72 hours it answers what was answered before.",
			object{"type": "string", "minLength": 1, "maxLength": 255, "pattern": asciiText}),
		"IdempotencyKeyAnonymous": header("Idempotency-Key",
			"A UUID, fresh for each intended effect. Sent again within 72 hours it answers what was answered before.",
			object{"type": "string", "format": "uuid", "maxLength": 36}),
	}
}
