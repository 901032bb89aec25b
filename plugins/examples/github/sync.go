package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/guildhall-dev/guildhall/plugins/sdk"
)

// link is what is kept of an issue: its task, and what both had when they last
// were the same.
type link struct {
	Task     string   `json:"task,omitempty"`
	Creating *content `json:"creating,omitempty"` // the task is being made of this
	Synced   content  `json:"synced"`
	ETag     string   `json:"etag,omitempty"` // of the issue when it had Synced
	Gone     bool     `json:"gone,omitempty"` // the issue or the task; the other is left alone

	version int64
}

func (w work) issueKey(n int) string    { return fmt.Sprintf("issue/%s/%d", w.s.Repo, n) }
func (w work) taskKey(id string) string { return "task/" + w.s.Repo + "/" + id }
func (w work) linkOf(ctx context.Context, n int) (l link, err error) {
	v, err := w.c.Values().Get(ctx, w.issueKey(n))
	if errors.Is(err, sdk.ErrNotFound) {
		return link{}, nil
	}
	if err == nil {
		err = v.Decode(&l)
	}
	l.version = v.Version
	return l, err
}

// keep writes a link, if it is still the one that was read.
func (w work) keep(ctx context.Context, n int, l *link) error {
	raw, err := json.Marshal(l)
	if err != nil {
		return err
	}
	l.version, err = w.c.Values().SetIf(ctx, w.issueKey(n), raw, l.version)
	return err
}

// numberOf is the issue of a task; found says that one was at least begun.
func (w work) numberOf(ctx context.Context, id string) (n int, found bool, err error) {
	v, err := w.c.Values().Get(ctx, w.taskKey(id))
	if errors.Is(err, sdk.ErrNotFound) {
		return 0, false, nil
	}
	if err == nil {
		n, err = strconv.Atoi(string(v.Bytes))
	}
	return n, true, err
}

func (w work) setNumber(ctx context.Context, id string, n int) error {
	_, err := w.c.Values().Set(ctx, w.taskKey(id), []byte(strconv.Itoa(n)))
	return err
}

// task is one of Guildhall's, as far as it is of interest.
type task struct {
	ID          string     `json:"id"`
	ProjectID   string     `json:"project_id"`
	Title       string     `json:"title"`
	Description string     `json:"description"`
	StateGroup  string     `json:"state_group"`
	DeletedAt   *time.Time `json:"deleted_at"`
}

func (t task) content() content {
	return newContent(t.Title, t.Description, t.StateGroup == "completed" || t.StateGroup == "cancelled")
}

// getTask reads a task; errGone if it is not there for the plugin, or not in the
// project any more.
func (w work) getTask(ctx context.Context, id string) (t task, etag string, err error) {
	err = w.c.API(ctx, http.MethodGet, "/v1/tasks/"+id, nil, &t, sdk.ETag(&etag))
	if p, is := sdk.IsProblem(err); is && p.Status == http.StatusNotFound || err == nil && (t.DeletedAt != nil || t.ProjectID != w.s.ProjectID) {
		return t, "", errGone
	}
	return t, etag, api(err)
}

// api makes final what the API will refuse again. An old ETag, and a request with
// the same key that is on its way, are not that.
func api(err error) error {
	p, is := sdk.IsProblem(err)
	switch {
	case is && (p.Status == http.StatusPreconditionFailed || p.Status == http.StatusConflict):
		return errors.Join(errBusy, err)
	case is && p.Status < 500 && p.Status != http.StatusTooManyRequests:
		return sdk.Final(err)
	}
	return err
}

// syncIssue makes an issue and its task the same; an issue without one gets it.
func (w work) syncIssue(ctx context.Context, n int) error {
	return w.locked(ctx, strconv.Itoa(n), func() error {
		l, err := w.linkOf(ctx, n)
		if err != nil || l.Gone {
			return err
		}
		i, etag, err := w.getIssue(ctx, n, l.ETag)
		theirs := i.content()
		switch {
		case errors.Is(err, errUnchanged):
			theirs, etag = l.Synced, l.ETag
		case errors.Is(err, errGone):
			return w.leave(ctx, n, l)
		case err != nil:
			return err
		case i.isPull():
			return nil
		}
		if l.Task == "" {
			if err := w.adopt(ctx, i, &l); err != nil {
				return err
			}
		}
		return w.align(ctx, n, l, theirs, etag)
	})
}

// align has the side follow that did not change.
func (w work) align(ctx context.Context, n int, l link, theirs content, etag string) error {
	t, version, err := w.getTask(ctx, l.Task)
	if errors.Is(err, errGone) {
		return w.leave(ctx, n, l)
	}
	if err != nil {
		return err
	}
	ours := t.content()
	both := merge(l.Synced, theirs, ours)
	if both != ours {
		if err := w.patchTask(ctx, l.Task, version, ours, both); err != nil {
			return err
		}
	}
	if both != theirs {
		etag = ""
		if err := w.patchIssue(ctx, n, theirs, both); err != nil {
			return err
		}
	}
	if l.Synced == both && l.ETag == etag {
		return nil
	}
	l.Synced, l.ETag = both, etag
	return w.keep(ctx, n, &l)
}

func (w work) patchTask(ctx context.Context, id, version string, was, now content) error {
	patch := map[string]any{}
	if now.Title != was.Title {
		patch["title"] = now.Title
	}
	if now.Body != was.Body {
		patch["description"] = now.Body
	}
	if now.Closed != was.Closed {
		patch["status"] = w.status(now.Closed)
	}
	return api(w.c.API(ctx, http.MethodPatch, "/v1/tasks/"+id, patch, nil, sdk.IfMatch(version)))
}

func (w work) status(closed bool) string {
	if closed {
		return w.s.ClosedStatus
	}
	return w.s.OpenStatus
}

func (w work) patchIssue(ctx context.Context, n int, was, now content) error {
	patch := map[string]any{}
	if now.Title != was.Title {
		patch["title"] = now.Title
	}
	if now.Body != was.Body {
		patch["body"] = now.Body // the marker has done its part once there is a link
	}
	if now.Closed != was.Closed {
		patch["state"] = map[bool]string{true: "closed", false: "open"}[now.Closed]
	}
	_, err := w.hub(ctx, http.MethodPatch, "/issues/"+strconv.Itoa(n), "", patch, nil)
	return err
}

// leave notes that one side is gone: the other is left as it is.
func (w work) leave(ctx context.Context, n int, l link) error {
	if l.version == 0 {
		return nil
	}
	l.Gone = true
	return w.keep(ctx, n, &l)
}
