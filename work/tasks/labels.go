package tasks

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/event"
	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/internal/page"
	"github.com/guildhall-dev/guildhall/tenant"
	"github.com/guildhall-dev/guildhall/work"
)

// Label is a word that tasks of one project carry. Who sees the project sees
// it, and who may change the project's tasks may change it: a label says
// nothing to anybody else, and nobody else can touch what it stands on.
type Label struct {
	ID        id.ID     `db:"id" json:"id" doc:"Identifies the label under any name."`
	ProjectID id.ID     `db:"project_id" json:"project_id" doc:"The project whose tasks carry it."`
	Name      string    `db:"name" json:"name" maxLength:"50" pattern:"^[^,]*[^\\s,][^,]*$" example:"bug" doc:"Unique in the project, in whatever case."`
	Color     *string   `db:"color" json:"color" nullable:"true" maxLength:"7" pattern:"^#[0-9a-f]{6}$" example:"#d93025" doc:"For display."`
	Version   int64     `db:"version" json:"version" minimum:"1" maximum:"9007199254740991" example:"1" doc:"Counts the changes of the row; also its ETag."`
	CreatedAt time.Time `db:"created_at" json:"created_at"`
}

// RowVersion is the ETag.
func (l Label) RowVersion() int64 { return l.Version }

// EventSubject names the label; who may see its project may see this.
func (l Label) EventSubject() event.Subject { return event.Subject{ID: l.ID, Project: &l.ProjectID} }

// The events of a label. Each tells of all tasks that carry it.
var (
	LabelUpdated = event.Define[Label]("label.updated", "A label got another name or colour; the tasks that carry it show it without an event of their own.")
	LabelDeleted = event.Define[Label]("label.deleted", "A label was deleted; the tasks that carried it lost it without an event of their own.")
)

const labelCols = `l.id, l.project_id, l.name, l.color, l.version, l.created_at`

const labelFrom = ` from labels l join project_access a on a.tenant_id = l.tenant_id and a.project_id = l.project_id `

const (
	// $1 project or null, $2 part of the name
	labelWhere = labelFrom + `where ($1::uuid is null or l.project_id = $1) and ($2 = '' or strpos(l.name_key, $2) > 0) `

	// $3 and $4 the last row before, $5 rows, $6 rows to skip
	selectLabels = `select ` + labelCols + labelWhere + `and ($3::text is null or (l.name_key, l.id) > ($3, $4::uuid))
order by l.name_key, l.id limit $5 offset $6`

	countLabels = `select count(*)` + labelWhere

	selectLabel = `select ` + labelCols + `, a.role, a.archived` + labelFrom + `where l.id = $1`
	lockLabel   = selectLabel + ` for update of l`

	updateLabel = `update labels l set name = $3, name_key = $4, color = $5, version = l.version + 1
where l.tenant_id = $1 and l.id = $2 returning ` + labelCols

	// carriers are the tasks that carry the label $2 of the project $1.
	carriers = `select tl.task_id from task_labels tl where tl.project_id = $1 and tl.label_id = $2`

	// lockLabelled locks the tasks that carry the label. While the label itself
	// is locked as well, no task comes to carry it.
	lockLabelled = `select t.id from tasks t where t.id = any(array(` + carriers + `)) order by t.id for no key update`

	// lockRest takes those that came to carry it meanwhile, without waiting for
	// one, and says whether all are held.
	lockRest = `with held as (select t.id from tasks t where t.id = any(array(` + carriers + `)) for no key update skip locked)
select (select count(*) from held) = (select count(*) from (` + carriers + `) c)`

	// relabel writes the names anew into a batch of the tasks that carry the
	// label, those after the id $4, without it if $3 is set, and returns the last
	// of them. They look different, so they get a new version. It must come after
	// lockLabelled: a statement that waits for a lock goes on to read task_labels
	// as it was before the wait.
	relabel = `with batch as (
	` + carriers + ` and tl.task_id > $4 order by tl.task_id limit $5
), changed as (
	update tasks t set version = t.version + 1, updated_at = now(),
		field_versions = t.field_versions || jsonb_build_object('labels', t.version + 1),
		labels = coalesce((select array_agg(l.name order by l.name_key) from task_labels tl join labels l on l.tenant_id = tl.tenant_id and l.id = tl.label_id
			where tl.tenant_id = t.tenant_id and tl.project_id = t.project_id and tl.task_id = t.id and not ($3 and l.id = $2)), '{}')
	where t.id = any(array(select b.task_id from batch b))
)
select b.task_id from batch b order by b.task_id desc limit 1`

	untieLabel  = `delete from task_labels where project_id = $1 and label_id = $2`
	untieTasks  = `delete from task_labels where project_id = $1 and task_id = any($2::uuid[])`
	deleteLabel = `delete from labels where id = $1`

	insertLabels = `insert into labels (tenant_id, project_id, id, name, name_key)
select $1::uuid, $2::uuid, n.id, n.name, n.name_key from unnest($3::uuid[], $4::text[], $5::text[]) as n (id, name, name_key) order by n.name_key
on conflict (tenant_id, project_id, name_key) do nothing`

	// tieLabels makes the labels that $4 and $5 name the only ones of the tasks
	// $3, as far as they exist. It locks them, so that none goes away meanwhile.
	// The caller holds the tasks' rows.
	tieLabels = `with named as (
	select l.id, l.name, l.name_key from labels l where l.project_id = $2 and l.name_key = any($5::text[]) order by l.id for key share
), wanted as (
	select u.task_id, n.id, n.name, n.name_key from unnest($4::uuid[], $5::text[]) as u (task_id, name_key) join named n on n.name_key = u.name_key
), gone as (
	delete from task_labels tl where tl.project_id = $2 and tl.task_id = any($3::uuid[])
		and not exists (select from wanted w where w.task_id = tl.task_id and w.id = tl.label_id)
), tied as (
	insert into task_labels (tenant_id, project_id, task_id, label_id) select $1::uuid, $2::uuid, w.task_id, w.id from wanted w
	on conflict (tenant_id, project_id, task_id, label_id) do nothing
), written as (
	update tasks t set labels = coalesce((select array_agg(w.name order by w.name_key) from wanted w where w.task_id = t.id), '{}')
	where t.id = any($3::uuid[])
)
select w.name from wanted w order by w.task_id, w.name_key`
)

