package openapi

import (
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"

	"github.com/guildhall-dev/guildhall/api"
)

// operations completes every operation: its words, its parameters, its answers.
func (g *generator) operations() {
	for _, op := range g.router.Operations() {
		doc := g.operation(op)
		doc["description"] = describe(op)
		doc["x-access"] = accessName(op)
		if len(op.Emits) > 0 {
			doc["x-emits"] = emitted(op.Emits)
		}
		if op.Audited {
			doc["x-audited"] = true
		}
		g.parameters(op, doc)
		responses := sub(doc, "responses")
		if op.Out != reflect.TypeFor[api.Raw]() {
			delete(responses, "default")
		}
		g.success(op, responses)
		for status, codes := range g.codesOf(op) {
			responses[fmt.Sprint(status)] = g.problem(op, status, codes)
		}
	}
}

func accessName(op api.Registered) string {
	switch op.Access {
	case api.Public:
		return "public"
	case api.SignedIn:
		return "signed-in"
	case api.Storefront:
		return "storefront"
	}
	return "organization"
}

func describe(op api.Registered) string {
	text := strings.TrimSuffix(op.Doc, ".") + "."
	switch {
	case !op.Can.IsZero():
		text += fmt.Sprintf("\n\nNeeds the permission `%s`.", op.Can.Key)
	case op.Access == api.Public:
		text += "\n\nNeeds no log-in."
	case op.Access == api.SignedIn:
		text += "\n\nNeeds a log-in, but no organisation."
	case op.CustomersOnly:
		text += "\n\nNeeds the shop's publishable key and a customer's log-in."
	case op.LogIn:
		text += "\n\nNeeds the shop's publishable key."
	case op.Access == api.Storefront:
		text += "\n\nNeeds the shop's publishable key; a customer's log-in is taken along."
	default:
		text += "\n\nOpen to every member of the organisation."
	}
	if names := emitted(op.Emits); len(names) > 0 {
		text += " Emits"
		for i, n := range names {
			if i > 0 {
				text += ","
			}
			text += fmt.Sprintf(" `%s`", n)
		}
		text += "."
	}
	if op.Audited {
		text += " Each call leaves a trace in the audit log."
	}
	return text
}

// parameters describes the parameters of the input and adds those that the
// kernel reads itself.
func (g *generator) parameters(op api.Registered, doc object) {
	list, _ := doc["parameters"].([]any)
	for _, p := range list {
		param, _ := p.(object)
		schema := sub(param, "schema")
		if param["description"] == "" || param["description"] == nil {
			param["description"] = schema["description"]
		}
		if name, ok := strings.CutSuffix(fmt.Sprint(param["name"]), "_id"); ok && param["description"] == nil && param["in"] == "path" {
			param["description"] = "Id of the " + strings.ReplaceAll(name, "_", " ") + "."
		}
		if param["description"] == nil {
			g.fail("%s has no description: add doc:\"…\" to its tag", paramField(op.In, param))
		}
		delete(schema, "description")
	}
	if op.Access == api.InOrganization {
		list = append(list, ref("parameters", "Organization"))
	}
	if op.Write && (op.Access == api.Public || op.Access == api.Storefront && !op.CustomersOnly) {
		list = append(list, ref("parameters", "IdempotencyKeyAnonymous"))
	} else if op.Write {
		list = append(list, ref("parameters", "IdempotencyKey"))
	}
	if len(list) > 0 {
		doc["parameters"] = list
	}
}

func implements[I any](t reflect.Type) bool { return t != nil && t.Implements(reflect.TypeFor[I]()) }

func versioned(op api.Registered) bool { return implements[api.Versioned](op.Out) }

// success completes the answers that are no problem.
func (g *generator) success(op api.Registered, responses object) {
	first := ""
	for _, status := range sorted(responses) {
		res := sub(responses, status)
		names := []string{}
		if versioned(op) {
			names = append(names, "ETag")
		}
		if status == "201" && implements[api.Located](op.Out) {
			names = append(names, "Location")
		}
		if implements[interface{ Next() *string }](op.Out) {
			names = append(names, "Link")
		}
		if op.Write {
			names = append(names, "Idempotency-Replayed")
		}
		if implements[api.Cached](op.Out) {
			names = append(names, "Cache-Control")
		}
		if op.ContentType != "" {
			res["content"] = object{op.ContentType: object{"schema": object{
				"type": "string", "maxLength": 1 << 30, "pattern": noNUL, "description": "Sent piece by piece.",
			}}}
		}
		res["headers"] = headerRefs(names...)
		first = status
	}
	g.otherStatuses(op, responses, first)
}

// otherStatuses repeats the answer under the further statuses that its type
// may choose.
func (g *generator) otherStatuses(op api.Registered, responses object, first string) {
	if op.Out == nil || first == "" {
		return
	}
	more, ok := reflect.New(op.Out).Interface().(interface{ ResponseStatuses() []int })
	if !ok {
		if implements[interface{ ResponseStatus() int }](op.Out) {
			g.fail("%s chooses its status: let it say which there are with ResponseStatuses() []int", op.Out)
		}
		return
	}
	for _, status := range more.ResponseStatuses() {
		key := fmt.Sprint(status)
		if key == first {
			continue
		}
		responses[key] = object{
			"description": http.StatusText(status), "headers": sub(responses, first)["headers"], "content": sub(responses, first)["content"],
		}
	}
}

