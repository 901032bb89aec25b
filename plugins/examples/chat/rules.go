package main

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/guildhall-dev/guildhall/plugins/sdk"
)

// settings are what the organisation set.
type settings struct {
	Style    string `json:"style"`
	URL      string `json:"url"`
	URL2     string `json:"url_2"`
	URL3     string `json:"url_3"`
	Username string `json:"username"`
	Rules    []rule `json:"rules"`
}

// address is the one of a webhook by its name.
func (s settings) address(webhook string) string {
	return map[string]string{"url": s.URL, "url_2": s.URL2, "url_3": s.URL3}[webhook]
}

// rule says which events of a project go where.
type rule struct {
	ProjectID string   `json:"project_id"`
	Events    []string `json:"events"`
	Webhook   string   `json:"webhook"`
	Channel   string   `json:"channel"`
	Template  string   `json:"template"`
}

// What rules choose from.
const (
	onCreated = "created"
	onStatus  = "status"
	onComment = "comment"
)

func (r rule) webhook() string { return cmp.Or(r.Webhook, "url") }

func (r rule) wants(about, project string) bool {
	return (r.ProjectID == "*" || strings.EqualFold(r.ProjectID, project)) && (len(r.Events) == 0 || slices.Contains(r.Events, about))
}

// text is the message about something that happened.
func (r rule) text(style, about string, t happened) string {
	template := cmp.Or(r.Template, standard(style)[about])
	return clip(placeholder.ReplaceAllStringFunc(template, func(name string) string {
		value, most := t.value(strings.Trim(name, "{}")), maxTitle
		if name == "{text}" {
			most = maxText
		}
		return escape(style, value, most)
	}), longest(style))
}

func standard(style string) map[string]string {
	return map[string]string{
		onCreated: bold(style, "{key}") + " {title}: new, {status}",
		onStatus:  bold(style, "{key}") + " {title}: {was} → {status}",
		onComment: bold(style, "{key}") + " {title}: {text}",
	}
}

var placeholder = regexp.MustCompile(`\{[a-z_]*\}`)

// happened is what is told of a task, or of a comment on one.
type happened struct {
	ID        string `json:"id"`
	TaskID    string `json:"task_id"`
	ProjectID string `json:"project_id"`
	Key       string `json:"key"`
	Title     string `json:"title"`
	Status    string `json:"status"`
	Priority  string `json:"priority"`
	Body      string `json:"body"`
	was       string
}

// value is what a placeholder stands for; an unknown one stands for nothing,
// since check refuses it.
func (t happened) value(name string) string {
	return map[string]string{
		"key": t.Key, "title": t.Title, "status": words(t.Status), "was": words(t.was), "priority": t.Priority, "text": t.Body,
	}[name]
}

// words makes words of a key: "in_progress".
func words(key string) string { return strings.ReplaceAll(key, "_", " ") }

// happening reads an event, and says which of the rules' events it is, if any. A
// task gets another state by being changed, and by being moved on a board.
func happening(e sdk.Event) (t happened, about string, ok bool) {
	if e.Decode(&t) != nil {
		return t, "", false
	}
	switch {
	case e.Type == "task.created":
		return t, onCreated, true
	case e.Type == "comment.created":
		return t, onComment, true
	case e.Changed("status"):
		var previous struct {
			Status string `json:"status"`
		}
		if (sdk.Event{Data: e.Previous}).Decode(&previous) != nil {
			return t, "", false
		}
		t.was = previous.Status
		return t, onStatus, true
	}
	return t, "", false
}

// check says what the schema of the settings cannot.
func check(_ context.Context, c *sdk.Call) (bad []sdk.SettingsError, err error) {
	var s settings
	if err := c.Settings(&s); err != nil {
		return nil, err
	}
	say := func(pointer, format string, args ...any) {
		bad = append(bad, sdk.SettingsError{Pointer: pointer, Message: fmt.Sprintf(format, args...)})
	}
	for _, name := range []string{"url", "url_2", "url_3"} {
		if address := s.address(name); address != "" && !isAddress(address) {
			say("/"+name, "is not the address of a webhook, such as https://hooks.slack.com/services/…")
		}
	}
	for i, r := range s.Rules {
		if s.address(r.webhook()) == "" {
			say(fmt.Sprintf("/rules/%d/webhook", i), "there is no address in %s", r.webhook())
		}
		for _, name := range placeholder.FindAllString(r.Template, -1) {
			if !slices.Contains([]string{"{key}", "{title}", "{status}", "{was}", "{priority}", "{text}"}, name) {
				say(fmt.Sprintf("/rules/%d/template", i), "%s is not one of {key}, {title}, {status}, {was}, {priority}, {text}", name)
			}
		}
	}
	return bad, nil
}

func isAddress(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != "" && u.User == nil
}
