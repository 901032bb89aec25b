// Command github is a plugin that keeps the issues of a GitHub repository and
// the tasks of a project the same.
//
// Whatever happens, on either side, leads to the same: both are read, held
// against what they were when they last were the same, and the side that did not
// change follows. So it does not matter how often or in which order one is told,
// and a change of the plugin's own leads to nothing.
//
//	webhook ──┐                  ┌─► PATCH /v1/tasks/…
//	event ────┼─► sync (locked) ─┤
//	schedule ─┘        ▲         └─► PATCH /repos/…/issues/…
//	                   └ values: issue/… and task/…, which belong together
package main

import (
	"context"
	"fmt"
	"net/url"
	"time"

	"github.com/guildhall-dev/guildhall/plugins/sdk"
)

func main() {
	sdk.Serve(sdk.Plugin{
		Hear:          hear,
		Inbound:       map[string]func(context.Context, *sdk.Call, *sdk.Request) (*sdk.Response, error){"github": receive},
		Schedules:     map[string]func(context.Context, *sdk.Call, time.Time) error{"reconcile": reconcile},
		Tasks:         map[string]func(context.Context, *sdk.Call, *sdk.Task) error{"sync": syncLater},
		CheckSettings: check,
	})
}

// settings are what the organisation set.
type settings struct {
	Repo          string `json:"repo"`
	Token         string `json:"token"`
	WebhookSecret string `json:"webhook_secret"`
	ProjectID     string `json:"project_id"`
	BaseURL       string `json:"base_url"`
	OpenStatus    string `json:"open_status"`
	ClosedStatus  string `json:"closed_status"`
	Comments      string `json:"comments"`
}

// work is one request: for whom, and with which settings.
type work struct {
	c *sdk.Call
	s settings
}

func begin(c *sdk.Call) (work, error) {
	s := settings{BaseURL: "https://api.github.com", OpenStatus: "pending", ClosedStatus: "done"}
	if err := c.Settings(&s); err != nil {
		return work{}, sdk.Final(err)
	}
	return work{c, s}, nil
}

// hear follows what happens to tasks of the project, unless the plugin did it.
func hear(ctx context.Context, c *sdk.Call, e sdk.Event) error {
	w, err := begin(c)
	if err != nil {
		return err
	}
	var about struct {
		ProjectID string `json:"project_id"`
		TaskID    string `json:"task_id"`
		Body      string `json:"body"`
	}
	if err := e.Decode(&about); err != nil {
		return sdk.Final(err)
	}
	if about.ProjectID != w.s.ProjectID || e.Actor == (sdk.Reference{Type: "plugin", ID: c.InstallationID}) {
		return nil
	}
	j := job{Task: e.Subject.ID}
	if e.Type == "comment.created" {
		if w.s.Comments != "both" {
			return nil
		}
		j = job{Task: about.TaskID, Comment: e.Subject.ID, Body: about.Body, Day: e.Timestamp.UTC().Format(time.DateOnly)}
	}
	return w.do(ctx, j)
}

// job is what is to be done, now or later.
type job struct {
	Issue   int    `json:"issue,omitempty"`
	Task    string `json:"task,omitempty"`
	Comment string `json:"comment,omitempty"` // of the task, that goes to the issue
	Body    string `json:"body,omitempty"`
	Day     string `json:"day,omitempty"` // on which it was written
}

// do does a job. What has to wait is put aside and done later.
func (w work) do(ctx context.Context, j job) error {
	var err error
	switch {
	case j.Comment != "":
		err = w.commentOut(ctx, j)
	case j.Issue > 0:
		err = w.syncIssue(ctx, j.Issue)
	default:
		err = w.syncTask(ctx, j.Task)
	}
	if at, waits := waitsUntil(err, time.Now()); waits {
		w.c.Log().InfoContext(ctx, "has to wait", "until", at, "why", err)
		return w.c.Enqueue(ctx, "sync", j, at)
	}
	return err
}

func syncLater(ctx context.Context, c *sdk.Call, t *sdk.Task) error {
	w, err := begin(c)
	if err != nil {
		return err
	}
	var j job
	if err := t.Decode(&j); err != nil {
		return sdk.Final(err)
	}
	return w.do(ctx, j)
}

// check says what the schema of the settings cannot.
func check(_ context.Context, c *sdk.Call) (bad []sdk.SettingsError, err error) {
	w, err := begin(c)
	if err != nil {
		return nil, err
	}
	if u, err := url.Parse(w.s.BaseURL); err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil {
		bad = append(bad, sdk.SettingsError{Pointer: "/base_url", Message: "is not an address such as https://github.example.com/api/v3"})
	}
	if w.s.OpenStatus == w.s.ClosedStatus {
		bad = append(bad, sdk.SettingsError{Pointer: "/closed_status", Message: fmt.Sprintf("is the same as open_status, %s", w.s.OpenStatus)})
	}
	return bad, nil
}
