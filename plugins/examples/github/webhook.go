package main

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/guildhall-dev/guildhall/plugins/sdk"
)

// delivery is what GitHub tells. It is believed that something happened to the
// issue; what, is read from GitHub.
type delivery struct {
	Action     string `json:"action"`
	Issue      issue  `json:"issue"`
	Repository struct {
		FullName string `json:"full_name"`
	} `json:"repository"`
	Comment struct {
		ID   int64  `json:"id"`
		Body string `json:"body"`
		User struct {
			Login string `json:"login"`
		} `json:"user"`
	} `json:"comment"`
}

// receive takes a delivery. GitHub does not repeat one by itself: what cannot be
// done now is put aside.
func receive(ctx context.Context, c *sdk.Call, r *sdk.Request) (*sdk.Response, error) {
	w, err := begin(c)
	if err != nil {
		return nil, err
	}
	if !signed(w.s.WebhookSecret, r.Body, r.Header.Get("X-Hub-Signature-256")) {
		return words(http.StatusUnauthorized, "the signature is not that of the webhook's secret"), nil
	}
	var d delivery
	kind := r.Header.Get("X-GitHub-Event")
	if kind == "ping" {
		return words(http.StatusOK, "pong"), nil
	}
	if err := r.Decode(&d); err != nil {
		return words(http.StatusBadRequest, "choose the content type application/json for the webhook"), nil
	}
	wanted := kind == "issues" && slices.Contains([]string{"opened", "edited", "closed", "reopened"}, d.Action) ||
		kind == "issue_comment" && d.Action == "created" && w.s.Comments == "both"
	if !wanted || !strings.EqualFold(d.Repository.FullName, w.s.Repo) || d.Issue.Number <= 0 || d.Issue.isPull() {
		return words(http.StatusAccepted, "nothing to do"), nil
	}
	id := r.Header.Get("X-GitHub-Delivery")
	if len(id) > 100 {
		return words(http.StatusBadRequest, "X-GitHub-Delivery is too long"), nil
	}
	key := "delivery/" + time.Now().UTC().Format(time.DateOnly) + "/" + id
	if id != "" {
		_, err = c.Values().SetIf(ctx, key, nil, 0)
		if errors.Is(err, sdk.ErrChanged) {
			return words(http.StatusOK, "known"), nil
		}
		if err != nil {
			return nil, err
		}
	}
	if kind == "issue_comment" {
		err = w.commentIn(ctx, d)
	} else {
		err = w.do(ctx, job{Issue: d.Issue.Number})
	}
	if sdk.IsFinal(err) {
		c.Log().ErrorContext(ctx, "an issue was not taken over", "issue", d.Issue.Number, "error", err)
		return words(http.StatusUnprocessableEntity, "Guildhall does not take it"), nil
	}
	if err != nil && kind == "issues" { // the comment's text is not kept; it comes again by hand
		c.Log().WarnContext(ctx, "an issue is taken over later", "issue", d.Issue.Number, "error", err)
		err = c.Enqueue(context.WithoutCancel(ctx), "sync", job{Issue: d.Issue.Number}, time.Now().Add(10*time.Second))
	}
	if err != nil {
		return nil, errors.Join(err, c.Values().Delete(context.WithoutCancel(ctx), key))
	}
	return words(http.StatusOK, "done"), nil
}

func words(status int, text string) *sdk.Response {
	return &sdk.Response{Status: status, Body: []byte(text + "\n")}
}

func signed(secret string, body []byte, header string) bool {
	claim, ok := strings.CutPrefix(header, "sha256=")
	mac, err := hex.DecodeString(claim)
	m := hmac.New(sha256.New, []byte(secret))
	m.Write(body)
	return ok && err == nil && secret != "" && hmac.Equal(mac, m.Sum(nil))
}
