package audit

import (
	"context"
	"time"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/event"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/internal/page"
	"github.com/guildhall-dev/guildhall/tenant"
)

// keepDays is how long the log keeps an event.
const keepDays = 400

// reach is which part of the log a list from newest to oldest reads.
type reach struct {
	before id.ID     // rows with smaller ids
	newest time.Time // day
	oldest time.Time // day
}

// reachOf reads the cursor of a list whose rows are not older than oldest.
func reachOf(ctx context.Context, p api.ListParams, oldest time.Time) (reach, error) {
	var last id.ID
	resumed, err := p.Position(ctx, &last)
	if err != nil {
		return reach{}, err
	}
	r := reach{before: last, newest: event.Day(last), oldest: oldest}
	if !resumed {
		// Replicas' clocks differ a little: an id may be of tomorrow.
		r.before, r.newest = endOfIDs, today().AddDate(0, 0, 1)
	}
	if kept := today().AddDate(0, 0, -keepDays-1); r.oldest.Before(kept) {
		r.oldest = kept
	}
	return r, nil
}

var endOfIDs = id.MustParse("ffffffff-ffff-ffff-ffff-ffffffffffff")

// nearDays is how far back the first statement of a list looks. Most pages are
// full by then, and planning for 9 partitions is cheap where 400 are not.
const nearDays = 8

// spans lists what to read one after the other until a page is full: the near
// days, then the rest. With an offset the second is the whole reach, since the
// rows that the first one skipped count there too.
func (r reach) spans(offset int) []reach {
	cut := r.newest.AddDate(0, 0, -nearDays)
	if !r.oldest.Before(cut) {
		return []reach{r}
	}
	near, rest := r, r
	near.oldest = cut
	if offset == 0 {
		rest.newest = cut.AddDate(0, 0, -1)
	}
	return []reach{near, rest}
}

// collect reads limit+1 rows of the reach, the one too many for api.Page.
func collect[T any](ctx context.Context, v tenant.View, p api.ListParams, r reach, sql string, args ...any) ([]T, error) {
	rows := []T{}
	for _, s := range r.spans(p.Offset()) {
		if p.Offset() > 0 {
			rows = rows[:0]
		}
		all := append([]any{v.Scope().Organization, s.before, s.oldest, s.newest}, args...)
		more, err := tenant.List[T](ctx, v, sql, append(all, p.Limit+1-len(rows), p.Offset())...)
		if err != nil {
			return nil, err
		}
		if rows = append(rows, more...); len(rows) > p.Limit {
			break
		}
	}
	return rows, nil
}

// total counts the whole list, from its first page on.
func total(ctx context.Context, v tenant.View, p api.ListParams, oldest time.Time, sql string, args ...any) (*int64, error) {
	if !p.WantTotal() {
		return nil, nil
	}
	newest := today().AddDate(0, 0, 1)
	n, err := tenant.Value[int64](ctx, v, sql, append([]any{v.Scope().Organization, endOfIDs, oldest, newest}, args...)...)
	return &n, err
}

// activityPage is a page of activity; about is nothing, a project or a task.
func activityPage(ctx context.Context, v tenant.View, p api.ListParams, oldest time.Time, rowsSQL, countSQL string, about ...any) (page.Page[event.Event], error) {
	var none page.Page[event.Event]
	r, err := reachOf(ctx, p, oldest)
	if err != nil {
		return none, err
	}
	args := append([]any{subjects(ctx)}, about...)
	rows, err := collect[event.Event](ctx, v, p, r, rowsSQL, args...)
	if err != nil {
		return none, err
	}
	out, err := api.Page(ctx, p, rows, func(e event.Event) any { return e.ID })
	if err != nil {
		return none, err
	}
	out.Total, err = total(ctx, v, p, r.oldest, countSQL, args...)
	return out, err
}

type listActivity struct{ api.ListParams }

func organizationActivity(ctx context.Context, v tenant.View, in *listActivity) (page.Page[event.Event], error) {
	return activityPage(ctx, v, in.ListParams, time.Time{}, organizationRows, countActivity)
}

type listProjectActivity struct {
	ProjectID id.ID `path:"project_id" ref:"project" doc:"The project's id."`
	api.ListParams
}

func projectActivity(ctx context.Context, v tenant.View, in *listProjectActivity) (page.Page[event.Event], error) {
	return activityOf(ctx, v, in.ListParams, in.ProjectID, "project", projectRows, countProject, selectProject)
}

type listTaskActivity struct {
	TaskID id.ID `path:"task_id" ref:"task" doc:"The task's id."`
	api.ListParams
}

func taskActivity(ctx context.Context, v tenant.View, in *listTaskActivity) (page.Page[event.Event], error) {
	return activityOf(ctx, v, in.ListParams, in.TaskID, "task", taskRows, countTask, selectTask)
}

// activityOf reads the activity of one thing. Its rows are bound to the thing's
// visibility in their own statement; only an empty answer asks whether the
// thing is there. Nothing happened to it before its id was made.
func activityOf(ctx context.Context, v tenant.View, p api.ListParams, about id.ID, noun, rowsSQL, countSQL, findSQL string) (page.Page[event.Event], error) {
	out, err := activityPage(ctx, v, p, event.Day(about).AddDate(0, 0, -1), rowsSQL, countSQL, about)
	if err == nil && len(out.Data) == 0 {
		_, err = tenant.Value[id.ID](ctx, v, findSQL, v.Scope().Organization, about)
		err = tenant.NotFound(err, noun)
	}
	return out, err
}
