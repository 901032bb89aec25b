package integrations

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/authz"
	"github.com/guildhall-dev/guildhall/event"
	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/internal/page"
	"github.com/guildhall-dev/guildhall/plugins"
	"github.com/guildhall-dev/guildhall/plugins/sdk/bundle"
	"github.com/guildhall-dev/guildhall/plugins/sdk/pluginpb"
	"github.com/guildhall-dev/guildhall/tenant"
)

// PluginAction is a command that a plugin offers.
type PluginAction struct {
	InstallationID id.ID           `json:"installation_id" ref:"plugin_installation"`
	PluginID       string          `json:"plugin_id" maxLength:"40" example:"github"`
	Name           string          `json:"name" maxLength:"50" example:"sync"`
	Title          string          `json:"title" maxLength:"200" example:"Synchronise now"`
	Description    string          `json:"description" maxLength:"1000" example:"Fetches all issues once."`
	On             []string        `json:"on" nullable:"false" maxItems:"50" maxLength:"50" doc:"The kinds of things that it is offered on; empty: it stands alone." example:"[\"task\"]"`
	Input          json.RawMessage `json:"input_schema" doc:"JSON Schema of its input."`
}

type listActions struct {
	api.ListParams
	On string `query:"on" maxLength:"50" pattern:"^[a-z_]+$" example:"task" doc:"Only actions that are offered on this kind of thing."`
}

func (f *Feature) listActions(ctx context.Context, v tenant.View, in *listActions) (page.Page[PluginAction], error) {
	var last string
	if _, err := in.Position(ctx, &last); err != nil {
		return page.Page[PluginAction]{}, err
	}
	all, err := f.Host.Running(ctx, v.Scope().Organization)
	if err != nil {
		return page.Page[PluginAction]{}, err
	}
	out := []PluginAction{}
	for _, i := range all {
		for _, a := range i.Manifest().Actions {
			if !offered(ctx, i, a) || in.On != "" && !slices.Contains(a.On, in.On) {
				continue
			}
			out = append(out, PluginAction{i.ID, i.PluginID, a.Name, a.Title, a.Description, append([]string{}, a.On...), a.Input})
		}
	}
	name := func(a PluginAction) string { return a.PluginID + "/" + a.Name }
	slices.SortFunc(out, func(a, b PluginAction) int { return cmp.Compare(name(a), name(b)) })
	return cut(ctx, in.ListParams, out, last, name)
}

// cut is a page of a list that was made in memory, sorted by name.
func cut[T any](ctx context.Context, in api.ListParams, all []T, last string, name func(T) string) (page.Page[T], error) {
	total := int64(len(all))
	all = slices.DeleteFunc(all, func(x T) bool { return name(x) <= last })
	all = all[min(in.Offset(), len(all)):]
	out, err := api.Page(ctx, in, all[:min(in.Limit+1, len(all))], func(x T) any { return name(x) })
	if in.WantTotal() {
		out.Total = &total
	}
	return out, err
}

// offered reports whether the caller may run an action: the plugin was granted
// it, and the caller holds what it needs.
func offered(ctx context.Context, i *plugins.Installation, a bundle.Action) bool {
	return i.Granted(bundle.AskAction+":"+a.Name) && (a.Permission == "" || api.Can(ctx, authz.Permission{Key: a.Permission}))
}

type runAction struct {
	InstallationID id.ID  `path:"plugin_installation_id" ref:"plugin_installation" doc:"The installation."`
	Action         string `path:"action" maxLength:"50" pattern:"^[a-z][a-z0-9_]*$" example:"sync" doc:"The action's name."`
	Body           struct {
		Input   json.RawMessage `json:"input" required:"false" doc:"Fits the action's input_schema."`
		Subject *actionSubject  `json:"subject" required:"false" doc:"What it is run on; a task or project has to be one that the caller sees."`
	}
}

type actionSubject struct {
	Type string `json:"type" maxLength:"50" pattern:"^[a-z_]+$" example:"task"`
	ID   id.ID  `json:"id" ref:"task" doc:"Its id."`
}

// PluginActionResult is what came of an action.
type PluginActionResult struct {
	Message string          `json:"message" maxLength:"1000" example:"12 issues were synchronised." doc:"A line for the person who ran it."`
	Output  json.RawMessage `json:"output" doc:"What the plugin answered beyond that; null if nothing."`
}

