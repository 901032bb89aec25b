// Package operations shows the long work of package operation to its callers:
// everyone sees and cancels what he started; holders of audit_logs.read see and
// cancel everyone's.
package operations

import (
	"context"
	"errors"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/authz"
	"github.com/guildhall-dev/guildhall/event"
	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/jobs"
	"github.com/guildhall-dev/guildhall/module"
	"github.com/guildhall-dev/guildhall/operation"
	"github.com/guildhall-dev/guildhall/tenant"
)

var (
	read = authz.Permission{Key: "operations.read", Doc: "Watch and cancel one's own long-running operations.", From: authz.Guest}

	// Of the audit log: who may read what everyone did may see it being done.
	everyones = authz.Permission{Key: "audit_logs.read"}
)

// Feature is the view on operations.
type Feature struct{}

// New returns the feature.
func New() *Feature { return &Feature{} }

// Module is the feature's table of contents.
func (f *Feature) Module() module.Module {
	return module.Module{
		Name:        "operations",
		Doc:         "Long work: its progress, its outcome, and how to cancel it.",
		Permissions: []authz.Permission{read},
		Operations:  f.operations,
		Events:      api.Events(cancelled.Type),
		Jobs:        []jobs.Definition{operation.Purge()},
	}
}

func (f *Feature) operations(r *api.Router) {
	api.Read(r, api.Op{
		ID: "get-operation", Route: "GET /operations/{operation_id}", Can: read,
		Summary: "Get an operation", Doc: "Progress and outcome of long work. Poll it until the status is done, failed or cancelled; it is kept for 30 days after that.",
	}, get)
	api.Write(r, api.Op{
		ID: "cancel-operation", Route: "POST /operations/{operation_id}/cancel", Can: read, Status: 200,
		Emits: api.Events(cancelled.Type), Errors: []string{"409 operation_finished"},
		Summary: "Cancel an operation", Doc: "The work stops at its next step. What it did until then stays.",
	}, cancel)
}

// row is an operation as the log shows it.
type row struct{ operation.Operation }

// EventSubject implements event.Subjected.
func (r row) EventSubject() event.Subject { return event.Subject{ID: r.ID} }

var cancelled = event.DefineInternal[row]("operation.cancelled", "Somebody cancelled a long-running operation.")

type operationPath struct {
	OperationID id.ID `path:"operation_id" ref:"operation" doc:"The operation's id."`
}

func get(ctx context.Context, v tenant.View, in *operationPath) (operation.Operation, error) {
	o, err := operation.Get(ctx, v, v.Scope(), in.OperationID, api.Can(ctx, everyones))
	return o, tenant.NotFound(err, "operation")
}

func cancel(ctx context.Context, tx *tenant.Tx, in *operationPath) (operation.Operation, error) {
	o, err := operation.Cancel(ctx, tx, in.OperationID, api.Can(ctx, everyones))
	if errors.Is(err, tenant.ErrNoRows) {
		if o, err = operation.Get(ctx, tx, tx.Scope(), in.OperationID, api.Can(ctx, everyones)); err == nil {
			err = fault.Conflictf("operation_finished", "The operation is %s already.", o.Status)
		}
		return o, tenant.NotFound(err, "operation")
	}
	if err != nil {
		return o, err
	}
	return o, cancelled.Emit(ctx, tx, row{o})
}
