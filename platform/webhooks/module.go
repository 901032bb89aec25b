package webhooks

import (
	"fmt"
	"log/slog"
	"slices"
	"sync"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/authz"
	"github.com/guildhall-dev/guildhall/event"
	"github.com/guildhall-dev/guildhall/internal/expr"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/internal/mail"
	"github.com/guildhall-dev/guildhall/internal/outbound"
	"github.com/guildhall-dev/guildhall/internal/seal"
	"github.com/guildhall-dev/guildhall/jobs"
	"github.com/guildhall-dev/guildhall/module"
)

// Deps is what the feature stands on.
type Deps struct {
	Queue     *jobs.Queue
	Keys      *seal.Keyring
	Outbound  *outbound.Client
	Mail      mail.Sender
	PublicURL string
	// RetentionDays is for how long deliveries are kept.
	RetentionDays int
	Log           *slog.Logger

	EventTypes func() []*event.Type             // the public ones of all features
	Catalogue  func() ([]CatalogueEntry, error) // the same, by name, with what is published of them
}

// Feature is the feature.
type Feature struct {
	Deps
	conditions *expr.Cache
	serving    serving
	typeByName func() map[string]*event.Type // looked up for every delivery
}

// conditionsKept bounds the compiled filters that a process holds.
const conditionsKept = 2000

// New returns the feature.
func New(d Deps) (*Feature, error) {
	c, err := expr.NewCache(conditionsKept)
	if err != nil {
		return nil, fmt.Errorf("webhooks.New: %w", err)
	}
	return &Feature{Deps: d, conditions: c, serving: serving{bells: map[id.ID]chan struct{}{}}, typeByName: sync.OnceValue(func() map[string]*event.Type {
		byName := map[string]*event.Type{}
		for _, t := range d.EventTypes() {
			byName[t.Name] = t
		}
		return byName
	})}, nil
}

// The permissions of the feature.
var (
	mayRead   = authz.Permission{Key: "webhooks.read", Doc: "See webhook endpoints and what became of their deliveries.", From: authz.Admin}
	mayManage = authz.Permission{Key: "webhooks.manage", Doc: "Change webhook endpoints, read their secrets, replay deliveries.", From: authz.Admin}
)

// Module is the feature's table of contents.
func (f *Feature) Module() module.Module {
	return module.Module{
		Name:        "webhooks",
		Doc:         "Where events are sent, and what became of every one of them.",
		Permissions: []authz.Permission{mayRead, mayManage},
		Operations: func(r *api.Router) {
			f.endpointOperations(r)
			f.deliveryOperations(r)
			f.catalogueOperations(r)
		},
		Events: append([]*event.Type{EndpointCreated.Type, EndpointUpdated.Type, EndpointDisabled.Type, EndpointDeleted.Type, SecretRotated.Type, KeyRotated.Type}, replayEvents()...),
		Listeners: []event.Listener{
			{Name: "webhooks", Types: []string{"*"}, Hear: f.fanOut},
		},
		Jobs: slices.Concat(f.jobs(), f.endpointJobs(), f.replayJobs()),
	}
}
