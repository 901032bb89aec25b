package tasks

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/internal/date"
	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/internal/page"
	"github.com/guildhall-dev/guildhall/tenant"
)

// Filters are what both lists of tasks take. Those that are given must all
// hold; one with several values holds for any of them, except label.
type Filters struct {
	Status     []string  `query:"status" maxItems:"20" maxLength:"40" pattern:"^[a-z][a-z0-9_]*$" doc:"Keys of workflow states, separated by commas."`
	StateGroup []string  `query:"state_group" maxItems:"5" enum:"backlog,unstarted,started,completed,cancelled" doc:"Groups of workflow states, separated by commas."`
	AssignedTo string    `query:"assigned_to" ref:"user" maxLength:"36" pattern:"^(me|none|[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})$" doc:"The id of a person, me, or none."`
	Priority   []string  `query:"priority" maxItems:"5" enum:"none,low,medium,high,urgent" doc:"Priorities, separated by commas."`
	Label      []string  `query:"label" maxItems:"5" minLength:"1" maxLength:"50" doc:"Names of labels, separated by commas; a task must carry all of them."`
	DueBefore  date.Date `query:"due_before" doc:"Due before this day."`
	DueAfter   date.Date `query:"due_after" doc:"Due after this day."`
	ParentID   string    `query:"parent_id" ref:"task" maxLength:"36" pattern:"^(none|[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})$" doc:"Parts of this task, or none for what is no part of another."`
	Search     string    `query:"search" maxLength:"200" doc:"Words that stand so in the title or the description, or a key such as WEB-12."`
	Deleted    bool      `query:"deleted" doc:"Show the trash instead."`
}

type listProjectTasks struct {
	api.ListParams
	Filters
	ProjectID id.ID  `path:"project_id" ref:"project" doc:"The project."`
	Sort      string `query:"sort" maxLength:"200" default:"position" doc:"Fields of position, number, title, priority, due_date, start_date, created_at, updated_at, separated by commas, with - before a field for descending order. title goes by its first 100 characters. Tasks without a date come last either way."`
}

type listTasks struct {
	api.ListParams
	Filters
	ProjectID id.ID  `query:"project_id" ref:"project" doc:"Only tasks of this project."`
	Sort      string `query:"sort" maxLength:"200" default:"-created_at" doc:"Fields of number, title, priority, due_date, start_date, created_at, updated_at, separated by commas, with - before a field for descending order. title goes by its first 100 characters. Tasks without a date come last either way."`
}

func (f *Feature) listOfProject(ctx context.Context, v tenant.View, in *listProjectTasks) (page.Page[Task], error) {
	keys, err := api.ParseSort(in.Sort, "position", "number", "title", "priority", "due_date", "start_date", "created_at", "updated_at")
	if err != nil {
		return page.Page[Task]{}, err
	}
	var s selection
	s.and("t.project_id = ?", in.ProjectID)
	out, err := list(ctx, v, in.ListParams, s, in.Filters, keys)
	if err == nil && len(out.Data) == 0 {
		// Nothing found, or nothing to be seen?
		_, err = tenant.Value[bool](ctx, v, selectWritable, in.ProjectID)
		err = tenant.NotFound(err, "project")
	}
	return out, err
}

func (f *Feature) listAll(ctx context.Context, v tenant.View, in *listTasks) (page.Page[Task], error) {
	keys, err := api.ParseSort(in.Sort, "number", "title", "priority", "due_date", "start_date", "created_at", "updated_at")
	if err != nil {
		return page.Page[Task]{}, err
	}
	var s selection
	if !in.ProjectID.IsZero() {
		s.and("t.project_id = ?", in.ProjectID)
	}
	return list(ctx, v, in.ListParams, s, in.Filters, keys)
}

