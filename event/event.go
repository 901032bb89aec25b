// Package event defines what can happen, writes it into the organisation's log
// in the transaction in which it happens, numbers it and lets listeners hear it.
// One log is the audit trail, the activity, the source of webhooks and the pull
// feed.
//
//	Emit     row in event_log + row in event_pending, sent with COMMIT
//	relay    takes pending rows in order, numbers public ones per organisation
//	         without gaps, notes a batch for each listener, enqueues a job
//	listener runs in a transaction of its own organisation; the batch is deleted
//	         in that transaction, so what it does in the database happens once
//
// Order is promised per subject: the pending row is written after the subject's
// row was locked, and a listener hears its batches one after the other.
package event

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"time"

	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/tenant"
)

// Type is a defined event: its name in the past tense, what it means, and the
// shape of its data.
type Type struct {
	Name     string // "task.created"
	Doc      string
	Subject  string // "task"
	Internal bool   // audit only: not numbered, not sent anywhere
	Version  int    // of the data; 1, and one more with each revision
	Data     reflect.Type
	// Family is set for a type that stands for many: the pattern of their names.
	Family string

	Revisions []Revision // oldest first
}

// Subject is what an event is about. Project is set where the right to see
// the event is the right to see the project.
type Subject struct {
	ID      id.ID
	Project *id.ID
}

// Subjected is implemented by every event's data.
type Subjected interface{ EventSubject() Subject }

// Of is a defined event with data of type T.
type Of[T Subjected] struct{ *Type }

// Define defines a public event: "task.created" of subject type "task".
func Define[T Subjected](name, doc string) Of[T] {
	return Of[T]{&Type{Name: name, Doc: doc, Subject: subjectOf(name), Version: 1, Data: reflect.TypeFor[T]()}}
}

// DefineFamily defines a public event that stands for many, which are told apart
// by names that fit the pattern; EmitAs says which.
func DefineFamily[T Subjected](name, pattern, doc string) Of[T] {
	e := Define[T](name, doc)
	e.Family = pattern
	return e
}

// DefineInternal defines an event that only the audit log shows.
func DefineInternal[T Subjected](name, doc string) Of[T] {
	e := Define[T](name, doc)
	e.Internal = true
	return e
}

func subjectOf(name string) string {
	for i := range name {
		if name[i] == '.' {
			return name[:i]
		}
	}
	panic(fmt.Sprintf("event.Define(%q): not named <subject>.<verbed>", name))
}

// Event is one entry of the log, as the feed, webhooks and plugins show it.
type Event struct {
	ID             id.ID           `db:"id" json:"id" doc:"Also the webhook-id of every delivery of it."`
	Type           string          `db:"type" json:"type" maxLength:"100" pattern:"^[a-z_]+\\.[a-z0-9_.]+$" example:"task.created"`
	Timestamp      time.Time       `db:"occurred_at" json:"timestamp"`
	OrganizationID id.ID           `db:"tenant_id" json:"organization_id"`
	Sequence       *int64          `db:"sequence" json:"sequence" minimum:"1" maximum:"9007199254740991" doc:"Number in the organisation's public log, without gaps; null for internal events."`
	Subject        SubjectRef      `db:"subject" json:"subject"`
	Actor          ActorRef        `db:"actor" json:"actor"`
	SchemaVersion  int             `db:"schema_version" json:"schema_version" minimum:"1" maximum:"1000"`
	Data           json.RawMessage `db:"data" json:"data,omitempty" doc:"The full row, after the change; the last state when it was deleted."`
	Previous       json.RawMessage `db:"previous" json:"previous,omitempty" doc:"The old values of the fields that changed."`
}

// SubjectRef names what an event is about.
type SubjectRef struct {
	Type string `json:"type" maxLength:"50" pattern:"^[a-z_]+$" example:"task"`
	ID   *id.ID `json:"id"`
}

// ActorRef names who did it.
type ActorRef struct {
	Type string `json:"type" enum:"user,key,customer,shopper,plugin,system"`
	ID   *id.ID `json:"id"`
}

// Cols are the columns of Event, for statements that read the log as "e".
const Cols = `e.id, e.type, e.occurred_at, e.tenant_id, e.sequence,
	jsonb_build_object('type', e.subject_type, 'id', e.subject_id) as subject,
	jsonb_build_object('type', e.actor_kind, 'id', e.actor_id) as actor,
	e.schema_version, e.data, e.previous`

