package conformance

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// careless is a sender as many are: the client follows redirects, any answer
// below 400 is a delivery, each attempt has an id and a body of its own, and
// what the receiver asks for goes unheard.
type careless struct{ sending *sync.WaitGroup }

func (c careless) Send(ctx context.Context, url string) (Credentials, error) {
	c.sending.Go(func() {
		client := &http.Client{Timeout: 3 * time.Second}
		timestamp := fmt.Sprint(time.Now().Unix())
		for i := range 5 {
			id, body := fmt.Sprintf("msg_%d", i), fmt.Sprintf(`{"type":"a","n":%d}`, i)
			mac := hmac.New(sha256.New, []byte("secret"))
			fmt.Fprintf(mac, "%s.%s.%s", id, timestamp, body)
			req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader([]byte(body)))
			if err != nil {
				return
			}
			req.Header.Set("Content-Type", "text/plain")
			req.Header.Set("webhook-id", id)
			req.Header.Set("webhook-timestamp", timestamp)
			req.Header.Set("webhook-signature", "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
			res, err := client.Do(req)
			if err != nil {
				return // and gives up where there is no answer
			}
			res.Body.Close()
			if res.StatusCode < 400 {
				return
			}
		}
	})
	return Credentials{Secret: "whsec_" + base64.StdEncoding.EncodeToString([]byte("another"))}, nil
}

func TestSuiteBites(t *testing.T) {
	t.Parallel()
	var sending sync.WaitGroup
	t.Cleanup(sending.Wait)
	bitten := bitten()
	p := Profile{Timeout: time.Second, Waits: []time.Duration{0, 0, 0, 0}, Slack: 500 * time.Millisecond, Extensions: true}
	var list []testCase
	for _, c := range cases(p) {
		if _, looked := bitten[c.name]; looked {
			list = append(list, c)
		}
	}
	if len(list) != len(bitten) {
		t.Fatalf("%d of %d cases are there", len(list), len(bitten))
	}
	for i, complaints := range holdAll(t.Context(), careless{&sending}, p, list) {
		all := strings.Join(complaints, "\n")
		for _, want := range append(bitten[list[i].name], "Content-Type", "no v1 signature is right", "webhook-attempt") {
			if strings.Contains(all, "attempt 1:") && !strings.Contains(all, want) {
				t.Errorf("%s: no complaint of %q in:\n%s", list[i].name, want, all)
			}
		}
		if all == "" {
			t.Errorf("%s: no complaint", list[i].name)
		}
	}
}

// bitten are cases and what each must say of the careless sender.
func bitten() map[string][]string {
	return map[string][]string{
		"status 304 is a failure":                          {"1 attempts arrived, want 2"},
		"status 503 is a failure":                          {"webhook-id was", "the body changed"},
		"410 ends it":                                      {"2 attempts arrived, want 1"},
		"a receiver that always fails gets the whole plan": {"webhook-id was"},
		"redirect 302 is not followed":                     {"connections to where a redirect pointed"},
		"redirect 308 is not followed":                     {"connections to where a redirect pointed"},
		"Retry-After in seconds is waited for on 503":      {"want 1.95s at least", "timestamp of the second attempt is not new"},
		"Retry-After of a year is waited for":              {"2 attempts arrived, want 1"},
		"a body shorter than it says":                      {"1 attempts arrived, want 2"},
		"no answer at all":                                 {"it held the connection for"},
		"a reset before the headers":                       {"1 attempts arrived, want 2"},
		"a reset before the request":                       {},
		"a certificate that has expired":                   {},
	}
}