// list reads one page in one statement, with the total in the same snapshot.
func list(ctx context.Context, v tenant.View, p api.ListParams, s selection, f Filters, keys []api.Sort) (page.Page[Task], error) {
	if err := s.filter(f, v.Scope().User); err != nil {
		return page.Page[Task]{}, err
	}
	count, countArgs := countTasks+s.where(), s.args
	var position []string
	if more, err := p.Position(ctx, &position); err != nil {
		return page.Page[Task]{}, err
	} else if more && len(position) == len(keys)+1 {
		s.after(keys, position)
	}
	sql := selectTasks + s.where() + orderBy(keys) + slice(p.Limit+1, p.Offset())
	var rows []Task
	var total int64
	var err error
	if p.WantTotal() {
		err = v.Snapshot(ctx, func(b *tenant.Batch) {
			tenant.QueueList(b, &rows, sql, s.args...)
			tenant.QueueValue(b, &total, count, countArgs...)
		})
	} else {
		rows, err = tenant.List[Task](ctx, v, sql, s.args...)
	}
	if err != nil {
		return page.Page[Task]{}, err
	}
	out, err := api.Page(ctx, p, rows, func(t Task) any { return positionOf(keys, t) })
	if p.WantTotal() {
		out.Total = &total
	}
	return out, err
}

// slice writes the numbers out: with a limit that it does not know, the planner
// expects to read a tenth of the table and sorts all of it.
func slice(limit, offset int) string {
	sql := " limit " + strconv.Itoa(limit)
	if offset > 0 {
		sql += " offset " + strconv.Itoa(offset)
	}
	return sql
}

// selection collects conditions and their arguments.
type selection struct {
	conds []string
	args  []any
}

// arg adds an argument and returns its placeholder.
func (s *selection) arg(v any) string {
	s.args = append(s.args[:len(s.args):len(s.args)], v)
	return "$" + strconv.Itoa(len(s.args))
}

// and adds a condition; each ? in it stands for one of the values.
func (s *selection) and(cond string, values ...any) {
	for _, v := range values {
		cond = strings.Replace(cond, "?", s.arg(v), 1)
	}
	s.conds = append(s.conds, cond)
}

func (s *selection) where() string { return "where " + strings.Join(s.conds, " and ") }

// carriesLabel finds the labels of the name first, in all projects, and asks of
// each task for the row that ties one of them to it, by the whole key: the
// project stands second in it. Offset 0 keeps the planner from making a join of
// it: where it takes a wrong guess at the sizes, each task costs a walk through
// all that carry a label.
const carriesLabel = `exists (select from task_labels tl where tl.tenant_id = t.tenant_id and tl.project_id = t.project_id and tl.task_id = t.id
	and tl.label_id = any(array(select l.id from labels l where l.name_key = ?)) offset 0)`

func (s *selection) filter(f Filters, me id.ID) error {
	if f.Deleted {
		s.and("t.deleted_at is not null")
	} else {
		s.and("t.deleted_at is null")
	}
	s.anyOf("t.status", f.Status)
	s.anyOf("t.state_group", f.StateGroup)
	s.anyOf("t.priority", f.Priority)
	for _, name := range f.Label {
		for _, key := range labelKeys([]string{name}) {
			s.and(carriesLabel, key)
		}
	}
	if f.AssignedTo == "me" {
		f.AssignedTo = me.String()
	}
	if err := s.reference("t.assigned_to_id", "query.assigned_to", f.AssignedTo); err != nil {
		return err
	}
	if err := s.reference("t.parent_id", "query.parent_id", f.ParentID); err != nil {
		return err
	}
	if !f.DueBefore.IsZero() {
		s.and("t.due_date < ?", f.DueBefore)
	}
	if !f.DueAfter.IsZero() {
		s.and("t.due_date > ?", f.DueAfter)
	}
	if words := strings.ToLower(strings.TrimSpace(f.Search)); words != "" {
		s.and("(strpos(lower(t.title), ?) > 0 or strpos(lower(t.description), ?) > 0 or lower(a.project_key || '-' || t.number) = ?)", words, words, words)
	}
	return nil
}

func (s *selection) anyOf(column string, values []string) {
	if len(values) > 0 {
		s.and(column+" = any(?::text[])", values)
	}
}

// reference takes an id or none.
func (s *selection) reference(column, parameter, value string) error {
	switch value {
	case "":
	case "none":
		s.and(column + " is null")
	default:
		v, err := id.Parse(value)
		if err != nil {
			return fault.Invalidf(parameter, "neither an id nor one of the words that it takes")
		}
		s.and(column+" = ?", v)
	}
	return nil
}

// sortKey is a field to sort by: its expression, and what it is for a row, as
// the text from which Postgres makes the same value again.
type sortKey struct {
	expr  string
	value string // expression of the argument
	of    func(t Task, desc bool) string
}

