// Command chat is a plugin that posts what happens in Guildhall into channels of
// Slack, Mattermost or Discord.
//
// What is to be posted where is said by rules in the settings. A message that
// the chat does not take at present comes again later: when the chat says when,
// as a task of its own, and else with the event. Which event was posted by which
// rule is kept for some days, so that an event that comes again is not.
package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/guildhall-dev/guildhall/plugins/sdk"
)

func main() {
	sdk.Serve(sdk.Plugin{
		Hear:          hear,
		Provides:      map[string]sdk.Provider{"notification.send/chat": sdk.Provide(notify)},
		Schedules:     map[string]func(context.Context, *sdk.Call, time.Time) error{"tidy": tidy},
		Tasks:         map[string]func(context.Context, *sdk.Call, *sdk.Task) error{"post": postLater},
		CheckSettings: check,
	})
}

// hear posts an event by each rule that wants it.
func hear(ctx context.Context, c *sdk.Call, e sdk.Event) error {
	var s settings
	if err := c.Settings(&s); err != nil {
		return sdk.Final(err)
	}
	t, about, ok := happening(e)
	if !ok {
		return nil
	}
	var later, never error
	for i, r := range s.Rules {
		if !r.wants(about, t.ProjectID) {
			continue
		}
		if about == onComment && t.Title == "" {
			if err := named(ctx, c, &t); err != nil {
				return err
			}
		}
		err := once(ctx, c, fmt.Sprintf("posted/%s/%s/%d", e.Timestamp.UTC().Format(time.DateOnly), e.ID, i), func() error {
			m := message{Webhook: r.webhook(), Channel: r.Channel, Text: r.text(s.Style, about, t)}
			return deliver(ctx, c, s, m)
		})
		if sdk.IsFinal(err) {
			c.Log().ErrorContext(ctx, "a message was not taken", "event", e.ID, "rule", i, "error", err)
			never = err
		} else if err != nil {
			later = err
		}
	}
	if later != nil { // the rules that are done do not post again
		return later
	}
	return never
}

// named looks up the task that a comment is about. One that cannot be seen any
// more stays without a name.
func named(ctx context.Context, c *sdk.Call, t *happened) error {
	var task happened
	err := c.API(ctx, http.MethodGet, "/v1/tasks/"+t.TaskID, nil, &task)
	if p, is := sdk.IsProblem(err); is && (p.Status == http.StatusNotFound || p.Status == http.StatusForbidden) {
		t.Key, t.Title = "Comment", "on a task that is gone"
		return nil
	}
	t.Key, t.Title, t.Status, t.Priority = task.Key, task.Title, task.Status, task.Priority
	return err
}

// once does something that must not be done twice. A mark is set before, and
// taken away again if it could not be done for now. Where the process ended in
// between nobody knows whether it was done, and it is not done again.
func once(ctx context.Context, c *sdk.Call, key string, do func() error) error {
	_, err := c.Values().SetIf(ctx, key, []byte("begun"), 0)
	if errors.Is(err, sdk.ErrChanged) {
		if v, err := c.Values().Get(ctx, key); err == nil && string(v.Bytes) == "begun" {
			c.Log().WarnContext(ctx, "a message is on its way, or was when the plugin ended: it is not posted again", "key", key)
		}
		return nil
	}
	if err != nil {
		return err
	}
	if err := do(); err != nil {
		if sdk.IsFinal(err) {
			return err
		}
		return errors.Join(err, c.Values().Delete(context.WithoutCancel(ctx), key))
	}
	_, err = c.Values().Set(context.WithoutCancel(ctx), key, []byte("done"))
	if err != nil { // it is posted: the mark that stands is good enough
		c.Log().WarnContext(ctx, "could not note that a message was posted", "key", key, "error", err)
	}
	return nil
}

// keepDays is for how many days it is known what was posted.
const keepDays = 3

// tidy forgets what was posted long ago.
func tidy(ctx context.Context, c *sdk.Call, due time.Time) error {
	oldest := "posted/" + due.UTC().AddDate(0, 0, -keepDays).Format(time.DateOnly)
	for key, err := range c.Values().List(ctx, "posted/") {
		if err != nil {
			return err
		}
		if key > oldest { // keys come in order
			return nil
		}
		if err := c.Values().Delete(ctx, key); err != nil {
			return err
		}
	}
	return nil
}

// notification is the input of the point notification.send.
type notification struct {
	To      string `json:"to"`
	Subject string `json:"subject"`
	Text    string `json:"text"`
	URL     string `json:"url"`
}

// receipt is its output; incoming webhooks do not name their messages.
type receipt struct{}

// notify posts a notification to a channel or a person.
func notify(ctx context.Context, c *sdk.Call, n notification) (receipt, error) {
	var s settings
	if err := c.Settings(&s); err != nil {
		return receipt{}, sdk.Final(err)
	}
	if strings.TrimSpace(n.Text) == "" {
		return receipt{}, sdk.Finalf("the message is empty")
	}
	text := escape(s.Style, n.Text, maxText)
	if n.Subject != "" {
		text = bold(s.Style, escape(s.Style, n.Subject, maxTitle)) + "\n" + text
	}
	if isAddress(n.URL) && !strings.ContainsAny(n.URL, " <>|") {
		text += "\n" + n.URL
	}
	_, err := post(ctx, c, s, message{Webhook: "url", Channel: n.To, Text: text})
	return receipt{}, err
}
