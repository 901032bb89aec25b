package main

import (
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/guildhall-dev/guildhall/plugins/sdk/plugintest"
)

type m = map[string]any

// start runs the plugin with a service.
func start(t *testing.T, f *fake, more m) *plugintest.Host {
	t.Helper()
	s := m{"account_sid": account, "auth_token": token, "from": "+1 500 555 0006", "base_url": f.URL, "public_url": public}
	for k, v := range more {
		s[k] = v
	}
	return plugintest.Run(t, plugintest.Options{Settings: s})
}

func TestNotifications(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	h := start(t, f, m{"max_segments": 1})
	var got receipt
	in := m{"to": "+49 (30) 123-456", "subject": "Due", "text": strings.Repeat("today ", 40), "url": "https://g.example/1"}
	if err := h.Provide("notification.send/sms", in, &got); err != nil {
		t.Fatal(err)
	}
	sent := f.sent()[0]
	if sent.sid != got.ExternalID || sent.to != "+4930123456" || sent.from != "+15005550006" || sent.callback != public {
		t.Errorf("sent %+v as %s", sent, got.ExternalID)
	}
	if len(sent.body) > 160 || !strings.HasPrefix(sent.body, "Due: today") || !strings.HasSuffix(sent.body, "... https://g.example/1") {
		t.Errorf("sent %q", sent.body)
	}
	if auth := h.Fetches()[0].Header.Get("Authorization"); !strings.HasPrefix(auth, "Basic ") {
		t.Errorf("authorised with %q", auth)
	}

	for to, want := range map[string]string{
		"030123456": "no telephone number", "+0123456789": "no telephone number", "ann": "no telephone number", "+1234567890123456": "no telephone number",
		"+15005550001": "21211", "+15005550004": "21610",
	} {
		var no *plugintest.Refused
		if err := h.Provide("notification.send/sms", m{"to": to, "text": "Hi"}, nil); !errors.As(err, &no) || !strings.Contains(no.Text, want) {
			t.Errorf("%s: %v", to, err)
		}
	}
	for _, status := range []int{429, 500, 503} {
		f.refuses(status)
		var later *plugintest.CallError
		if err := h.Provide("notification.send/sms", in, nil); !errors.As(err, &later) || later.Final {
			t.Errorf("%d: %v", status, err)
		}
	}
	if n := len(f.sent()); n != 1 {
		t.Errorf("sent %d messages", n)
	}
	f.Close()
	if err := h.Provide("notification.send/sms", in, nil); err == nil || strings.Contains(err.Error(), token) {
		t.Errorf("a service that is away: %v", err)
	}
}

func TestWrongSettings(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	h := start(t, f, m{"auth_token": "other", "too_long": "refuse", "max_segments": 1})
	a, err := h.Act("send_test", m{"to": "+4930123456"})
	if err != nil || !strings.Contains(a.Refusal, "auth_token") {
		t.Errorf("%+v, %v", a, err)
	}
	var no *plugintest.Refused
	if err := h.Provide("notification.send/sms", m{"to": "+4930123456", "text": strings.Repeat("ж", 71)}, nil); !errors.As(err, &no) || !strings.Contains(no.Text, "2 parts") {
		t.Errorf("too long: %v", err)
	}
	h.Settings(m{"account_sid": "AC9", "auth_token": token, "from": "Guildhall", "base_url": f.URL})
	if a, err = h.Act("send_test", m{"to": "+4930123456"}); err != nil || !strings.Contains(a.Refusal, "account_sid") {
		t.Errorf("%+v, %v", a, err)
	}
	for want, s := range map[string]m{
		"/base_url":   {"base_url": "twilio"},
		"/public_url": {"public_url": "https://guildhall.example/"},
		"/from":       {"from": "a name that is long"},
	} {
		all := m{"account_sid": account, "auth_token": token, "from": "+15005550006"}
		for k, v := range s {
			all[k] = v
		}
		if bad, err := h.CheckSettings(all); err != nil || len(bad) != 1 || bad[0].Pointer != want {
			t.Errorf("%s: %v, %v", want, bad, err)
		}
	}
}

