package tasks

import (
	"context"
	"strings"
	"time"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/event"
	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/internal/page"
	"github.com/guildhall-dev/guildhall/tenant"
)

// Label is a word that tasks of any project of the organisation carry. It is
// there as long as a task carries it, and is seen by who sees such a task.
type Label struct {
	ID        id.ID     `db:"id" json:"id" doc:"Identifies the label under any name."`
	Name      string    `db:"name" json:"name" maxLength:"50" pattern:"^[^,]*[^\\s,][^,]*$" example:"bug" doc:"Unique in the organisation, in whatever case."`
	Color     *string   `db:"color" json:"color" nullable:"true" maxLength:"7" pattern:"^#[0-9a-f]{6}$" example:"#d93025" doc:"For display."`
	Version   int64     `db:"version" json:"version" minimum:"1" maximum:"9007199254740991" example:"1" doc:"Counts the changes of the row; also its ETag."`
	CreatedAt time.Time `db:"created_at" json:"created_at"`
}

// RowVersion is the ETag.
func (l Label) RowVersion() int64 { return l.Version }

// EventSubject names the label.
func (l Label) EventSubject() event.Subject { return event.Subject{ID: l.ID} }

// What happens to labels is in the audit log only: their names come from tasks,
// and not everybody may see those.
var (
	LabelUpdated = event.DefineInternal[Label]("label.updated", "A label got another name or colour.")
	LabelDeleted = event.DefineInternal[Label]("label.deleted", "A label was taken off all tasks.")
)

const labelCols = `l.id, l.name, l.color, l.version, l.created_at`

const seenLabel = `exists (select from task_labels tl
	join tasks t on t.tenant_id = tl.tenant_id and t.id = tl.task_id and t.deleted_at is null
	join project_access a on a.tenant_id = t.tenant_id and a.project_id = t.project_id
	where tl.tenant_id = l.tenant_id and tl.label_id = l.id)`

const (
	selectLabels = `select ` + labelCols + ` from labels l
where ($1 = '' or strpos(l.name_key, $1) > 0) and l.name_key > $2 and ` + seenLabel + ` order by l.name_key limit $3 offset $4`

	countLabels = `select count(*) from labels l where ($1 = '' or strpos(l.name_key, $1) > 0) and ` + seenLabel

	selectLabel = `select ` + labelCols + ` from labels l where l.id = $1 and ` + seenLabel + ` for update of l`

	updateLabel = `update labels l set name = $3, name_key = $4, color = $5, version = l.version + 1
where l.tenant_id = $1 and l.id = $2 returning ` + labelCols

	// lockLabelled locks the tasks that carry the label. While the label itself
	// is locked as well, no task comes to carry it.
	lockLabelled = `select t.id from tasks t where t.id in (select tl.task_id from task_labels tl where tl.label_id = $1)
order by t.id for no key update`

	// relabel writes the names anew into the tasks that carry the label, without
	// it if $2 is set. They look different, so they get a new version. It must
	// come after lockLabelled: a statement that waits for a lock goes on to read
	// task_labels as it was before the wait.
	relabel = `update tasks t set version = t.version + 1, updated_at = now(),
	field_versions = t.field_versions || jsonb_build_object('labels', t.version + 1),
	labels = coalesce((select array_agg(l.name order by l.name_key) from task_labels tl join labels l on l.tenant_id = tl.tenant_id and l.id = tl.label_id
		where tl.tenant_id = t.tenant_id and tl.task_id = t.id and not ($2 and l.id = $1)), '{}')
where t.id in (select tl.task_id from task_labels tl where tl.label_id = $1)`

	untieLabel  = `delete from task_labels where label_id = $1`
	deleteLabel = `delete from labels where id = $1`

	insertLabels = `insert into labels (tenant_id, id, name, name_key)
select $1::uuid, n.id, n.name, n.name_key from unnest($2::uuid[], $3::text[], $4::text[]) as n (id, name, name_key) order by n.name_key
on conflict (tenant_id, name_key) do nothing`

	// tieLabels makes the named labels the task's only ones, as far as they
	// exist. It locks them, so that none goes away meanwhile. The caller holds the
	// task's row.
	tieLabels = `with named as (
	select l.id, l.name, l.name_key from labels l where l.name_key = any($3::text[]) order by l.id for key share
), gone as (
	delete from task_labels tl where tl.task_id = $2 and tl.label_id not in (select n.id from named n)
), tied as (
	insert into task_labels (tenant_id, task_id, label_id) select $1::uuid, $2::uuid, n.id from named n
	on conflict (tenant_id, task_id, label_id) do nothing
), written as (
	update tasks set labels = coalesce((select array_agg(n.name order by n.name_key) from named n), '{}') where id = $2
)
select n.name from named n order by n.name_key`
)