// tie makes the named labels the task's only ones and returns their names as
// the project writes them. A label is made on first use.
func tie(ctx context.Context, tx *tenant.Tx, project, task id.ID, names []string) ([]string, error) {
	return tieAll(ctx, tx, project, []id.ID{task}, map[id.ID][]string{task: names})
}

// tieAll is tie for many tasks of a project; names has those of each.
func tieAll(ctx context.Context, tx *tenant.Tx, project id.ID, tasks []id.ID, names map[id.ID][]string) ([]string, error) {
	carrying, keys, spelled := []id.ID{}, []string{}, map[string]string{}
	for _, t := range tasks {
		for _, n := range labelNames(names[t]) {
			key := labelKey(n)
			carrying, keys, spelled[key] = append(carrying, t), append(keys, key), n
		}
	}
	org := tx.Scope().Organization
	for {
		tied, err := tenant.Values[string](ctx, tx, tieLabels, org, project, tasks, carrying, keys)
		if err != nil || len(tied) == len(keys) {
			return tied, err
		}
		if err := makeLabels(ctx, tx, project, spelled); err != nil {
			return nil, err
		}
	}
}

// makeLabels makes those of the labels, spelled by key, that are not there.
func makeLabels(ctx context.Context, tx *tenant.Tx, project id.ID, spelled map[string]string) error {
	keys := slices.Sorted(maps.Keys(spelled))
	ids, names := make([]id.ID, len(keys)), make([]string, len(keys))
	for i, k := range keys {
		ids[i], names[i] = id.New(), spelled[k]
	}
	_, err := tenant.Exec(ctx, tx, insertLabels, tx.Scope().Organization, project, ids, names, keys)
	return err
}

type listLabels struct {
	api.ListParams
	ProjectID id.ID  `query:"project_id" ref:"project" doc:"Only labels of this project."`
	Search    string `query:"search" maxLength:"50" doc:"Part of the name."`
}

// labelPlace is a place in the list of labels.
type labelPlace struct {
	Key *string `json:"k"`
	ID  *id.ID  `json:"i"`
}

func (f *Feature) listLabels(ctx context.Context, v tenant.View, in *listLabels) (page.Page[Label], error) {
	var after labelPlace
	if _, err := in.Position(ctx, &after); err != nil {
		return page.Page[Label]{}, err
	}
	var project *id.ID
	if !in.ProjectID.IsZero() {
		project = &in.ProjectID
	}
	var rows []Label
	var total int64
	search := labelKey(in.Search)
	err := v.Snapshot(ctx, func(b *tenant.Batch) {
		tenant.QueueList(b, &rows, selectLabels, project, search, after.Key, after.ID, in.Limit+1, in.Offset())
		if in.WantTotal() {
			tenant.QueueValue(b, &total, countLabels, project, search)
		}
	})
	if err != nil {
		return page.Page[Label]{}, err
	}
	out, err := api.Page(ctx, in.ListParams, rows, func(l Label) any {
		key := labelKey(l.Name)
		return labelPlace{&key, &l.ID}
	})
	if in.WantTotal() {
		out.Total = &total
	}
	return out, err
}