func TestStatus(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	h := start(t, f, nil)
	for _, to := range []string{"+4930123456", "+4930123457"} {
		if a, err := h.Act("send_test", m{"to": to}); err != nil || a.Refusal != "" || !strings.Contains(a.Message, "SM") {
			t.Fatalf("%+v, %v", a, err)
		}
	}
	first, second := f.sent()[0], f.sent()[1]
	tell := func(msg message, status, code, token string) int {
		header, body := msg.tells(status, code, token)
		r, err := h.Receive("status", header, body)
		if err != nil {
			t.Fatal(err)
		}
		return r.Status
	}
	// Duplicates, and in another order than it happened.
	for _, status := range []string{"delivered", "sent", "queued", "delivered"} {
		if got := tell(first, status, "", token); got != http.StatusNoContent {
			t.Errorf("%s: %d", status, got)
		}
	}
	if got := tell(second, "undelivered", "30003", token); got != http.StatusNoContent {
		t.Errorf("undelivered: %d", got)
	}
	if got := tell(second, "delivered", "", "guessed"); got != http.StatusForbidden {
		t.Errorf("signed by somebody else: %d", got)
	}
	header, body := second.tells("delivered", "", token)
	if r, err := h.Receive("status", header, append(body, "&x=y"...)); err != nil || r.Status != http.StatusForbidden {
		t.Errorf("changed: %v, %v", r, err)
	}
	if r, err := h.Receive("status", nil, nil); err != nil || r.Status != http.StatusForbidden {
		t.Errorf("empty: %v, %v", r, err)
	}
	var got []string
	for _, e := range h.Emitted() {
		got = append(got, e.Type+" "+string(e.Data))
	}
	want := `plugin.sms.sms_delivered {"sid":"` + first.sid + `","to":"+49…56"} plugin.sms.sms_failed {"code":"30003","sid":"` + second.sid + `","to":"+49…57"}`
	if strings.Join(got, " ") != want {
		t.Errorf("emitted %s, want %s", got, want)
	}
}

// TestSignature is the example of Twilio's documentation.
func TestSignature(t *testing.T) {
	t.Parallel()
	form := url.Values{"CallSid": {"CA1234567890ABCDE"}, "Caller": {"+12349013030"}, "Digits": {"1234"}, "From": {"+12349013030"}, "To": {"+18005551212"}}
	got := base64.StdEncoding.EncodeToString(signature("12345", "https://mycompany.com/myapp.php?foo=1&bar=2", form))
	if want := "0/KCTR6DLpKmkAf8muzZqo1nDgQ="; got != want {
		t.Errorf("signed with %s, want %s", got, want)
	}
}

func TestSegments(t *testing.T) {
	t.Parallel()
	r := strings.Repeat
	for text, want := range map[string]int{
		"": 1, r("a", 160): 1, r("a", 161): 2, r("a", 306): 2, r("a", 307): 3,
		r("€", 80): 1, r("€", 81): 2, r("a", 152) + "€" + r("a", 152): 3, // 152, since the € is not torn, 2 + 151, and 1
		r("ж", 70): 1, r("ж", 71): 2, r("😀", 35): 1, r("😀", 36): 2, r("😀", 66): 2, r("😀", 67): 3,
		"ß ä Ñ @ £": 1,
	} {
		if got := alphabetOf(text).segments(text); got != want {
			t.Errorf("%.20q of %d: %d parts, want %d", text, len([]rune(text)), got, want)
		}
	}
	for _, text := range []string{r("a", 500), r("€", 300), r("ж", 300), r("😀", 150)} {
		for most := 1; most <= 3; most++ {
			got, err := fit(text, " https://g.example", most, false)
			a := alphabetOf(got)
			if n := a.segments(got); err != nil || n > most || a.segments(strings.Replace(got, a.dots, string([]rune(text)[:2])+a.dots, 1)) <= most {
				t.Errorf("%.8q in %d parts: %q, %v", text, most, got, err)
			}
		}
	}
	if _, err := fit("x", r("y", 200), 1, false); err == nil {
		t.Error("an address that does not fit was cut")
	}
}

func TestConform(t *testing.T) {
	t.Parallel()
	plugintest.Conform(t.Context(), plugintest.Load(t, plugintest.Options{}), plugintest.Trial{}).Require(t)
}
