package webhooks

import (
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/event"
	"github.com/guildhall-dev/guildhall/internal/date"
	"github.com/guildhall-dev/guildhall/internal/expr"
	"github.com/guildhall-dev/guildhall/internal/fault"
)

// EndpointSettings are what a caller may say about an endpoint beside its
// address, at creation and later alike. It is exported because it is embedded
// in bodies.
type EndpointSettings struct {
	Description    api.Optional[string]       `json:"description" required:"false" maxLength:"500" example:"Warehouse sync" doc:"What it is for."`
	EventTypes     api.Optional[[]string]     `json:"event_types" required:"false" maxItems:"100" minLength:"1" maxLength:"100" example:"[\"task.created\",\"comment.*\"]" doc:"Exact types, or all of a noun such as task.*; empty, as at first, is every public event."`
	Filter         api.Optional[string]       `json:"filter" required:"false" maxLength:"2000" doc:"A CEL condition on the variable event; empty, as at first, lets every event of the types through."`
	Headers        api.Optional[headerValues] `json:"headers" required:"false"`
	Enabled        api.Optional[bool]         `json:"enabled" required:"false" doc:"Whether it is sent to, as it is at first. What happens meanwhile is held back, and can be replayed."`
	Ordering       api.Optional[string]       `json:"ordering" required:"false" enum:"none,by_subject" doc:"by_subject sends the events of one subject one after the other: a later one waits until the earlier is delivered or given up. At first none."`
	Payload        api.Optional[string]       `json:"payload" required:"false" enum:"full,thin" doc:"thin leaves out data and previous, and gives an address to fetch them. At first full."`
	Envelope       api.Optional[string]       `json:"envelope" required:"false" enum:"standard,cloudevents" doc:"The form of the body. At first standard."`
	Signature      api.Optional[string]       `json:"signature" required:"false" enum:"v1,v1a,both" doc:"v1 is an HMAC under the endpoint's secret, v1a an Ed25519 signature by the organisation's key. At first v1."`
	IncludePrivate api.Optional[bool]         `json:"include_private" required:"false" doc:"Whether events of private projects are sent too, which needs the permission projects.manage. At first not."`
	RateLimit      api.Optional[int]          `json:"rate_limit" required:"false" nullable:"true" minimum:"1" maximum:"10000" doc:"Attempts per second at most; null, as at first, is no limit."`
	MaxInFlight    api.Optional[int]          `json:"max_in_flight" required:"false" nullable:"true" minimum:"1" maximum:"100" doc:"Attempts at the same time at most; null, as at first, adapts to the endpoint."`
	TimeoutSeconds api.Optional[int]          `json:"timeout_seconds" required:"false" minimum:"1" maximum:"30" doc:"How long an attempt may take. At first 15."`
	RetrySchedule  api.Optional[[]int]        `json:"retry_schedule" required:"false" nullable:"true" minItems:"1" maxItems:"20" minimum:"0" maximum:"86400" doc:"Seconds to wait before each attempt after the first; null, as at first, is the default plan of ten retries over 76 hours."`
	SchemaDate     api.Optional[date.Date]    `json:"schema_date" required:"false" doc:"Events come in the versions of their schemas that were current on this day: at first the day of creation."`
}

// apply sets what the caller named, save for the headers.
func (s EndpointSettings) apply(e *Endpoint) {
	s.Description.Set(&e.Description)
	s.EventTypes.Set(&e.EventTypes)
	s.Filter.Set(&e.Filter)
	s.Enabled.Set(&e.Enabled)
	s.Ordering.Set(&e.Ordering)
	s.Payload.Set(&e.Payload)
	s.Envelope.Set(&e.Envelope)
	s.Signature.Set(&e.Signature)
	s.IncludePrivate.Set(&e.IncludePrivate)
	s.RateLimit.SetPtr(&e.RateLimit)
	s.MaxInFlight.SetPtr(&e.MaxInFlight)
	s.TimeoutSeconds.Set(&e.TimeoutSeconds)
	if s.RetrySchedule.Present {
		e.RetrySchedule = s.RetrySchedule.Value // nil where it was null
	}
	s.SchemaDate.Set(&e.SchemaDate)
}

// check refuses what the form of the fields does not tell: types that no event
// has, a filter that does not compile, headers of ours.
func (s *EndpointSettings) check(types []*event.Type) error {
	if err := checkEventTypes(types, s.EventTypes.Value); err != nil {
		return err
	}
	s.EventTypes.Value = withoutRepeats(s.EventTypes.Value)
	if src := s.Filter.Value; strings.TrimSpace(src) == "" {
		s.Filter.Value = ""
	} else if _, err := expr.Compile(src); err != nil {
		return fault.Invalidf("/filter", "%s", clip(err.Error(), 900))
	}
	return s.Headers.Value.check()
}

func withoutRepeats(types []string) []string {
	out := []string{}
	for _, t := range types {
		if !slices.Contains(out, t) {
			out = append(out, t)
		}
	}
	return out
}

// checkEventTypes refuses a name that matches no public event, and says which
// one may have been meant.
func checkEventTypes(public []*event.Type, names []string) error {
	known := selectors(public)
	for i, n := range names {
		if _, ok := slices.BinarySearch(known, n); !ok && !ofFamily(public, n) {
			return unknownType(fmt.Sprintf("/event_types/%d", i), n, known)
		}
	}
	return nil
}

// ofFamily reports whether a name is one of a family of types, or one with a star
// at its end that stands for some of it: "plugin.chat.*".
func ofFamily(public []*event.Type, name string) bool {
	example := strings.TrimSuffix(name, "*")
	if example != name {
		example += "x"
	}
	return slices.ContainsFunc(public, func(t *event.Type) bool {
		if t.Family == "" {
			return false
		}
		ok, err := regexp.MatchString(t.Family, example)
		return ok && err == nil
	})
}