// tie makes the named labels the task's only ones and returns their names as
// the organisation writes them. A label is made on first use.
func tie(ctx context.Context, tx *tenant.Tx, task id.ID, names []string) ([]string, error) {
	names = labelNames(names)
	keys := labelKeys(names)
	org := tx.Scope().Organization
	for {
		tied, err := tenant.Values[string](ctx, tx, tieLabels, org, task, keys)
		if err != nil || len(tied) == len(keys) {
			return tied, err
		}
		ids := make([]id.ID, len(keys))
		for i := range ids {
			ids[i] = id.New()
		}
		if _, err := tenant.Exec(ctx, tx, insertLabels, org, ids, names, keys); err != nil {
			return nil, err
		}
	}
}

type listLabels struct {
	api.ListParams
	Search string `query:"search" maxLength:"50" doc:"Part of the name."`
}

func (f *Feature) listLabels(ctx context.Context, v tenant.View, in *listLabels) (page.Page[Label], error) {
	var after string
	if _, err := in.Position(ctx, &after); err != nil {
		return page.Page[Label]{}, err
	}
	var rows []Label
	var total int64
	search := labelKey(in.Search)
	err := v.Snapshot(ctx, func(b *tenant.Batch) {
		tenant.QueueList(b, &rows, selectLabels, search, after, in.Limit+1, in.Offset())
		if in.WantTotal() {
			tenant.QueueValue(b, &total, countLabels, search)
		}
	})
	if err != nil {
		return page.Page[Label]{}, err
	}
	out, err := api.Page(ctx, in.ListParams, rows, func(l Label) any { return labelKey(l.Name) })
	if in.WantTotal() {
		out.Total = &total
	}
	return out, err
}

type patchLabel struct {
	LabelID id.ID       `path:"label_id" ref:"label" doc:"The label."`
	IfMatch api.IfMatch `header:"If-Match"`
	Body    struct {
		Name  api.Optional[string] `json:"name" required:"false" minLength:"1" maxLength:"50" pattern:"^[^,]*[^\\s,][^,]*$" doc:"Unique in the organisation, in whatever case."`
		Color api.Optional[string] `json:"color" required:"false" nullable:"true" maxLength:"7" pattern:"^#[0-9a-f]{6}$" doc:"For display; null for none." example:"#2563eb"`
	}
}

func (f *Feature) patchLabel(ctx context.Context, tx *tenant.Tx, in *patchLabel) (Label, error) {
	if strings.Contains(in.Body.Name.Value, ",") {
		return Label{}, commaInLabel("/name")
	}
	was, err := heldLabel(ctx, tx, in.LabelID, in.IfMatch)
	if err != nil {
		return Label{}, err
	}
	now := was
	in.Body.Name.Set(&now.Name)
	in.Body.Color.SetPtr(&now.Color)
	if names := labelNames([]string{now.Name}); len(names) == 1 {
		now.Name = names[0]
	}
	if now.Name == was.Name && equal(now.Color, was.Color) {
		return was, nil
	}
	if now.Name != was.Name {
		if _, err := tenant.Exec(ctx, tx, lockLabelled, was.ID); err != nil {
			return Label{}, err
		}
	}
	now, err = tenant.One[Label](ctx, tx, updateLabel, tx.Scope().Organization, now.ID, now.Name, labelKey(now.Name), now.Color)
	if err != nil {
		return Label{}, err
	}
	if now.Name != was.Name {
		if _, err := tenant.Exec(ctx, tx, relabel, was.ID, false); err != nil {
			return Label{}, err
		}
	}
	return now, LabelUpdated.EmitChange(ctx, tx, was, now)
}

type labelMatch struct {
	LabelID id.ID       `path:"label_id" ref:"label" doc:"The label."`
	IfMatch api.IfMatch `header:"If-Match"`
}

func (f *Feature) deleteLabel(ctx context.Context, tx *tenant.Tx, in *labelMatch) (api.None, error) {
	l, err := heldLabel(ctx, tx, in.LabelID, in.IfMatch)
	if err != nil {
		return api.None{}, err
	}
	if _, err := tenant.Exec(ctx, tx, lockLabelled, l.ID); err != nil {
		return api.None{}, err
	}
	if _, err := tenant.Exec(ctx, tx, relabel, l.ID, true); err != nil {
		return api.None{}, err
	}
	for _, sql := range []string{untieLabel, deleteLabel} {
		if _, err := tenant.Exec(ctx, tx, sql, l.ID); err != nil {
			return api.None{}, err
		}
	}
	return api.None{}, LabelDeleted.Emit(ctx, tx, l)
}

func heldLabel(ctx context.Context, tx *tenant.Tx, label id.ID, m api.IfMatch) (Label, error) {
	l, err := tenant.One[Label](ctx, tx, selectLabel, label)
	if err != nil {
		return Label{}, tenant.NotFound(err, "label")
	}
	if !m.Matches(l.Version) {
		return Label{}, fault.StaleVersion(l)
	}
	return l, nil
}
