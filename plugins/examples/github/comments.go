package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/guildhall-dev/guildhall/plugins/sdk"
)

// commentIn brings a comment on an issue to its task.
func (w work) commentIn(ctx context.Context, d delivery) error {
	text := strings.TrimSpace(marker.ReplaceAllString(d.Comment.Body, ""))
	if w.marked("comment", d.Comment.Body) != "" || text == "" {
		return nil // the plugin wrote it
	}
	if err := w.do(ctx, job{Issue: d.Issue.Number}); err != nil {
		return err
	}
	l, err := w.linkOf(ctx, d.Issue.Number)
	if err != nil || l.Gone {
		return err
	}
	if l.Task == "" {
		return errors.New("the issue has no task yet")
	}
	// Mentions of Guildhall look like links: nobody on GitHub mentions people here.
	text = strings.ReplaceAll(clip(text, 15_000), "](user:", "](")
	return api(w.c.API(ctx, http.MethodPost, "/v1/tasks/"+l.Task+"/comments", map[string]string{
		"body": fmt.Sprintf("**%s** on GitHub:\n\n%s", d.Comment.User.Login, text),
	}, nil, sdk.Once("comment/"+strconv.FormatInt(d.Comment.ID, 10))))
}

// commentOut brings a comment on a task to its issue, once: a mark is set before,
// and stays unless GitHub said no.
func (w work) commentOut(ctx context.Context, j job) error {
	n, _, err := w.numberOf(ctx, j.Task)
	if err != nil || n == 0 {
		return err
	}
	key := "comment/" + j.Day + "/" + j.Comment
	if _, err := w.c.Values().SetIf(ctx, key, nil, 0); err != nil {
		if errors.Is(err, sdk.ErrChanged) {
			return nil
		}
		return err
	}
	_, err = w.hub(ctx, http.MethodPost, fmt.Sprintf("/issues/%d/comments", n), "", map[string]string{
		"body": clip(strings.ReplaceAll(j.Body, "@", "@\u200b"), maxBody) + w.mark("comment", j.Comment),
	}, nil)
	if err != nil {
		return errors.Join(err, w.c.Values().Delete(context.WithoutCancel(ctx), key))
	}
	return nil
}