func (f *Feature) runAction(ctx context.Context, in *runAction) (PluginActionResult, error) {
	var none PluginActionResult
	i, err := f.running(ctx, in.InstallationID)
	if err != nil {
		return none, err
	}
	n := slices.IndexFunc(i.Manifest().Actions, func(a bundle.Action) bool { return a.Name == in.Action })
	if n < 0 || !i.Granted(bundle.AskAction+":"+in.Action) {
		return none, fault.NotFoundf("plugin action")
	}
	a := i.Manifest().Actions[n]
	if !offered(ctx, i, a) {
		return none, fault.Deniedf(a.Permission)
	}
	input := in.Body.Input
	if len(input) == 0 {
		input = json.RawMessage(`{}`)
	}
	if bad := i.Manifest().CheckInput(a.Name, input); len(bad) > 0 {
		return none, fault.Invalidf("/input"+bad[0].Pointer, "%s", bad[0].Message)
	}
	req := &pluginpb.ActRequest{Action: a.Name, Input: input}
	if s := in.Body.Subject; s != nil {
		if !slices.Contains(a.On, s.Type) {
			return none, fault.Invalidf("/subject/type", "this action is not offered on a %s", s.Type)
		}
		if err := f.visible(ctx, *s); err != nil {
			return none, err
		}
		req.SubjectType, req.SubjectId = s.Type, s.ID.String()
	}
	scope := api.CallerOf(ctx).Scope
	ran := event.Fact{Type: "plugin_action.ran", Subject: i.ID, Data: map[string]any{"plugin_id": i.PluginID, "action": a.Name}}
	if err := event.Record(ctx, f.DB, scope, ran); err != nil {
		return none, fmt.Errorf("integrations: record the action: %w", err)
	}
	out, err := f.Host.Act(ctx, i, scope.Actor, req)
	if err != nil {
		return none, unanswered(i, err)
	}
	if out.Refusal != "" {
		return none, refused(i, out.Refusal)
	}
	res := PluginActionResult{Message: clip(out.Message, 1000), Output: json.RawMessage("null")}
	if json.Valid(out.Output) && len(out.Output) > 0 {
		res.Output = out.Output
	}
	return res, nil
}

// subjects are the kinds of things on which actions run whose sight the caller
// has to have, and how to look.
var subjects = map[string]struct {
	read authz.Permission
	sql  string
}{
	"project": {authz.Permission{Key: "projects.read"}, `select true from project_access a where a.tenant_id = $1 and a.project_id = $2`},
	"task": {authz.Permission{Key: "tasks.read"}, `select true from tasks t join project_access a on a.tenant_id = t.tenant_id and a.project_id = t.project_id
		where t.tenant_id = $1 and t.id = $2 and t.deleted_at is null`},
}

// visible answers with 404 if the caller does not see what an action is to be run
// on: the plugin, which acts as itself, may see more than he does.
func (f *Feature) visible(ctx context.Context, s actionSubject) error {
	kind, known := subjects[s.Type]
	if !known {
		return nil // what there is not cannot be hidden: the plugin says what it takes
	}
	if !api.Can(ctx, kind.read) {
		return fault.NotFoundf(s.Type)
	}
	v := api.ViewOf(ctx)
	_, err := tenant.Value[bool](ctx, v, kind.sql, v.Scope().Organization, s.ID)
	return tenant.NotFound(err, s.Type)
}

// running finds an installation that runs in the caller's organisation.
func (f *Feature) running(ctx context.Context, installation id.ID) (*plugins.Installation, error) {
	i, err := f.Host.Installed(ctx, api.CallerOf(ctx).Organization, installation)
	if err == nil && i == nil {
		err = fault.NotFoundf("plugin installation that runs")
	}
	return i, err
}

func refused(i *plugins.Installation, text string) error {
	return fault.New(fault.Invalid, "plugin_refused", "%s", clip(text, 1000)).With("plugin", i.PluginID)
}

// unanswered is what a caller hears when a plugin did not do what it was asked.
func unanswered(i *plugins.Installation, err error) error {
	var e *plugins.CallError
	var r *plugins.Refused
	switch {
	case errors.As(err, &r):
		return refused(i, r.Text)
	case !errors.As(err, &e):
		return err
	case e.Final:
		return refused(i, e.Reason)
	}
	return fault.New(fault.Unavailable, "plugin_unavailable", "The plugin %s did not do it: %s. Try again shortly.", i.PluginID, e.Reason).With("plugin", i.PluginID).Because(err)
}

func clip(s string, most int) string {
	s = strings.ToValidUTF8(strings.ReplaceAll(s, "\x00", ""), "")
	if r := []rune(s); len(r) > most {
		s = string(r[:most-1]) + "…"
	}
	return s
}

// Notification is a message to a person through a channel.
type Notification struct {
	To      string `json:"to" minLength:"1" maxLength:"500" doc:"Where the channel is to send it: a telephone number, a name in a chat."`
	Subject string `json:"subject" maxLength:"200" doc:"What it is about, in a line; may be empty."`
	Text    string `json:"text" minLength:"1" maxLength:"5000" doc:"The message, as plain text."`
	URL     string `json:"url" maxLength:"2048" doc:"Where to read on; may be empty."`
}

