package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"regexp"
	"strings"
)

// content is what is the same on both sides, in a form in which it can be
// compared.
type content struct {
	Title  string `json:"title"`
	Body   string `json:"body"`
	Closed bool   `json:"closed"`
}

// What GitHub takes, and what a task takes.
const (
	maxTitle = 256
	maxBody  = 40_000
)

func newContent(title, body string, closed bool) content {
	body = strings.ReplaceAll(body, "\r\n", "\n")
	body = strings.TrimSpace(marker.ReplaceAllString(body, ""))
	return content{clip(strings.Join(strings.Fields(title), " "), maxTitle), clip(body, maxBody), closed}
}

func (i issue) content() content {
	body := ""
	if i.Body != nil {
		body = *i.Body
	}
	return newContent(i.Title, body, i.State == "closed")
}

func clip(s string, most int) string {
	if r := []rune(s); len(r) > most {
		return strings.TrimSpace(string(r[:most-1])) + "…"
	}
	return s
}

// merge is what both sides should have: for each field the side that changed
// since they were the same, and GitHub's where both did.
func merge(base, theirs, ours content) content {
	pick := func(base, theirs, ours string) string {
		if theirs == base {
			return ours
		}
		return theirs
	}
	out := content{pick(base.Title, theirs.Title, ours.Title), pick(base.Body, theirs.Body, ours.Body), theirs.Closed}
	if theirs.Closed == base.Closed {
		out.Closed = ours.Closed
	}
	return out
}

// marker is a comment that nobody sees, at the end of what the plugin wrote.
var marker = regexp.MustCompile(`\s*<!-- guildhall (task|comment) ([0-9a-f-]{36}) ([0-9a-f]{32}) -->`)

// mark makes the marker for a task or a comment. It is signed: whoever may open
// issues must not be able to tie one to a task that they choose.
func (w work) mark(kind, id string) string {
	return "\n\n<!-- guildhall " + kind + " " + id + " " + w.tag(kind, id) + " -->"
}

func (w work) tag(kind, id string) string {
	m := hmac.New(sha256.New, []byte(w.s.WebhookSecret))
	_, _ = io.WriteString(m, "marker "+kind+" "+id)
	return hex.EncodeToString(m.Sum(nil)[:16])
}

// marked is the id in a marker of the plugin, "" if there is none.
func (w work) marked(kind, text string) string {
	for _, m := range marker.FindAllStringSubmatch(text, -1) {
		if m[1] == kind && hmac.Equal([]byte(m[3]), []byte(w.tag(kind, m[2]))) {
			return m[2]
		}
	}
	return ""
}
