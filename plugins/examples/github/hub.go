package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/guildhall-dev/guildhall/plugins/sdk"
)

// issue is one of GitHub's, as far as it is of interest.
type issue struct {
	Number      int             `json:"number"`
	Title       string          `json:"title"`
	Body        *string         `json:"body"`
	State       string          `json:"state"`
	UpdatedAt   time.Time       `json:"updated_at"`
	PullRequest json.RawMessage `json:"pull_request"`
}

func (i issue) isPull() bool { return len(i.PullRequest) > 0 && string(i.PullRequest) != "null" }

var (
	errGone      = errors.New("it is gone")
	errUnchanged = errors.New("it is unchanged")
)

// limited says that GitHub wants to be left alone.
type limited struct{ until time.Time }

func (l *limited) Error() string { return "GitHub's rate limit is reached" }

// waitsUntil reports whether an error only means that something has to wait.
func waitsUntil(err error, now time.Time) (time.Time, bool) {
	var l *limited
	switch {
	case errors.As(err, &l):
		return l.until, true
	case errors.Is(err, errBusy):
		return now.Add(5 * time.Second), true
	}
	return time.Time{}, false
}

// hub calls GitHub's API at a path below the repository.
func (w work) hub(ctx context.Context, method, path, etag string, in, out any) (http.Header, error) {
	var body io.Reader
	if in != nil {
		raw, err := json.Marshal(in)
		if err != nil {
			return nil, sdk.Final(err)
		}
		body = bytes.NewReader(raw)
	}
	r, err := http.NewRequestWithContext(ctx, method, w.s.BaseURL+"/repos/"+w.s.Repo+path, body)
	if err != nil {
		return nil, sdk.Final(err)
	}
	r.Header.Set("Authorization", "Bearer "+w.s.Token)
	r.Header.Set("Accept", "application/vnd.github+json")
	r.Header.Set("X-GitHub-Api-Version", "2022-11-28")
	r.Header.Set("User-Agent", "guildhall-plugin-github")
	if etag != "" {
		r.Header.Set("If-None-Match", etag)
	}
	a, err := w.c.HTTP().Do(r)
	if err != nil {
		return nil, fmt.Errorf("GitHub cannot be reached: %w", err)
	}
	defer a.Body.Close()
	answer, err := io.ReadAll(a.Body)
	if err != nil {
		return nil, err
	}
	if err := refusal(a, time.Now()); err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	if out != nil {
		if err := json.Unmarshal(answer, out); err != nil {
			return nil, fmt.Errorf("%s %s: %w", method, path, err)
		}
	}
	return a.Header, nil
}

// refusal is what an answer means that is none of success.
func refusal(a *http.Response, now time.Time) error {
	seconds := func(name string) int64 {
		n, err := strconv.ParseInt(a.Header.Get(name), 10, 64)
		if err != nil {
			return 0
		}
		return n
	}
	switch code := a.StatusCode; {
	case code < 300:
		return nil
	case code == http.StatusNotModified:
		return errUnchanged
	case code == http.StatusTooManyRequests || code == http.StatusForbidden:
		if n := seconds("Retry-After"); n > 0 {
			return &limited{now.Add(time.Duration(min(n, 86400)) * time.Second)}
		}
		if a.Header.Get("X-RateLimit-Remaining") == "0" || code == http.StatusTooManyRequests {
			until := time.Unix(seconds("X-RateLimit-Reset"), 0)
			if until.Before(now) || until.After(now.Add(24*time.Hour)) {
				until = now.Add(time.Minute)
			}
			return &limited{until}
		}
		return sdk.Finalf("GitHub forbids it: the token needs to read and write issues")
	case code == http.StatusNotFound || code == http.StatusGone || code == http.StatusMovedPermanently: // moved: to another repository
		return errGone
	case code >= 500:
		return fmt.Errorf("GitHub answers %s", a.Status)
	}
	return sdk.Finalf("GitHub answers %s", a.Status)
}

func (w work) getIssue(ctx context.Context, n int, etag string) (i issue, newer string, err error) {
	h, err := w.hub(ctx, http.MethodGet, "/issues/"+strconv.Itoa(n), etag, nil, &i)
	return i, h.Get("ETag"), err
}

const perPage = 100

// listIssues lists a page of issues, those that changed longest ago first.
func (w work) listIssues(ctx context.Context, state string, since time.Time, page int) (all []issue, err error) {
	q := url.Values{"state": {state}, "sort": {"updated"}, "direction": {"asc"}, "per_page": {strconv.Itoa(perPage)}, "page": {strconv.Itoa(page)}}
	if !since.IsZero() {
		q.Set("since", since.UTC().Format(time.RFC3339))
	}
	_, err = w.hub(ctx, http.MethodGet, "/issues?"+q.Encode(), "", nil, &all)
	return all, err
}
