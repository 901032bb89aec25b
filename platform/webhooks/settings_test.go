package webhooks

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/guildhall-dev/guildhall/event"
	"github.com/guildhall-dev/guildhall/internal/fault"
)

func publicTypes() []*event.Type {
	return []*event.Type{
		{Name: "task.created", Subject: "task"}, {Name: "task.updated", Subject: "task"}, {Name: "comment.created", Subject: "comment"},
		{Name: "webhook_endpoint.secret_rotated", Subject: "webhook_endpoint"},
	}
}

func TestEventTypesAreThoseOfTheCatalogue(t *testing.T) {
	t.Parallel()
	for _, good := range [][]string{nil, {"*"}, {"task.created", "comment.*"}, {"webhook_endpoint.secret_rotated"}} {
		if err := checkEventTypes(publicTypes(), good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for name, says := range map[string]string{
		"task.craeted":  `did you mean "task.created"?`,
		"tasks.created": `did you mean "task.created"?`,
		"tsk.*":         `did you mean "task.*"?`,
		"Task.created":  `did you mean "task.created"?`,
		"task":          `did you mean "task.*"?`,
		"order.placed":  "GET /v1/event-types lists them",
		"task.create*":  `did you mean`,
		"**":            `did you mean "*"?`,
		"":              "GET /v1/event-types lists them",
	} {
		f := fault.As(checkEventTypes(publicTypes(), []string{"task.created", name}))
		if f == nil || f.Fields[0].Pointer != "/event_types/1" || name != "" && !strings.Contains(f.Fields[0].Message, says) {
			t.Errorf("%q: %v, want one that says %s", name, f, says)
		}
	}
}

func TestDistanceIsAMetric(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.StringMatching(`[ab.]{0,8}`)
		a, b, c := word.Draw(t, "a"), word.Draw(t, "b"), word.Draw(t, "c")
		ab := distance(a, b)
		switch {
		case (ab == 0) != (a == b), ab != distance(b, a), ab > distance(a, c)+distance(c, b):
			t.Fatalf("distance(%q, %q) = %d", a, b, ab)
		case ab > max(len(a), len(b)), ab < max(len(a), len(b))-min(len(a), len(b)):
			t.Fatalf("distance(%q, %q) = %d is out of bounds", a, b, ab)
		}
	})
}

func TestReservedHeadersAreRefused(t *testing.T) {
	t.Parallel()
	v := "x"
	for _, name := range []string{"Authorization", "X-Api-Key", "x-webhook-token", "Accept", "Tenant"} {
		if err := (headerValues{name: &v}).check(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{
		"webhook-id", "Webhook-Signature", "WEBHOOK-anything", "content-type", "Content-Length", "content-encoding", "Host", "connection", "Keep-Alive",
		"transfer-encoding", "User-Agent", "te", "Trailer", "upgrade", "proxy-authorization", "Proxy-Connection", "expect", "date", "cookie", "idempotency-key",
		"", "a b", "a:b", "a\r\nb", "ä", "a/b", "(x)", strings.Repeat("a", 101),
	} {
		if f := fault.As((headerValues{name: &v}).check()); f == nil || !strings.HasPrefix(f.Fields[0].Pointer, "/headers") {
			t.Errorf("%q was accepted: %v", name, f)
		}
	}
	if (headerValues{"X-A": &v, "x-a": nil}).check() == nil {
		t.Error("one header under two spellings was accepted")
	}
}

func TestHeadersAreMergedByName(t *testing.T) {
	t.Parallel()
	one, two := "1", "2"
	was := map[string]string{"X-A": "1", "X-B": "1"}
	now, changed, err := mergeHeaders(was, headerValues{"x-a": &two, "X-B": nil, "x-c": &one, "x-unknown": nil})
	if err != nil || !changed || !maps.Equal(now, map[string]string{"X-A": "2", "X-C": "1"}) {
		t.Fatalf("%v %v %v", now, changed, err)
	}
	if was["X-A"] != "1" || len(was) != 2 {
		t.Fatal("the old headers were changed")
	}
	if _, changed, _ := mergeHeaders(was, headerValues{"X-A": &one, "X-Z": nil}); changed {
		t.Error("the same values count as a change")
	}
	many := headerValues{}
	for _, c := range "abcdefghijklmnopqrst" {
		many["X-"+string(c)] = &one
	}
	if now, _, err = mergeHeaders(nil, many); err != nil || len(namesOf(now)) != headersMost || !slices.IsSorted(namesOf(now)) {
		t.Fatalf("%v: %v", now, err)
	}
	if _, _, err = mergeHeaders(now, headerValues{"X-One-More": &one}); err == nil {
		t.Error("21 headers were accepted")
	}
}
