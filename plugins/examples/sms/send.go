package main

import (
	"context"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/guildhall-dev/guildhall/plugins/sdk"
)

var (
	e164   = regexp.MustCompile(`^\+[1-9][0-9]{6,14}$`)
	sender = regexp.MustCompile(`^[A-Za-z0-9 ]{1,11}$`)
	letter = regexp.MustCompile(`[A-Za-z]`)
)

// number reads a telephone number as people write it: with its country, and
// perhaps with blanks and signs between the digits.
func number(written string) (string, error) {
	n := strings.Map(func(c rune) rune {
		if strings.ContainsRune(" -./()\u00a0", c) {
			return -1
		}
		return c
	}, written)
	if !e164.MatchString(n) {
		return "", fmt.Errorf("%.40q is no telephone number with its country, such as +4930123456", written)
	}
	return n, nil
}

// isName says whether messages may come from a name.
func isName(from string) bool { return sender.MatchString(from) && letter.MatchString(from) }

// problem is how the service says no.
type problem struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

// send has the service send a message, and returns its id there.
func send(ctx context.Context, c *sdk.Call, s settings, to, text string) (string, error) {
	from, err := number(s.From)
	if err != nil {
		from = s.From // a name
	}
	form := url.Values{"To": {to}, "From": {from}, "Body": {text}}
	if s.PublicURL != "" {
		form.Set("StatusCallback", s.PublicURL)
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost,
		strings.TrimSuffix(s.BaseURL, "/")+"/2010-04-01/Accounts/"+url.PathEscape(s.AccountSID)+"/Messages.json", strings.NewReader(form.Encode()))
	if err != nil {
		return "", sdk.Final(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Accept", "application/json")
	r.SetBasicAuth(s.AccountSID, s.AuthToken)
	a, err := c.HTTP().Do(r)
	if err != nil {
		return "", fmt.Errorf("the service did not answer: %w", err)
	}
	defer a.Body.Close()
	body, err := io.ReadAll(io.LimitReader(a.Body, 64<<10))
	if err != nil {
		return "", err
	}
	if a.StatusCode >= 300 {
		return "", refused(a.StatusCode, body)
	}
	var sent struct {
		SID string `json:"sid"`
	}
	if err := json.Unmarshal(body, &sent); err != nil || sent.SID == "" {
		return "", sdk.Finalf("the service answers %d without the message's sid: is base_url right?", a.StatusCode)
	}
	return sent.SID, nil
}

// refused is what an answer that is none of success means.
func refused(code int, body []byte) error {
	var p problem
	if json.Unmarshal(body, &p) != nil {
		p = problem{}
	}
	switch {
	case code == http.StatusTooManyRequests || code >= 500 || code == http.StatusRequestTimeout:
		return fmt.Errorf("the service does not take it now (%d, code %d)", code, p.Code)
	case code == http.StatusUnauthorized || code == http.StatusForbidden:
		return sdk.Finalf("the service does not accept account_sid and auth_token (%d, code %d)", code, p.Code)
	case code == http.StatusNotFound:
		return sdk.Finalf("the service has no such account: are account_sid and base_url right?")
	}
	return sdk.Finalf("the service refuses it: %.300s (code %d)", p.Message, p.Code)
}

// signature is what the service signs a request with: the address, then each
// parameter, by name, with its values.
func signature(token, address string, form url.Values) []byte {
	m := hmac.New(sha1.New, []byte(token))
	_, _ = io.WriteString(m, address)
	for _, name := range slices.Sorted(maps.Keys(form)) {
		for _, value := range slices.Compact(slices.Sorted(slices.Values(form[name]))) {
			_, _ = io.WriteString(m, name+value)
		}
	}
	return m.Sum(nil)
}

func signed(token, address string, form url.Values, header string) bool {
	claimed, err := base64.StdEncoding.DecodeString(header)
	return err == nil && token != "" && hmac.Equal(claimed, signature(token, address, form))
}
