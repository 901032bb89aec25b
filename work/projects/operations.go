package projects

import (
	"cmp"
	"context"
	"errors"
	"reflect"
	"strings"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/event"
	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/internal/line"
	"github.com/guildhall-dev/guildhall/internal/page"
	"github.com/guildhall-dev/guildhall/tenant"
	"github.com/guildhall-dev/guildhall/work"
)

func (f *Feature) list(ctx context.Context, v tenant.View, in *listProjectsInput) (page.Page[Project], error) {
	field, desc := strings.CutPrefix(in.Sort, "-")
	var after *position
	var at position
	if ok, err := in.Position(ctx, &at); err != nil {
		return page.Page[Project]{}, err
	} else if ok {
		after = &at
	}
	rows, total, err := listProjects(ctx, v, in, api.Sort{Field: field, Desc: desc}, after)
	if err != nil {
		return page.Page[Project]{}, err
	}
	p, err := api.Page(ctx, in.ListParams, rows, func(l listed) any { return position{l.SortKey, l.ID} })
	out := page.Page[Project]{Data: make([]Project, len(p.Data)), NextCursor: p.NextCursor, Total: total}
	for i, l := range p.Data {
		out.Data[i] = l.Project
	}
	return out, err
}

func (f *Feature) create(ctx context.Context, tx *tenant.Tx, in *createProject) (Project, error) {
	b, me := in.Body, tx.Scope().User
	var err error
	if b.Name, err = line.Clean("/name", b.Name, maxName); err != nil {
		return Project{}, err
	}
	p := ProjectData{
		ID: id.New(), Name: b.Name, Description: b.Description, Status: cmp.Or(b.Status, active),
		Visibility: cmp.Or(b.Visibility, open), OwnerID: b.OwnerID,
	}
	if b.Color != "" {
		p.Color = &b.Color
	}
	var leads []id.ID
	if !me.IsZero() {
		leads = append(leads, me)
		p.OwnerID = cmp.Or(p.OwnerID, &me)
	}
	if p.OwnerID != nil && *p.OwnerID != me {
		leads = append(leads, *p.OwnerID)
	}
	keys := []string{b.Key}
	if b.Key == "" {
		keys = keysFor(b.Name)
	}
	if p, err = insert(ctx, tx, p, keys, leads); err != nil {
		return Project{}, err
	}
	if err := Created.Emit(ctx, tx, p); err != nil {
		return Project{}, err
	}
	for _, user := range leads {
		lead := ProjectMemberData{ProjectID: p.ID, UserID: user, Role: work.Lead, CreatedAt: p.CreatedAt}
		if err := MemberAdded.Emit(ctx, tx, lead); err != nil {
			return Project{}, err
		}
	}
	return Project{p, work.Lead}, nil
}

func (f *Feature) get(ctx context.Context, v tenant.View, in *projectPath) (Project, error) {
	return seen(ctx, v, in.ProjectID, work.Viewer)
}

func (f *Feature) replace(ctx context.Context, tx *tenant.Tx, in *replaceProject) (Project, error) {
	return f.change(ctx, tx, in.ProjectID, in.IfMatch, in.Body.OwnerID.Present, func(p *ProjectData) {
		b := in.Body
		p.Key, p.Name, p.Description = cmp.Or(b.Key, p.Key), b.Name, b.Description
		p.Status, p.Visibility, p.Color = cmp.Or(b.Status, p.Status), cmp.Or(b.Visibility, p.Visibility), b.Color
		b.OwnerID.SetPtr(&p.OwnerID)
	})
}

func (f *Feature) patch(ctx context.Context, tx *tenant.Tx, in *patchProject) (Project, error) {
	return f.change(ctx, tx, in.ProjectID, in.IfMatch, in.Body.OwnerID.Present, func(p *ProjectData) {
		b := in.Body
		b.Key.Set(&p.Key)
		b.Name.Set(&p.Name)
		b.Description.Set(&p.Description)
		b.Status.Set(&p.Status)
		b.Visibility.Set(&p.Visibility)
		b.Color.SetPtr(&p.Color)
		b.OwnerID.SetPtr(&p.OwnerID)
	})
}

// change lets a lead change a project; a change that changes nothing is none.
// owned says that the caller names the owner, who then has a place in it.
func (f *Feature) change(ctx context.Context, tx *tenant.Tx, project id.ID, match api.IfMatch, owned bool, set func(*ProjectData)) (Project, error) {
	p, err := held(ctx, tx, project, work.Lead)
	if err != nil {
		return Project{}, err
	}
	if !match.Matches(p.Version) {
		return Project{}, fault.StaleVersion(p)
	}
	before, after := p.ProjectData, p.ProjectData
	set(&after)
	if after.Name, err = line.Clean("/name", after.Name, maxName); err != nil {
		return Project{}, err
	}
	if reflect.DeepEqual(before, after) {
		return p, nil
	}
	if after, err = update(ctx, tx, after); err != nil {
		return Project{}, err
	}
	if err := changedType(before, after).EmitChange(ctx, tx, before, after); err != nil {
		return Project{}, err
	}
	if err := keepLed(ctx, tx, before, after, owned); err != nil {
		return Project{}, err
	}
	if before.Visibility != after.Visibility && after.Visibility == private {
		if err := f.release(ctx, tx, after); err != nil {
			return Project{}, err
		}
	}
	return seen(ctx, tx, project, work.Viewer)
}

