package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/guildhall-dev/guildhall/plugins/sdk"
)

// message is what is posted. It waits as a task's payload, so the address is not
// in it, which is a secret.
type message struct {
	Webhook string `json:"webhook"`
	Channel string `json:"channel"`
	Text    string `json:"text"`
}

// body is the message as the chat wants it.
func (m message) body(s settings) any {
	if s.Style == discord {
		out := map[string]any{"content": clip(m.Text, longest(discord)), "allowed_mentions": map[string]any{"parse": []string{}}}
		if s.Username != "" {
			out["username"] = s.Username
		}
		return out
	}
	out := map[string]any{"text": m.Text}
	for name, value := range map[string]string{"channel": m.Channel, "username": s.Username} {
		if value != "" {
			out[name] = value
		}
	}
	return out
}

// post sends a message. If it is not taken for now, wait is how long the chat
// wants to be left alone, 0 where it does not say.
func post(ctx context.Context, c *sdk.Call, s settings, m message) (wait time.Duration, err error) {
	address := s.address(m.Webhook)
	if address == "" {
		return 0, sdk.Finalf("the settings have no address in %s any more", m.Webhook)
	}
	body, err := json.Marshal(m.body(s))
	if err != nil {
		return 0, sdk.Final(err)
	}
	ctx, cancel := context.WithTimeout(ctx, 8*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return 0, sdk.Finalf("the address in %s is not one", m.Webhook) // the error would have it in it
	}
	r.Header.Set("Content-Type", "application/json")
	a, err := c.HTTP().Do(r)
	if err != nil {
		return 0, fmt.Errorf("the chat cannot be reached: %s", strings.ReplaceAll(err.Error(), address, m.Webhook))
	}
	defer a.Body.Close()
	said, err := io.ReadAll(io.LimitReader(a.Body, 200))
	if err != nil {
		said = nil
	}
	switch {
	case a.StatusCode < 300:
		return 0, nil
	case a.StatusCode == http.StatusTooManyRequests || a.StatusCode >= 500 || a.StatusCode == http.StatusRequestTimeout:
		return retryAfter(a.Header.Get("Retry-After"), time.Now()), fmt.Errorf("the chat does not take it now: %s", a.Status)
	case a.StatusCode == http.StatusNotFound || a.StatusCode == http.StatusGone:
		return 0, sdk.Finalf("the webhook in %s is gone (%s): make a new one in the chat and put its address there", m.Webhook, a.Status)
	}
	return 0, sdk.Finalf("the chat refuses it: %s %s", a.Status, said)
}

// maxWait is as long as a chat is waited for at most.
const maxWait = time.Hour

// retryAfter reads the header: seconds, also with a fraction, or a time.
func retryAfter(header string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseFloat(header, 64); err == nil && seconds > 0 {
		return time.Duration(min(seconds, maxWait.Seconds()) * float64(time.Second))
	}
	if at, err := http.ParseTime(header); err == nil && at.After(now) {
		return min(at.Sub(now), maxWait)
	}
	return 0
}

// deliver posts a message, or puts it aside until the chat wants it.
func deliver(ctx context.Context, c *sdk.Call, s settings, m message) error {
	wait, err := post(ctx, c, s, m)
	if err == nil || wait == 0 {
		return err
	}
	c.Log().InfoContext(ctx, "the chat wants to be left alone", "for", wait, "error", err)
	return c.Enqueue(ctx, "post", m, time.Now().Add(wait))
}

// postLater posts what waited. When it has to wait again it is put aside anew.
func postLater(ctx context.Context, c *sdk.Call, t *sdk.Task) error {
	var m message
	var s settings
	if err := t.Decode(&m); err != nil {
		return sdk.Final(err)
	}
	if err := c.Settings(&s); err != nil {
		return sdk.Final(err)
	}
	return deliver(ctx, c, s, m)
}
