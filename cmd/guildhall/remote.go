package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/guildhall-dev/guildhall/internal/config"
)

// The status with which listen, trigger and plugin end, for scripts.
const (
	exitRefused = 1 // an event was sent, and the receiver did not take it; a plugin is not right
	exitNotSent = 2 // none was sent: a setting, the instance, or nobody listens; nothing was done
)

// exitError is an error with the status with which the process ends.
type exitError struct {
	code int
	err  error
}

func (e exitError) Error() string { return e.err.Error() }
func (e exitError) Unwrap() error { return e.err }

// exitCode is the status with which the process ends after an error.
func exitCode(err error) int {
	var e exitError
	if errors.As(err, &e) {
		return e.code
	}
	return 1
}

// endsWith2 has the command end with exitNotSent where its flags are wrong.
func endsWith2(cmd *cobra.Command) *cobra.Command {
	cmd.Args = cobra.ArbitraryArgs // looked at by the command
	cmd.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return exitError{exitNotSent, fmt.Errorf("%w; see %s --help", err, c.CommandPath())}
	})
	return cmd
}

// remote is an instance as one of its clients sees it: with an API key, over
// HTTP.
type remote struct {
	config.Remote
	http *http.Client
}

// remote reaches the instance that the environment names.
func (s *shell) remote() (*remote, error) {
	r, err := config.LoadRemote(s.file, s.env)
	if err != nil {
		return nil, err
	}
	return &remote{r, &http.Client{
		Timeout: 40 * time.Second,
		// The key must not follow to another place.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// problem is an answer that is not 2xx.
type problem struct {
	status     int
	retryAfter time.Duration // 0 = not said
	location   string

	Title      string `json:"title"`
	Detail     string `json:"detail"`
	Code       string `json:"code"`
	Permission string `json:"permission"`
	Errors     []struct {
		Pointer string `json:"pointer"`
		Message string `json:"message"`
	} `json:"errors"`
}

func (p *problem) Error() string {
	switch {
	case p.location != "":
		return fmt.Sprintf("the answer is a redirect to %s: set GUILDHALL_URL to where the instance is", plain(p.location))
	case p.status == http.StatusUnauthorized:
		return "the API key is not accepted: it was revoked, has ended, or is of another instance"
	case p.Permission != "":
		return fmt.Sprintf("the API key lacks %s: make one that has it, by somebody who has it too", plain(p.Permission))
	}
	text := p.Detail
	if text == "" {
		text = strings.TrimSpace(strconv.Itoa(p.status) + " " + http.StatusText(p.status))
	}
	for _, e := range p.Errors {
		text += "\n  " + e.Pointer + ": " + e.Message
	}
	return plain(text)
}

// passing says that the same request may succeed later.
func (p *problem) passing() bool {
	return p.status == http.StatusTooManyRequests || p.status == http.StatusRequestTimeout || p.status >= 500
}

// maxAnswer bounds what is read of an answer: 200 events of 1 MiB at the very
// most.
const maxAnswer = 256 << 20

// call sends a request; in goes out as JSON unless it is nil, the answer is
// read into out.
func (r *remote) call(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		raw, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("%s %s: %w", method, path, err)
		}
		body = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(ctx, method, r.URL+path, body)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	req.Header.Set("Authorization", "Bearer "+r.APIKey)
	req.Header.Set("User-Agent", "guildhall-cli/"+version)
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := r.http.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("%s %s: read the answer: %w", method, path, err)
	}
	if res.StatusCode < 200 || res.StatusCode > 299 {
		p := &problem{status: res.StatusCode, retryAfter: retryAfter(res.Header)}
		if res.StatusCode < 400 {
			p.location = res.Header.Get("Location")
		}
		if json.Unmarshal(raw, p) != nil { // a proxy's page
			p.Detail = ""
		}
		return p
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(raw, out); err != nil {
		return fmt.Errorf("%s%s does not answer as Guildhall does: %w", r.URL, path, err)
	}
	return nil
}

func retryAfter(h http.Header) time.Duration {
	seconds, err := strconv.Atoi(h.Get("Retry-After"))
	if err != nil || seconds < 0 {
		return 0
	}
	return min(time.Duration(seconds)*time.Second, time.Minute)
}

// reason takes the method and address, which the reader knows, off an error of
// the HTTP client.
func reason(err error) string {
	var u *url.Error
	if errors.As(err, &u) {
		if u.Timeout() {
			return "no answer in time"
		}
		err = u.Err
	}
	var op *net.OpError
	if errors.As(err, &op) && errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Sprintf("connection refused: nothing listens at %s", op.Addr)
	}
	return plain(err.Error())
}

// plain replaces what could steer a terminal: the text is somebody else's.
func plain(s string) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' && c != '\n' || c == 0x7f || c >= 0x80 && c < 0xa0 {
			return '\uFFFD'
		}
		return c
	}, s)
}