// selectors are the names that an endpoint may list, sorted: each public type,
// each noun with a star, and the star alone.
func selectors(public []*event.Type) []string {
	out := []string{"*"}
	for _, t := range public {
		if t.Family == "" { // no event has the name of a family
			out = append(out, t.Name)
		}
		out = append(out, t.Subject+".*")
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// publicType finds the public type of that very name.
func publicType(public []*event.Type, pointer, name string) (*event.Type, error) {
	known := []string{}
	for _, t := range public {
		if t.Name == name {
			return t, nil
		}
		known = append(known, t.Name)
	}
	return nil, unknownType(pointer, name, known)
}

func unknownType(pointer, name string, known []string) error {
	if near := nearest(name, known); near != "" {
		return fault.Invalidf(pointer, "no public event is named %q; did you mean %q?", name, near)
	}
	return fault.Invalidf(pointer, "no public event is named %q; GET /v1/event-types lists them", name)
}

// nearest is the known name that takes the fewest changes of a letter, or ""
// where none is near.
func nearest(name string, known []string) string {
	best, least := "", max(2, len(name)/3)+1
	for _, k := range known {
		if d := distance(name, k); d < least {
			best, least = k, d
		}
	}
	return best
}

// distance is Levenshtein's.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, diagonal+1, row[j]+1)
		}
	}
	return row[len(b)]
}

// headerValues are custom headers as a client sets them: names with values, or
// with null to take one away.
type headerValues map[string]*string

const (
	headersMost     = 20
	headerNameMost  = 100
	headerValueMost = 2000
)

// Schema describes the object.
func (headerValues) Schema(huma.Registry) *huma.Schema {
	least, most, count := 1, headerValueMost, headersMost
	value := &huma.Schema{Type: huma.TypeString, Nullable: true, MinLength: &least, MaxLength: &most, Pattern: headerText}
	value.PrecomputeMessages() // else its pattern is not held
	return &huma.Schema{
		Type: huma.TypeObject, MaxProperties: &count,
		Description: "Headers that go along with every delivery, up to 20 in all. Values are never shown again. In a change, the names that it holds are set, null takes one away, the others stay. " +
			"Reserved are webhook-…, content-…, proxy-…, host, connection, keep-alive, transfer-encoding, te, trailer, upgrade, expect, user-agent, date, cookie and idempotency-key.",
		AdditionalProperties: value,
		Examples:             []any{map[string]any{"Authorization": "Bearer 4f1c0d9e"}},
	}
}

// headerText is visible ASCII, with single spaces or tabs only within: others
// are read in different ways along the path, or not at all.
const headerText = `^[!-~]([ \t!-~]*[!-~])?$`

// reservedHeaders are those that the sender sets, that belong to the
// connection, or that would make a delivery look like another request. Cookie
// is among them because it carries a browser's session: a secret of the
// receiver belongs into Authorization or a header of its own. Idempotency-Key tells the transport
// that a request may be repeated, which the sender decides.
var reservedHeaders = map[string]bool{
	"Host": true, "Connection": true, "Keep-Alive": true, "Transfer-Encoding": true, "Te": true, "Trailer": true,
	"Upgrade": true, "Expect": true, "User-Agent": true, "Date": true, "Cookie": true, "Idempotency-Key": true,
}

var reservedPrefixes = []string{"Webhook-", "Content-", "Proxy-"}

func (h headerValues) check() error {
	seen := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(h)) {
		at := "/headers/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(name)
		canonical := http.CanonicalHeaderKey(name)
		switch {
		case len(name) > headerNameMost || !isToken(name):
			return fault.Invalidf("/headers", "%s is not the name of a header: expected 1 to %d letters, digits and hyphens", strconv.Quote(clip(name, 60)), headerNameMost)
		case reservedHeaders[canonical] || slices.ContainsFunc(reservedPrefixes, func(p string) bool { return strings.HasPrefix(canonical, p) }):
			return fault.Invalidf(at, "the header %s is reserved", canonical)
		case seen[canonical]:
			return fault.Invalidf(at, "the header %s stands twice; upper and lower case are the same", canonical)
		}
		seen[canonical] = true
	}
	return nil
}

// clip shortens what a message quotes.
func clip(s string, n int) string {
	if len(s) > n {
		return strings.ToValidUTF8(s[:n], "") + "…"
	}
	return s
}

// isToken reports whether s is a field name by RFC 9110.
func isToken(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("!#$%&'*+-.^_`|~", r)
	})
}

// mergeHeaders sets and takes away; names come in canonical form. It reports
// whether anything changed.
func mergeHeaders(was map[string]string, change headerValues) (now map[string]string, changed bool, err error) {
	now = maps.Clone(was)
	if now == nil {
		now = map[string]string{}
	}
	for name, value := range change {
		canonical := http.CanonicalHeaderKey(name)
		old, had := now[canonical]
		switch {
		case value == nil:
			delete(now, canonical)
			changed = changed || had
		case !had || old != *value:
			now[canonical] = *value
			changed = true
		}
	}
	if len(now) > headersMost {
		return nil, false, fault.Invalidf("/headers", "an endpoint has %d headers at most", headersMost)
	}
	return now, changed, nil
}

// namesOf are the names of headers, sorted; never nil.
func namesOf(headers map[string]string) []string {
	names := slices.AppendSeq(make([]string, 0, len(headers)), maps.Keys(headers))
	slices.Sort(names)
	return names
}