type patchLabel struct {
	LabelID id.ID       `path:"label_id" ref:"label" doc:"The label."`
	IfMatch api.IfMatch `header:"If-Match"`
	Body    struct {
		Name  api.Optional[string] `json:"name" required:"false" minLength:"1" maxLength:"50" pattern:"^[^,]*[^\\s,][^,]*$" doc:"Unique in the project, in whatever case."`
		Color api.Optional[string] `json:"color" required:"false" nullable:"true" maxLength:"7" pattern:"^#[0-9a-f]{6}$" doc:"For display; null for none." example:"#2563eb"`
	}

	asked *int64 // the version that plugins were asked about
}

func (f *Feature) patchLabel(ctx context.Context, tx *tenant.Tx, in *patchLabel) (Label, error) {
	name := in.Body.Name
	if name.Present {
		var err error
		if name.Value, err = cleanLabel("/name", name.Value); err != nil {
			return Label{}, err
		}
	}
	was, err := heldLabel(ctx, tx, in.LabelID, in.IfMatch, name.Present)
	if err != nil {
		return Label{}, err
	}
	if in.asked != nil && *in.asked != was.Version {
		return Label{}, api.ErrAskAgain
	}
	now := was
	name.Set(&now.Name)
	in.Body.Color.SetPtr(&now.Color)
	if now.Name == was.Name && equal(now.Color, was.Color) {
		return was, nil
	}
	now, err = tenant.One[Label](ctx, tx, updateLabel, tx.Scope().Organization, now.ID, now.Name, labelKey(now.Name), now.Color)
	if err != nil {
		return Label{}, err
	}
	if now.Name != was.Name {
		if err := relabelAll(ctx, tx, was, false); err != nil {
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
	l, err := heldLabel(ctx, tx, in.LabelID, in.IfMatch, true)
	if err != nil {
		return api.None{}, err
	}
	if err := relabelAll(ctx, tx, l, true); err != nil {
		return api.None{}, err
	}
	if _, err := tenant.Exec(ctx, tx, untieLabel, l.ProjectID, l.ID); err != nil {
		return api.None{}, err
	}
	if _, err := tenant.Exec(ctx, tx, deleteLabel, l.ID); err != nil {
		return api.None{}, err
	}
	return api.None{}, LabelDeleted.Emit(ctx, tx, l)
}

// relabelAll writes the names anew into all tasks that carry a label, which are
// held.
func relabelAll(ctx context.Context, tx *tenant.Tx, l Label, without bool) error {
	for last := id.Nil; ; {
		next, err := tenant.Value[id.ID](ctx, tx, relabel, l.ProjectID, l.ID, without, last, changeBatch)
		if errors.Is(err, tenant.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		last = next
	}
}

// errStray means that a task that somebody else holds came to carry the label.
var errStray = errors.New("tasks: a task took the label just now")

// heldLabel locks and reads a label for who may change the project's tasks,
// with the tasks that carry it if they are to change as well. Whoever puts a
// label on a task holds the task first and then asks for the label, so the
// tasks come first here, too: nobody waits for who waits for him.
func heldLabel(ctx context.Context, tx *tenant.Tx, label id.ID, m api.IfMatch, carrying bool) (Label, error) {
	for {
		l, err := allowedLabel(ctx, tx, selectLabel, label, m)
		if err != nil {
			return l, err
		}
		err = tx.Try(ctx, func() error {
			if carrying {
				if _, err := tenant.Exec(ctx, tx, lockLabelled, l.ProjectID, l.ID); err != nil {
					return err
				}
			}
			if l, err = allowedLabel(ctx, tx, lockLabel, label, m); err != nil || !carrying {
				return err
			}
			if all, err := tenant.Value[bool](ctx, tx, lockRest, l.ProjectID, l.ID); err != nil || all {
				return err
			}
			return errStray
		})
		if !errors.Is(err, errStray) {
			return l, err
		}
	}
}

func allowedLabel(ctx context.Context, tx *tenant.Tx, sql string, label id.ID, m api.IfMatch) (Label, error) {
	type seen struct {
		Label
		work.Access
	}
	s, err := tenant.One[seen](ctx, tx, sql, label)
	if err != nil {
		return Label{}, tenant.NotFound(err, "label")
	}
	if err := s.Write(); err != nil {
		return Label{}, err
	}
	if !m.Matches(s.Version) {
		return Label{}, fault.StaleVersion(s.Label)
	}
	return s.Label, nil
}
