package main

import (
	"context"
	"errors"
	"time"

	"github.com/guildhall-dev/guildhall/plugins/sdk"
)

const (
	mostPages = 10 // of issues in one run; the next run goes on
	keepDays  = 3  // for which it is known what was delivered
)

// reconcile looks at the issues that changed since the last run, whatever
// webhooks told. The first run takes over the open ones.
func reconcile(ctx context.Context, c *sdk.Call, _ time.Time) error {
	w, err := begin(c)
	if err != nil {
		return err
	}
	if err := w.forget(ctx, "delivery/"); err != nil {
		return err
	}
	if err := w.forget(ctx, "comment/"); err != nil {
		return err
	}
	key := "since/" + w.s.Repo
	state, since := "open", time.Time{}
	v, err := c.Values().Get(ctx, key)
	if err == nil {
		state = "all"
		since, err = time.Parse(time.RFC3339, string(v.Bytes))
	}
	if err != nil && !errors.Is(err, sdk.ErrNotFound) {
		return err
	}
	var all []issue
	for page := 1; page <= mostPages; page++ { // all pages first: what the plugin changes goes to the end
		some, err := w.listIssues(ctx, state, since, page)
		if err != nil {
			return w.put(ctx, err)
		}
		all = append(all, some...)
		if len(some) < perPage {
			break
		}
	}
	latest := since
	for _, i := range all {
		if err := w.heal(ctx, i); err != nil {
			w.c.Log().ErrorContext(ctx, "an issue was not taken over", "issue", i.Number, "error", err)
			if !sdk.IsFinal(err) {
				return w.put(ctx, errors.Join(err, w.since(ctx, key, latest)))
			}
		}
		latest = i.UpdatedAt
	}
	return w.since(ctx, key, latest)
}

// heal syncs an issue that is not as it was when it last was the same as its task.
func (w work) heal(ctx context.Context, i issue) error {
	if i.isPull() {
		return nil
	}
	l, err := w.linkOf(ctx, i.Number)
	if err != nil || l.Gone || l.Task != "" && l.Synced == i.content() {
		return err
	}
	return w.syncIssue(ctx, i.Number)
}

// put lets what has to wait wait for the next run.
func (w work) put(ctx context.Context, err error) error {
	if at, waits := waitsUntil(err, time.Now()); waits {
		w.c.Log().InfoContext(ctx, "the rest waits for the next run", "not_before", at)
		return nil
	}
	return err
}

// since notes where the next run begins. The issue that changed last is looked at
// once more, since another one may have changed in the same second.
func (w work) since(ctx context.Context, key string, at time.Time) error {
	if at.IsZero() {
		at = time.Now()
	}
	_, err := w.c.Values().Set(ctx, key, []byte(at.UTC().Format(time.RFC3339)))
	return err
}

// forget deletes what was noted long ago, under prefix/<day>/….
func (w work) forget(ctx context.Context, prefix string) error {
	oldest := prefix + time.Now().UTC().AddDate(0, 0, -keepDays).Format(time.DateOnly)
	for key, err := range w.c.Values().List(ctx, prefix) {
		if err != nil {
			return err
		}
		if key > oldest { // keys come in order
			return nil
		}
		if err := w.c.Values().Delete(ctx, key); err != nil {
			return err
		}
	}
	return nil
}
