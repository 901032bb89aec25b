package inbound

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestPayloadIsKeptAsJSONOrAsBase64(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]string{
		`{"id":"evt_1","amount":1.10}`: "json",
		`[1,"a",null,true]`:            "json",
		` "text" `:                     "json",
		`"\ud83d\ude00 \ufffd"`:        "json",
		`"\\u0000 and \\ud83d"`:        "json",
		`{"a":{"a":1},"b":[{"a":1}]}`:  "json",
		`1e400`:                        "json",
		``:                             "base64",
		`{`:                            "base64",
		`{} {}`:                        "base64",
		"\xff":                         "base64",
		"\"\xff\"":                     "base64",
		"\x00":                         "base64",
		`{"a":"x\u0000y"}`:             "base64",
		`{"a\u0000":1}`:                "base64",
		`"\ud83d"`:                     "base64",
		`"\ud83d\ud83d"`:               "base64",
		`"\ud83dx"`:                    "base64",
		`"\ude00\ud83d"`:               "base64",
		`"\\ufffd\ud83d"`:              "base64",
		`{"a":1,"a":2}`:                "base64",
		`{"a":1,"\u0061":2}`:           "base64",
		`[{"b":{"a":1,"a":2}}]`:        "base64",
		`1e401`:                        "base64",
		`1e-401`:                       "base64",
		`1e99999999999999999999`:       "base64",
		strings.Repeat("9", 401):       "base64",
		"[" + strings.Repeat("1e400,", 251) + "1]":                  "base64",
		strings.Repeat("[", 64) + strings.Repeat("]", 64):           "json",
		strings.Repeat("[", 65) + strings.Repeat("]", 65):           "base64",
		strings.Repeat(`{"a":`, 65) + "1" + strings.Repeat("}", 65): "base64",
	} {
		p := payloadOf(kindHMAC, "application/json", []byte(body))
		if p.encoding != want || !json.Valid(p.text) {
			t.Errorf("%.60q is kept as %s: %.80s", body, p.encoding, p.text)
		}
		if got := bodyIn(t, p); got != body {
			t.Errorf("%.60q came out as %.60q", body, got)
		}
	}
}

// bodyIn is the body that a payload was made of.
func bodyIn(t rapid.TB, p payload) string {
	if p.encoding == "json" {
		return string(p.text)
	}
	var text string
	if err := json.Unmarshal(p.text, &text); err != nil {
		t.Fatalf("%s: %v", p.text, err)
	}
	body, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		t.Fatalf("%s: %v", p.text, err)
	}
	return string(body)
}

func TestPayloadLosesNothing(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		body := rapid.OneOf(
			rapid.StringMatching(`(\{|\[|"|\\|u0000|ud83d|ude00|ufffd|:|,|1e5|a|\]|\}|\x00)*`),
			rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) }),
			rapid.Custom(func(t *rapid.T) string {
				raw, err := json.Marshal(map[string]string{rapid.String().Draw(t, "key"): rapid.String().Draw(t, "value")})
				if err != nil {
					t.Fatal(err)
				}
				return string(raw)
			}),
		).Draw(t, "body")
		if got := bodyIn(t, payloadOf(kindStripe, "", []byte(body))); got != body {
			t.Fatalf("%q came out as %q", body, got)
		}
	})
}

func TestPayloadOfGitHubMayStandInAForm(t *testing.T) {
	t.Parallel()
	const form = "application/x-www-form-urlencoded"
	body := []byte("payload=%7B%22zen%22%3A%22Design+for+failure.%22%7D")
	if p := payloadOf(kindGitHub, form, body); p.encoding != "json" || string(p.text) != `{"zen":"Design for failure."}` {
		t.Errorf("the form is kept as %s: %s", p.encoding, p.text)
	}
	for what, p := range map[string]payload{
		"of another kind":      payloadOf(kindHMAC, form, body),
		"of another type":      payloadOf(kindGitHub, "text/plain", body),
		"without the field":    payloadOf(kindGitHub, form, []byte("a=b")),
		"with something else":  payloadOf(kindGitHub, form, []byte("payload=x")),
		"that is no good form": payloadOf(kindGitHub, form, []byte("payload=%zz")),
	} {
		if p.encoding != "base64" {
			t.Errorf("a form %s is kept as %s", what, p.encoding)
		}
	}
}

func TestWord(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"evt_1": "evt_1", "größer": "größer", "": "", "a\x00b": "", "a\nb": "", "\xff": "", "\u0085": "",
		strings.Repeat("é", 10): strings.Repeat("é", 10), strings.Repeat("é", 11): "",
	} {
		if got := word(in, 10); got != want {
			t.Errorf("word(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestExternalID(t *testing.T) {
	t.Parallel()
	body := []byte("body")
	if got := externalID("evt_1", body); got != "evt_1" {
		t.Errorf("an id became %s", got)
	}
	seen := map[string]string{}
	for _, sent := range []string{"", "a\x00b", "a\x00c", strings.Repeat("x", 256)} {
		got := externalID(sent, body)
		if len(got) != 7+64 || !strings.HasPrefix(got, "sha256:") || seen[got] != "" {
			t.Errorf("%.20q became %s", sent, got)
		}
		seen[got] = fmt.Sprintf("%.20q", sent)
	}
	if externalID("", body) == externalID("", []byte("another")) {
		t.Error("two bodies have one id")
	}
}
