package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"

	"github.com/guildhall-dev/guildhall/internal/id"
)

const takeDue = `update river.river_job set state = 'completed', finalized_at = now(), attempted_at = now(), attempt = attempt + 1
	where id in (select id from river.river_job where state in ('available', 'scheduled', 'retryable') and scheduled_at <= now()
		and kind = any($1) order by priority, id limit 100 for update skip locked)
	returning id, kind, attempt, args`

const comeAgain = `update river.river_job set state = 'scheduled', finalized_at = null, attempt = attempt - 1, scheduled_at = now() + make_interval(secs => $2) where id = $1`

const stayDue = `update river.river_job set state = 'available', finalized_at = null where id = $1`

// RunDue runs every due job in this goroutine, one after the other, and
// returns how many. It is for tests and commands that want "a moment later"
// now; a job that fails is reported and stays due.
func (w *Workers) RunDue(ctx context.Context) (int, error) {
	found := 0
	for _, d := range w.ticks {
		n, err := d.tick(ctx, w.db, w.Queue)
		if err != nil {
			return 0, fmt.Errorf("jobs.RunDue: %s: %w", d.Kind, err)
		}
		found += n
	}
	kinds := make([]string, 0, len(w.defs))
	for kind, d := range w.defs {
		if d.Every == 0 {
			kinds = append(kinds, kind)
		}
	}
	rows, err := w.db.Pool().Query(ctx, takeDue, kinds)
	if err != nil {
		return 0, fmt.Errorf("jobs.RunDue: %w", err)
	}
	type due struct {
		ID      int64
		Kind    string
		Attempt int
		Args    []byte
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[due])
	if err != nil {
		return 0, fmt.Errorf("jobs.RunDue: %w", err)
	}
	for _, d := range all {
		var e struct {
			Organization id.ID           `json:"organization_id"`
			Args         json.RawMessage `json:"args"`
		}
		if err := json.Unmarshal(d.Args, &e); err != nil {
			return 0, fmt.Errorf("jobs.RunDue: %w", err)
		}
		err := w.defs[d.Kind].work(ctx, w.db, e.Organization, e.Args, Info{ID: d.ID, Attempt: d.Attempt})
		var again *river.JobSnoozeError
		if errors.As(err, &again) && again.Duration == 0 { // Again; Later is told to who runs it
			if _, err := w.db.Pool().Exec(ctx, comeAgain, d.ID, again.Duration.Seconds()); err != nil {
				return 0, fmt.Errorf("jobs.RunDue: %w", err)
			}
			continue
		}
		if err != nil {
			err = fmt.Errorf("jobs.RunDue: %s: %w", d.Kind, err)
			if _, again := w.db.Pool().Exec(ctx, stayDue, d.ID); again != nil {
				err = errors.Join(err, again)
			}
			return len(all), err
		}
	}
	return found + len(all), nil
}