// NotificationReceipt is a channel's word that it took a message.
type NotificationReceipt struct {
	ExternalID string `json:"external_id" required:"false" maxLength:"200" example:"SM0123" doc:"What the channel calls the message."`
}

// SendNotification is the point at which plugins bring notifications to people.
var SendNotification = plugins.DefineService[Notification, NotificationReceipt]("notification.send", "Sends a message to a person, by SMS or into a chat.")

// NotificationChannel is a way to reach people that a plugin provides.
type NotificationChannel struct {
	InstallationID id.ID  `json:"installation_id" ref:"plugin_installation"`
	PluginID       string `json:"plugin_id" maxLength:"40" example:"sms"`
	Name           string `json:"name" maxLength:"50" example:"sms"`
	Title          string `json:"title" maxLength:"200" example:"SMS"`
}

type listChannels struct{ api.ListParams }

func (f *Feature) listChannels(ctx context.Context, v tenant.View, in *listChannels) (page.Page[NotificationChannel], error) {
	var last string
	if _, err := in.Position(ctx, &last); err != nil {
		return page.Page[NotificationChannel]{}, err
	}
	all, err := SendNotification.Providers(ctx, f.Host, v.Scope().Organization)
	if err != nil {
		return page.Page[NotificationChannel]{}, err
	}
	out := []NotificationChannel{}
	for _, p := range all {
		out = append(out, NotificationChannel{p.ID, p.PluginID, p.Name, p.Title})
	}
	name := func(c NotificationChannel) string { return c.PluginID + "/" + c.Name }
	slices.SortFunc(out, func(a, b NotificationChannel) int { return cmp.Compare(name(a), name(b)) })
	return cut(ctx, in.ListParams, out, last, name)
}

type testChannel struct {
	InstallationID id.ID  `path:"plugin_installation_id" ref:"plugin_installation" doc:"The installation."`
	Channel        string `path:"channel" maxLength:"50" pattern:"^[a-z][a-z0-9_]*$" example:"sms" doc:"The channel's name."`
	Body           struct {
		To   string `json:"to" minLength:"1" maxLength:"500" example:"+4930123456" doc:"Where to send it."`
		Text string `json:"text" required:"false" maxLength:"1000" doc:"Left out: a line that says that it is a test."`
	}
}

func (f *Feature) testChannel(ctx context.Context, in *testChannel) (NotificationReceipt, error) {
	caller := api.CallerOf(ctx)
	all, err := SendNotification.Providers(ctx, f.Host, caller.Organization)
	if err != nil {
		return NotificationReceipt{}, err
	}
	n := slices.IndexFunc(all, func(p plugins.Provider) bool { return p.ID == in.InstallationID && p.Name == in.Channel })
	if n < 0 {
		return NotificationReceipt{}, fault.NotFoundf("notification channel")
	}
	text := cmp.Or(in.Body.Text, "This is a test of notifications from Guildhall.")
	out, err := SendNotification.Call(ctx, f.Host, all[n], caller.Scope.Actor, Notification{To: in.Body.To, Text: text, Subject: "Test"})
	if err != nil {
		return out, unanswered(all[n].Installation, err)
	}
	return out, nil
}

// maxInbound is the most that a foreign request may bring, in bytes.
const maxInbound = 1 << 20

type receiveInput struct {
	InstallationID id.ID  `path:"plugin_installation_id" ref:"plugin_installation" doc:"The installation, from its address."`
	Inbound        string `path:"inbound" maxLength:"50" pattern:"^[a-z][a-z0-9_]*$" example:"github" doc:"Which of the plugin's addresses."`
	RawBody        []byte
}

func (f *Feature) receive(ctx context.Context, in *receiveInput) (api.Raw, error) {
	org, err := f.organizationOf(ctx, in.InstallationID)
	if err != nil {
		return api.Raw{}, err
	}
	var i *plugins.Installation
	if org != nil {
		if i, err = f.Host.Installed(ctx, *org, in.InstallationID); err != nil {
			return api.Raw{}, err
		}
	}
	if i == nil || !i.Granted(bundle.AskInbound+":"+in.Inbound) {
		return api.Raw{}, fault.NotFoundf("plugin address")
	}
	req := &pluginpb.ReceiveRequest{Name: in.Inbound, Method: http.MethodPost, Body: in.RawBody}
	for name, value := range api.RequestHeaders(ctx) {
		req.Headers = append(req.Headers, &pluginpb.Header{Name: name, Value: value})
	}
	out, err := f.Host.Receive(ctx, i, req)
	var failed *plugins.CallError
	if errors.As(err, &failed) { // why is nothing for strangers
		return api.Raw{}, fault.New(fault.Unavailable, "plugin_unavailable", "The plugin does not answer. Send it again later.").Because(err)
	}
	if err != nil {
		return api.Raw{}, err
	}
	if out.Status < 200 || out.Status > 599 {
		return api.Raw{}, fmt.Errorf("integrations: plugin %s answered with status %d", i.PluginID, out.Status)
	}
	answer := api.Raw{Status: int(out.Status), ContentType: "text/plain; charset=utf-8", Body: out.Body}
	for _, h := range out.Headers {
		if strings.EqualFold(h.Name, "Content-Type") && harmless(h.Value) {
			answer.ContentType = h.Value
		}
	}
	return answer, nil
}

