package openapi

import (
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"

	"github.com/guildhall-dev/guildhall/api"
)

// Code is what the page of a problem's code says.
type Code struct {
	Name    string
	Status  int
	Meaning string
	Remedy  string // what to do next
}

var codeForm = regexp.MustCompile(`^[a-z][a-z0-9_]{0,99}$`)

// parseCode reads an entry of Op.Errors: "409 project_key_taken", or with what
// it means, "409 project_key_taken: Another project has this key."
func parseCode(s string) (Code, error) {
	head, text, _ := strings.Cut(s, ":")
	number, name, _ := strings.Cut(strings.TrimSpace(head), " ")
	status, err := strconv.Atoi(number)
	if err != nil || status < 400 || status > 599 || !codeForm.MatchString(name) {
		return Code{}, fmt.Errorf(`Errors holds %q, which is not of the form "409 project_key_taken: What it means."`, s)
	}
	return Code{Name: name, Status: status, Meaning: strings.TrimSpace(text)}, nil
}

// Codes are those that the kernel itself answers. A feature's own stand in the
// Errors of its operations.
func Codes() []Code {
	return []Code{
		{"bad_request", 400, "The request could not be read: it is not JSON, a key stands twice, a NUL character is in it, a cursor belongs to another list, or page and cursor stand together.", "Read detail for what is wrong, and send the request again in another form."},
		{"organization_required", 400, "The caller is a member of several organisations and named none.", "Send the header Guildhall-Organization with an id or a slug. GET /v1/organizations lists them."},
		{"unauthenticated", 401, "There is no valid access token or API key in the request. A token lives for 15 minutes, and ends with its session.", "Refresh the token at POST /v1/auth/refresh, or log in again. An API key may have been revoked."},
		{"invalid_credentials", 401, "The e-mail address and the password do not belong together.", "Check both, or ask for a new password. Which of the two is wrong is not said."},
		{"origin_not_allowed", 403, "A web page used a publishable key, and the key does not name the origin of the page.", "Add the origin, as the browser writes it, to allowed_origins of the key: PATCH /v1/storefront-keys/{storefront_key_id}."},
		{"permission_denied", 403, "The caller may see this, but not do that. The member permission names what is missing.", "Ask an administrator of the organisation for the permission, or use a key that has it. GET /v1/access/explain says which rule decides."},
		{"not_found", 404, "There is nothing at this address, or the caller may not see it. The two are not told apart.", "Check the id, and the organisation in Guildhall-Organization."},
		{"organization_not_found", 404, "No such organisation, or the caller is not a member of it, or the key belongs to another.", "GET /v1/organizations lists those that you may name."},
		{"method_not_allowed", 405, "The address exists, but not with this method.", "The header Allow lists the methods."},
		{"not_acceptable", 406, "None of the media types in Accept can be had.", "Ask for application/json."},
		{"request_timeout", 408, "The body did not arrive in time.", "Send it again."},
		{"idempotency_in_progress", 409, "A request with this Idempotency-Key is still running.", "Wait as long as Retry-After says, then send the same request again."},
		{"version_conflict", 412, "Somebody changed this since you read it. The member current is the row as it is now.", "Take over what changed, and send the change again with the new ETag in If-Match."},
		{"too_large", 413, "The body is larger than the operation takes.", "Send less at once."},
		{"unsupported_media_type", 415, "The body is not of a type that the operation takes.", "Send it as application/json in UTF-8; a PATCH may also be application/merge-patch+json."},
		{"validation_failed", 422, "The request was understood, but something in it is not acceptable. errors has one entry for each place.", "Correct what errors points at. Fields and parameters are spelt exactly as the reference says."},
		{"idempotency_mismatch", 422, "This Idempotency-Key was used before with another request.", "Use a fresh key for each intended effect."},
		{"rate_limited", 429, "Too many requests in a short time.", "Wait as long as Retry-After says. RateLimit tells beforehand what is left."},
		{"cancelled", 499, "The client went away before the answer was ready.", "Send the request again; with an Idempotency-Key it has one effect at most."},
		{"internal", 500, "Something went wrong on our side. Nothing was changed.", "Try again later. If it stays, tell the operator the request_id."},
		{"unavailable", 503, "The database does not answer, or the request took too long.", "Try again shortly; with an Idempotency-Key that is safe."},
	}
}

// meaning is the first sentence about a code, for examples.
func meaning(code string, status int) string {
	for _, c := range Codes() {
		if c.Name == code {
			first, _, _ := strings.Cut(c.Meaning, ". ")
			return strings.TrimSuffix(first, ".") + "."
		}
	}
	return fmt.Sprintf("%s: %s.", http.StatusText(status), strings.ReplaceAll(code, "_", " "))
}

// codeUse is a code with the operations that answer it.
type codeUse struct {
	Code
	Title      string
	Status     string
	Operations []api.Registered
}

// collect gathers the codes of the kernel and of all operations by name.
func collect(r *api.Router) map[string]*codeUse {
	all := map[string]*codeUse{}
	add := func(c Code) *codeUse {
		use := all[c.Name]
		if use == nil {
			use = &codeUse{Code: c, Title: sentence(c.Name), Status: statusLine(c.Status)}
			all[c.Name] = use
		}
		if use.Meaning == "" {
			use.Meaning = c.Meaning
		}
		return use
	}
	for _, c := range Codes() {
		add(c)
	}
	for _, op := range r.Operations() {
		for _, e := range op.Errors {
			if c, err := parseCode(e); err == nil {
				use := add(c)
				use.Operations = append(use.Operations, op)
			}
		}
	}
	for _, use := range all {
		if use.Meaning == "" {
			use.Meaning = byStatus(use.Code.Status)
		}
		if use.Remedy == "" {
			use.Remedy = "Read detail and errors in the answer: they say what stands in the way. Send the request again when that is out of it."
		}
	}
	return all
}

func byStatus(status int) string {
	switch status {
	case http.StatusConflict:
		return "The request contradicts what is there already, or the state it is in. Nothing was changed."
	case http.StatusUnprocessableEntity:
		return "The request was understood, but it breaks a rule of the thing that it is about. Nothing was changed."
	case http.StatusForbidden:
		return "The caller may see this, but not do that."
	}
	return "The request was refused. Nothing was changed."
}

func statusLine(status int) string {
	return strings.TrimSpace(fmt.Sprintf("%d %s", status, http.StatusText(status)))
}

func sentence(code string) string {
	words := strings.ReplaceAll(code, "_", " ")
	return strings.ToUpper(words[:1]) + words[1:]
}