// keyOf returns what the field sorts by. Rows without a date get one that
// comes last in either direction.
func keyOf(k api.Sort) sortKey {
	last := "infinity"
	if k.Desc {
		last = "-infinity"
	}
	day := func(d *date.Date) string {
		if d == nil {
			return last
		}
		return d.String()
	}
	switch k.Field {
	case "number":
		return sortKey{"t.number", "?::text::integer", func(t Task, _ bool) string { return strconv.Itoa(int(t.Number)) }}
	case "title":
		// Part of it, so that a cursor has an end; the id decides among the rest.
		return sortKey{"lower(left(t.title, 100))", "lower(?::text)", func(t Task, _ bool) string { return firstRunes(t.Title, 100) }}
	case "priority":
		return sortKey{"t.priority_rank", "?::text::smallint", func(t Task, _ bool) string { return strconv.Itoa(priorityRank(t.Priority)) }}
	case "due_date":
		return sortKey{"coalesce(t.due_date, '" + last + "')", "?::text::date", func(t Task, _ bool) string { return day(t.DueDate) }}
	case "start_date":
		return sortKey{"coalesce(t.start_date, '" + last + "')", "?::text::date", func(t Task, _ bool) string { return day(t.StartDate) }}
	case "created_at":
		return sortKey{"t.created_at", "?::text::timestamptz", func(t Task, _ bool) string { return t.CreatedAt.Format(time.RFC3339Nano) }}
	case "updated_at":
		return sortKey{"t.updated_at", "?::text::timestamptz", func(t Task, _ bool) string { return t.UpdatedAt.Format(time.RFC3339Nano) }}
	default:
		return sortKey{"t.position", "?::text", func(t Task, _ bool) string { return t.Position }}
	}
}

// firstRunes is what left() gives.
func firstRunes(s string, n int) string {
	for i := range s {
		if n--; n < 0 {
			return s[:i]
		}
	}
	return s
}

func priorityRank(p string) int {
	for i, name := range []string{"none", "low", "medium", "high", "urgent"} {
		if name == p {
			return i
		}
	}
	return 0
}

func direction(desc bool) string {
	if desc {
		return " desc"
	}
	return ""
}

// orderBy ends with the id, in the direction of the last field, so that an
// index can give the order.
func orderBy(keys []api.Sort) string {
	parts := make([]string, 0, len(keys)+1)
	for _, k := range keys {
		parts = append(parts, keyOf(k).expr+direction(k.Desc))
	}
	return " order by " + strings.Join(append(parts, "t.id"+direction(lastDesc(keys))), ", ")
}

func lastDesc(keys []api.Sort) bool { return len(keys) > 0 && keys[len(keys)-1].Desc }

func positionOf(keys []api.Sort, t Task) []string {
	out := make([]string, 0, len(keys)+1)
	for _, k := range keys {
		out = append(out, keyOf(k).of(t, k.Desc))
	}
	return append(out, t.ID.String())
}

// after keeps what comes after the position in the order of the keys:
// (a, b) > (x, y) where all go one way, else a > x or a = x and (b < y …).
func (s *selection) after(keys []api.Sort, position []string) {
	type term struct {
		expr, value string
		desc        bool
	}
	terms := make([]term, 0, len(position))
	same := true
	for i, k := range keys {
		sk := keyOf(k)
		terms = append(terms, term{sk.expr, strings.Replace(sk.value, "?", s.arg(position[i]), 1), k.Desc})
		same = same && k.Desc == keys[0].Desc
	}
	terms = append(terms, term{"t.id", s.arg(position[len(keys)]) + "::text::uuid", lastDesc(keys)})
	op := func(desc bool) string {
		if desc {
			return " < "
		}
		return " > "
	}
	if same {
		var left, right []string
		for _, t := range terms {
			left, right = append(left, t.expr), append(right, t.value)
		}
		s.conds = append(s.conds, "("+strings.Join(left, ", ")+")"+op(lastDesc(keys))+"("+strings.Join(right, ", ")+")")
		return
	}
	cond := ""
	for i := len(terms) - 1; i >= 0; i-- {
		t := terms[i]
		if cond == "" {
			cond = t.expr + op(t.desc) + t.value
			continue
		}
		cond = "(" + t.expr + op(t.desc) + t.value + " or " + t.expr + " = " + t.value + " and " + cond + ")"
	}
	s.conds = append(s.conds, cond)
}
