// Package module is the shape of a feature: everything it can contribute to
// the product, as one struct whose zero value contributes nothing. The list of
// features is in cmd/guildhall/modules.go; nothing registers itself.
package module

import (
	"context"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/authz"
	"github.com/guildhall-dev/guildhall/event"
	"github.com/guildhall-dev/guildhall/jobs"
	"github.com/guildhall-dev/guildhall/plugins"
)

// Module is one feature.
type Module struct {
	Name        string // the tag of its operations
	Doc         string // one sentence for the reference
	Permissions []authz.Permission
	Operations  func(*api.Router)
	Events      []*event.Type
	Listeners   []event.Listener
	Jobs        []jobs.Definition
	Points      []*plugins.Point // at which plugins extend it
	// Start runs beside the server until ctx ends, in serve and in all.
	Start func(ctx context.Context) error
}