// harmless reports whether a browser that opens an answer of this type shows
// nothing of the plugin's at the product's own address.
func harmless(contentType string) bool {
	t, _, _ := strings.Cut(contentType, ";")
	return slices.Contains([]string{"text/plain", "application/json", "application/x-www-form-urlencoded", "application/octet-stream"}, strings.ToLower(strings.TrimSpace(t)))
}

func (f *Feature) health(ctx context.Context, v tenant.View, in *installationPath) (PluginHealth, error) {
	r, _, err := f.look(ctx, v, selectInstallation, in.InstallationID)
	if err != nil {
		return PluginHealth{}, err
	}
	return PluginHealth{Status: r.Status, StatusReason: r.StatusReason, Health: f.Host.HealthOf(r.ID, r.PluginID, r.PluginVersion)}, nil
}

// PluginHealth is how an installed plugin fares.
type PluginHealth struct {
	Status       string `json:"status" enum:"active,suspended,quarantined" example:"active" doc:"Of the installation."`
	StatusReason string `json:"status_reason" maxLength:"1000" doc:"Why it was quarantined or rolled back."`
	plugins.Health
}

// QueuedEvent is an event that a plugin has not heard to the end.
type QueuedEvent struct {
	Position  int64      `db:"position" json:"position" minimum:"1" example:"17" doc:"Its place among the events that wait."`
	EventID   id.ID      `db:"event_id" json:"event_id" doc:"GET /v1/events/{event_id} shows it."`
	EventType string     `db:"event_type" json:"event_type" maxLength:"100" example:"task.created"`
	Attempts  int        `db:"attempts" json:"attempts" minimum:"0" example:"3"`
	DueAt     *time.Time `db:"due_at" json:"due_at" doc:"When it is tried again; null if it is not."`
	FailedAt  *time.Time `db:"failed_at" json:"failed_at" doc:"Since when it is not tried again by itself."`
	Error     string     `db:"error" json:"error" maxLength:"1000" doc:"Why the last attempt failed."`
}

type listQueuedInput struct {
	api.ListParams
	InstallationID id.ID `path:"plugin_installation_id" ref:"plugin_installation" doc:"The installation."`
}

func (f *Feature) listQueued(ctx context.Context, v tenant.View, in *listQueuedInput) (page.Page[QueuedEvent], error) {
	var none page.Page[QueuedEvent]
	var last *int64
	if _, err := in.Position(ctx, &last); err != nil {
		return none, err
	}
	org := v.Scope().Organization
	var rows []QueuedEvent
	var there []row
	var total int64
	err := v.Snapshot(ctx, func(b *tenant.Batch) {
		tenant.QueueList(b, &there, selectInstallation, org, in.InstallationID)
		tenant.QueueList(b, &rows, listQueued, org, in.InstallationID, last, in.Limit+1, in.Offset())
		if in.WantTotal() {
			tenant.QueueValue(b, &total, countQueued, org, in.InstallationID)
		}
	})
	if err == nil && len(there) == 0 {
		err = fault.NotFoundf("plugin installation")
	}
	if err != nil {
		return none, err
	}
	out, err := api.Page(ctx, in.ListParams, rows, func(q QueuedEvent) any { return q.Position })
	if in.WantTotal() {
		out.Total = &total
	}
	return out, err
}

// RetriedEvents says how many events are tried again.
type RetriedEvents struct {
	Count int64 `json:"count" minimum:"0" example:"3"`
}

func (f *Feature) retryQueued(ctx context.Context, tx *tenant.Tx, in *installationPath) (RetriedEvents, error) {
	org := tx.Scope().Organization
	if _, _, err := f.look(ctx, tx, selectInstallation, in.InstallationID); err != nil {
		return RetriedEvents{}, err
	}
	n, err := tenant.Exec(ctx, tx, retryQueued, org, in.InstallationID)
	if err != nil {
		return RetriedEvents{}, err
	}
	tx.Queue(wakeQueue, org, in.InstallationID)
	return RetriedEvents{n}, nil
}