const insertEvent = `with log as (
	insert into event_log (tenant_id, day, id, type, public, schema_version, subject_type, subject_id, project_id, previous_project_id,
		actor_kind, actor_id, operation, request_id, source_address, occurred_at, data, previous)
	values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, now(), $16, $17)
)
insert into event_pending (tenant_id, day, event_id, type, public) values ($1, $2, $3, $4, $5)`

// Emit records that it happened; data is the row as it is now.
func (e Of[T]) Emit(ctx context.Context, tx *tenant.Tx, data T) error {
	return e.emit(ctx, tx, id.New(), e.Name, data, nil, nil)
}

// EmitAs is Emit with an id and a name of the caller's, for a type that stands
// for a family of them: "plugin.chat.message_posted" of "plugin.event".
func (e Of[T]) EmitAs(ctx context.Context, tx *tenant.Tx, eid id.ID, name string, data T) error {
	return e.emit(ctx, tx, eid, name, data, nil, nil)
}

// EmitChange records a change: previous holds the old values of the fields in
// which the two rows differ. Without any difference nothing is recorded.
func (e Of[T]) EmitChange(ctx context.Context, tx *tenant.Tx, before, after T) error {
	previous, err := changed(before, after)
	if err != nil {
		return fmt.Errorf("event.EmitChange(%s): %w", e.Name, err)
	}
	if previous == nil {
		return nil
	}
	return e.emit(ctx, tx, id.New(), e.Name, after, previous, before.EventSubject().Project)
}

func (e Of[T]) emit(ctx context.Context, tx *tenant.Tx, eid id.ID, name string, data T, previous []byte, oldProject *id.ID) error {
	if g, ok := ctx.Value(guardKey{}).(*Guard); ok {
		g.saw(e.Type)
	}
	raw, err := json.Marshal(data)
	if err != nil {
		return fmt.Errorf("event.Emit(%s): %w", e.Name, err)
	}
	subject, s := data.EventSubject(), tx.Scope()
	if oldProject != nil && subject.Project != nil && *oldProject == *subject.Project {
		oldProject = nil
	}
	var actor *id.ID
	if !s.Actor.ID.IsZero() {
		actor = &s.Actor.ID
	}
	tx.Queue(insertEvent, s.Organization, Day(eid), eid, name, !e.Internal, e.Version, e.Subject, orNull(subject.ID),
		subject.Project, oldProject, string(s.Actor.Kind), actor, s.Operation, s.RequestID, s.SourceAddress, raw, orNullJSON(previous))
	tx.Wake()
	return nil
}

func orNull(i id.ID) *id.ID {
	if i.IsZero() {
		return nil
	}
	return &i
}

func orNullJSON(b []byte) any {
	if b == nil {
		return nil
	}
	return b
}

// Day is the partition of an event: the UTC day in its id.
func Day(i id.ID) time.Time {
	return i.Time().Truncate(24 * time.Hour)
}

// unchanging fields move with every change and say nothing about it.
var unchanging = map[string]bool{"version": true, "updated_at": true}

func changed(before, after any) ([]byte, error) {
	b, err := fields(before)
	if err != nil {
		return nil, err
	}
	a, err := fields(after)
	if err != nil {
		return nil, err
	}
	old := map[string]json.RawMessage{}
	for name, was := range b {
		if !unchanging[name] && !bytes.Equal(was, a[name]) {
			old[name] = was
		}
	}
	for name := range a {
		if _, had := b[name]; !had && !unchanging[name] {
			old[name] = json.RawMessage("null")
		}
	}
	if len(old) == 0 {
		return nil, nil
	}
	return json.Marshal(old)
}

func fields(v any) (map[string]json.RawMessage, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	var m map[string]json.RawMessage
	return m, json.Unmarshal(raw, &m)
}

type guardKey struct{}

// Guard notes what an operation emits, so that package api can hold it against
// the operation's literal.
type Guard struct{ Seen []*Type }

// WithGuard returns a context under which g sees every event.
func WithGuard(ctx context.Context, g *Guard) context.Context {
	return context.WithValue(ctx, guardKey{}, g)
}

func (g *Guard) saw(t *Type) { g.Seen = append(g.Seen, t) }