// headerRefs are the headers of every answer and the named ones.
func headerRefs(names ...string) object {
	out := object{}
	for _, n := range append(names, "RateLimit", "RateLimit-Policy", "X-Request-Id", "Access-Control-Allow-Origin") {
		out[n] = ref("headers", n)
	}
	return out
}

// codesOf are the codes that an operation may answer, by status: those that
// follow from what it is, then those that its literal names.
func (g *generator) codesOf(op api.Registered) map[int][]string {
	_, hasBody := op.In.FieldByName("Body")
	_, hasVersion := fieldOfType[api.IfMatch](op.In)
	inOrg, public, shop := op.Access == api.InOrganization, op.Access == api.Public, op.Access == api.Storefront
	codes := map[int][]string{}
	add := func(when bool, status int, code string) {
		if when && !slices.Contains(codes[status], code) {
			codes[status] = append(codes[status], code)
		}
	}
	add(true, 400, "bad_request")
	add(inOrg, 400, "organization_required")
	add(true, 401, "unauthenticated")
	add(!public && !shop, 403, "permission_denied")
	add(shop, 403, "origin_not_allowed")
	add(strings.Contains(op.Route, "{"), 404, "not_found")
	add(inOrg, 404, "organization_not_found")
	add(op.Write, 409, "idempotency_in_progress")
	add(hasVersion, 412, "version_conflict")
	add(hasBody || api.TakesRaw(op.In), 413, "too_large")
	add(hasBody, 415, "unsupported_media_type")
	add(true, 422, "validation_failed")
	add(op.Write, 422, "idempotency_mismatch")
	add(true, 429, "rate_limited")
	add(true, 500, "internal")
	add(true, 503, "unavailable")
	for _, e := range op.Errors {
		c, err := parseCode(e)
		if err != nil {
			g.fail("operation %s: %v", op.ID, err)
			continue
		}
		add(true, c.Status, c.Name)
	}
	return codes
}

func fieldOfType[T any](t reflect.Type) (reflect.StructField, bool) {
	for _, f := range reflect.VisibleFields(t) {
		if f.Type == reflect.TypeFor[T]() {
			return f, true
		}
	}
	return reflect.StructField{}, false
}

// problem returns a reference to the response of a status with these codes;
// operations that answer alike share it.
func (g *generator) problem(op api.Registered, status int, codes []string) object {
	name := ""
	for i, c := range codes {
		if i > 0 {
			name += "Or"
		}
		name += camel(c)
	}
	schema := ref("schemas", "Problem")
	if row, ok := g.currentRow(op, status); ok {
		row = strings.TrimPrefix(row, schemaPrefix)
		name += "Of" + row
		schema = object{"allOf": []any{schema, object{"type": "object", "properties": object{
			"current": object{"$ref": schemaPrefix + row, "description": "The row as it is now."},
		}}}}
	}
	name = shorten(name)
	if g.components("responses")[name] != nil {
		return ref("responses", name)
	}
	examples, list := object{}, []any{}
	for _, c := range codes {
		list = append(list, c)
		examples[c] = object{"summary": c, "value": problemExample(status, c)}
	}
	names := []string{}
	switch {
	case status == 401:
		names = append(names, "WWW-Authenticate")
	case status == 429, status == 503, slices.Contains(codes, "idempotency_in_progress"):
		names = append(names, "Retry-After")
	}
	g.components("responses")[name] = object{
		"description": fmt.Sprintf("%s: `%s`.", http.StatusText(status), strings.Join(codes, "`, `")),
		"headers":     headerRefs(names...),
		"content":     object{problemType: object{"schema": schema, "examples": examples}},
		"x-codes":     list,
	}
	return ref("responses", name)
}

const problemType = "application/problem+json"

// shorten keeps the name of a response with very many codes usable.
func shorten(name string) string {
	if len(name) <= 120 {
		return name
	}
	return name[:100] + "-" + digest(name)[:8]
}

// currentRow names the schema of the row that a 412 carries.
func (g *generator) currentRow(op api.Registered, status int) (string, bool) {
	if status != http.StatusPreconditionFailed || !versioned(op) {
		return "", false
	}
	for code, r := range sub(g.operation(op), "responses") {
		content, _ := g.resolve(r.(object))["content"].(object)
		media, _ := content["application/json"].(object)
		schema, _ := media["schema"].(object)
		if target, ok := schema["$ref"].(string); ok && code[0] == '2' {
			return target, true
		}
	}
	return "", false
}

func problemExample(status int, code string) object {
	return object{
		"type": "/docs/errors/" + code, "title": http.StatusText(status), "status": status, "detail": meaning(code, status),
		"code": code, "request_id": "0198c1f2-7b1e-7c3a-9d52-3f4b8a6e1c07",
	}
}
