package main

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
)

const (
	account = "AC0123456789"
	token   = "s3cret"
	public  = "https://guildhall.example/v1/plugin-installations/i/inbound/status"
)

// fake is a service that keeps what it was asked to send.
type fake struct {
	*httptest.Server
	mu       sync.Mutex
	messages []message
	next     []int // statuses of the next answers
	stopped  map[string]bool
}

type message struct{ sid, to, from, body, callback string }

func newFake(t *testing.T) *fake {
	t.Helper()
	f := &fake{stopped: map[string]bool{"+15005550004": true}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /2010-04-01/Accounts/{sid}/Messages.json", f.create)
	f.Server = httptest.NewServer(mux)
	t.Cleanup(f.Close)
	return f
}

func (f *fake) create(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	user, password, _ := r.BasicAuth()
	to, body := r.FormValue("To"), r.FormValue("Body")
	no := func(status, code int, text string) {
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(map[string]any{"code": code, "message": text, "status": status})
	}
	switch {
	case r.PathValue("sid") != account || user != account:
		no(http.StatusNotFound, 20404, "The requested resource was not found")
	case password != token:
		no(http.StatusUnauthorized, 20003, "Authenticate")
	case len(f.next) > 0:
		status := f.next[0]
		f.next = f.next[1:]
		no(status, 20429, "Too Many Requests")
	case to == "+15005550001":
		no(http.StatusBadRequest, 21211, "The 'To' number "+to+" is not a valid phone number.")
	case f.stopped[to]:
		no(http.StatusBadRequest, 21610, "Attempt to send to unsubscribed recipient")
	case len([]rune(body)) > 1600:
		no(http.StatusBadRequest, 21617, "The concatenated message body exceeds the 1600 character limit")
	default:
		m := message{fmt.Sprintf("SM%032d", len(f.messages)+1), to, r.FormValue("From"), body, r.FormValue("StatusCallback")}
		f.messages = append(f.messages, m)
		w.WriteHeader(http.StatusCreated)
		_ = json.NewEncoder(w).Encode(map[string]any{"sid": m.sid, "status": "queued", "to": to})
	}
}

func (f *fake) sent() []message {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.messages)
}

// refuses has the next requests refused.
func (f *fake) refuses(statuses ...int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.next = statuses
}

// tells is the service's request about a message, signed with a token.
func (m message) tells(status, code, token string) (http.Header, []byte) {
	form := url.Values{"MessageSid": {m.sid}, "SmsSid": {m.sid}, "AccountSid": {account}, "To": {m.to}, "From": {m.from}, "MessageStatus": {status}}
	if code != "" {
		form.Set("ErrorCode", code)
	}
	text := public
	for _, name := range []string{"AccountSid", "ErrorCode", "From", "MessageSid", "MessageStatus", "SmsSid", "To"} {
		if form.Has(name) {
			text += name + form.Get(name)
		}
	}
	mac := hmac.New(sha1.New, []byte(token))
	mac.Write([]byte(text))
	h := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
	h.Set("X-Twilio-Signature", base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	return h, []byte(strings.ReplaceAll(form.Encode(), "%20", "+"))
}
