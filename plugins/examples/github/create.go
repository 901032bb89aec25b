package main

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/guildhall-dev/guildhall/plugins/sdk"
)

// adopt gives an issue its task: the one for which the plugin opened it, or a new
// one. What the new one is made of is written down before, so that a second run
// makes the same request with the same key, and there is one task.
func (w work) adopt(ctx context.Context, i issue, l *link) error {
	if i.Body != nil {
		if id := w.marked("task", *i.Body); id != "" {
			n, begun, err := w.numberOf(ctx, id)
			if err != nil {
				return err
			}
			if begun && (n == 0 || n == i.Number) { // else somebody copied the marker
				return w.join(ctx, i.Number, id, i.content(), l)
			}
		}
	}
	if l.Creating == nil {
		c := i.content()
		l.Creating = &c
		if err := w.keep(ctx, i.Number, l); err != nil {
			return err
		}
	}
	var made task
	err := w.c.API(ctx, http.MethodPost, "/v1/projects/"+w.s.ProjectID+"/tasks", map[string]any{
		"title": l.Creating.Title, "description": l.Creating.Body, "status": w.status(l.Creating.Closed),
	}, &made, sdk.Once("issue/"+w.s.Repo+"/"+strconv.Itoa(i.Number)))
	if err != nil {
		return api(err)
	}
	return w.join(ctx, i.Number, made.ID, *l.Creating, l)
}

// join ties an issue and a task together, that both had the content.
func (w work) join(ctx context.Context, n int, id string, synced content, l *link) error {
	if err := w.setNumber(ctx, id, n); err != nil {
		return err
	}
	l.Task, l.Synced, l.Creating, l.ETag = id, synced, nil, ""
	return w.keep(ctx, n, l)
}

// syncTask makes a task and its issue the same; an open task without one gets it.
func (w work) syncTask(ctx context.Context, id string) error {
	n, _, err := w.numberOf(ctx, id)
	if err != nil {
		return err
	}
	if n == 0 {
		err = w.locked(ctx, id, func() error {
			n, err = w.open(ctx, id)
			return err
		})
	}
	if err != nil || n == 0 {
		return err
	}
	return w.syncIssue(ctx, n)
}

// open opens the issue of a task. GitHub has no key that keeps a request from
// being done twice: so that it is begun is written down before, and a second run
// looks for what the first one did.
func (w work) open(ctx context.Context, id string) (int, error) {
	t, _, err := w.getTask(ctx, id)
	if errors.Is(err, errGone) || err == nil && t.content().Closed {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	_, err = w.c.Values().SetIf(ctx, w.taskKey(id), []byte("0"), 0)
	begun := errors.Is(err, sdk.ErrChanged)
	if err != nil && !begun {
		return 0, err
	}
	i := issue{}
	if begun {
		var n int
		if n, _, err = w.numberOf(ctx, id); err != nil || n > 0 {
			return n, err
		}
		if i, err = w.find(ctx, id); err != nil {
			return 0, err
		}
	}
	c := t.content()
	if i.Number == 0 {
		_, err = w.hub(ctx, http.MethodPost, "/issues", "", map[string]any{"title": c.Title, "body": c.Body + w.mark("task", id)}, &i)
		if err != nil {
			return 0, err
		}
	}
	l, err := w.linkOf(ctx, i.Number)
	if err == nil && l.Task == "" {
		err = w.join(ctx, i.Number, id, i.content(), &l)
		if errors.Is(err, sdk.ErrChanged) { // the webhook was faster
			err = nil
		}
	}
	if err == nil {
		err = w.setNumber(ctx, id, i.Number)
	}
	return i.Number, err
}

// find looks for the issue that an earlier run opened for a task.
func (w work) find(ctx context.Context, id string) (issue, error) {
	since := time.Now().Add(-7 * 24 * time.Hour)
	for page := 1; page <= mostPages; page++ {
		all, err := w.listIssues(ctx, "all", since, page)
		if err != nil {
			return issue{}, err
		}
		for _, i := range all {
			if i.Body != nil && w.marked("task", *i.Body) == id {
				return i, nil
			}
		}
		if len(all) < perPage {
			break
		}
	}
	return issue{}, nil
}