// changedType is the event that says best what a change did.
func changedType(before, after ProjectData) event.Of[ProjectData] {
	switch {
	case before.Status == after.Status:
		return Updated
	case after.Status == archived:
		return Archived
	}
	return Unarchived
}

// keepLed gives an owner who is named a place in the project, and lets whoever makes it
// private lead it: otherwise the next moment it would be gone from his sight.
func keepLed(ctx context.Context, tx *tenant.Tx, before, after ProjectData, owned bool) error {
	hidden := before.Visibility != after.Visibility && after.Visibility == private
	renamed := after.OwnerID != nil && (before.OwnerID == nil || *before.OwnerID != *after.OwnerID)
	if renamed || hidden && owned && after.OwnerID != nil {
		if _, _, err := add(ctx, tx, after.ID, *after.OwnerID, work.Lead); err != nil {
			return err
		}
	}
	if !hidden {
		return nil
	}
	if me := tx.Scope().User; !me.IsZero() {
		return makeLead(ctx, tx, after.ID, me)
	}
	return stillLed(ctx, tx, Project{ProjectData: after})
}

// release takes a project, which is held, and the work in it off those who
// cannot see it any more.
func (f *Feature) release(ctx context.Context, tx *tenant.Tx, before ProjectData) error {
	after, err := tenant.One[ProjectData](ctx, tx, releaseOwner, before.ID)
	if err == nil {
		err = Updated.EmitChange(ctx, tx, before, after)
	}
	if err != nil && !errors.Is(err, tenant.ErrNoRows) {
		return err
	}
	if f.assignments == nil {
		return nil
	}
	return f.assignments.Unassign(ctx, tx, before.ID)
}

func (f *Feature) delete(ctx context.Context, tx *tenant.Tx, in *deleteProject) (api.None, error) {
	p, err := held(ctx, tx, in.ProjectID, work.Lead)
	if err != nil {
		return api.None{}, err
	}
	if !in.IfMatch.Matches(p.Version) {
		return api.None{}, fault.StaleVersion(p)
	}
	var by *id.ID
	if me := tx.Scope().User; !me.IsZero() {
		by = &me
	}
	gone, err := tenant.One[ProjectData](ctx, tx, trashProject, p.ID, p.Version, by)
	if err != nil {
		return api.None{}, err
	}
	return api.None{}, Deleted.Emit(ctx, tx, gone)
}

// restore is repeatable: a project that is not in the trash stays as it is.
func (f *Feature) restore(ctx context.Context, tx *tenant.Tx, in *projectPath) (Project, error) {
	if _, err := tenant.Value[id.ID](ctx, tx, lockProject, in.ProjectID); err != nil {
		return Project{}, tenant.NotFound(err, "project")
	}
	p, err := tenant.One[Project](ctx, tx, selectTrashed, in.ProjectID, trashDays)
	if err != nil {
		return Project{}, tenant.NotFound(err, "project")
	}
	if err := p.access().Need(work.Lead); err != nil || p.DeletedAt == nil {
		return p, err
	}
	if p.ProjectData, err = tenant.One[ProjectData](ctx, tx, restoreProject, p.ID, p.Version); err != nil {
		return Project{}, err
	}
	return p, Restored.Emit(ctx, tx, p.ProjectData)
}

func (f *Feature) listPrivate(ctx context.Context, v tenant.View, in *listPrivate) (page.Page[PrivateProject], error) {
	var after *string
	var at string
	if ok, err := in.Position(ctx, &at); err != nil {
		return page.Page[PrivateProject]{}, err
	} else if ok {
		after = &at
	}
	rows, total := []PrivateProject{}, new(int64)
	err := v.Snapshot(ctx, func(b *tenant.Batch) {
		tenant.QueueList(b, &rows, selectPrivateProjects, after, in.Limit+1, in.Offset())
		tenant.QueueValue(b, total, countPrivateProjects)
	})
	if err != nil {
		return page.Page[PrivateProject]{}, err
	}
	out, err := api.Page(ctx, in.ListParams, rows, func(p PrivateProject) any { return p.Key })
	if in.WantTotal() {
		out.Total = total
	}
	return out, err
}

// join lets a holder of projects.manage, who may not even see the project,
// lead it from now on; its members read of it in the log.
func (f *Feature) join(ctx context.Context, tx *tenant.Tx, in *projectPath) (Project, error) {
	if _, err := tenant.Value[id.ID](ctx, tx, lockLive, in.ProjectID); err != nil {
		return Project{}, tenant.NotFound(err, "project")
	}
	if me := tx.Scope().User; !me.IsZero() {
		if err := makeLead(ctx, tx, in.ProjectID, me); err != nil {
			return Project{}, err
		}
	}
	return seen(ctx, tx, in.ProjectID, work.Viewer)
}
