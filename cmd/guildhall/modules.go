package main

import (
	"log/slog"
	"time"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/authz"
	"github.com/guildhall-dev/guildhall/commerce/carts"
	"github.com/guildhall-dev/guildhall/commerce/catalog"
	"github.com/guildhall-dev/guildhall/commerce/customers"
	"github.com/guildhall-dev/guildhall/commerce/inventory"
	"github.com/guildhall-dev/guildhall/commerce/orders"
	"github.com/guildhall-dev/guildhall/commerce/shipping"
	"github.com/guildhall-dev/guildhall/commerce/taxes"
	"github.com/guildhall-dev/guildhall/event"
	"github.com/guildhall-dev/guildhall/internal/mail"
	"github.com/guildhall-dev/guildhall/internal/outbound"
	"github.com/guildhall-dev/guildhall/internal/password"
	"github.com/guildhall-dev/guildhall/internal/seal"
	"github.com/guildhall-dev/guildhall/jobs"
	"github.com/guildhall-dev/guildhall/module"
	"github.com/guildhall-dev/guildhall/platform/access"
	"github.com/guildhall-dev/guildhall/platform/audit"
	"github.com/guildhall-dev/guildhall/platform/identity"
	"github.com/guildhall-dev/guildhall/platform/inbound"
	"github.com/guildhall-dev/guildhall/platform/integrations"
	"github.com/guildhall-dev/guildhall/platform/operations"
	"github.com/guildhall-dev/guildhall/platform/organizations"
	"github.com/guildhall-dev/guildhall/platform/webhooks"
	"github.com/guildhall-dev/guildhall/plugins"
	"github.com/guildhall-dev/guildhall/tenant"
	"github.com/guildhall-dev/guildhall/work/comments"
	"github.com/guildhall-dev/guildhall/work/projects"
	"github.com/guildhall-dev/guildhall/work/tasks"
)

// deps is what a feature may ask for.
type deps struct {
	DB        *tenant.DB
	Queue     *jobs.Queue
	Keys      *seal.Keyring
	Mail      mail.Sender
	Outbound  *outbound.Client
	PublicURL string
	Log       *slog.Logger

	Providers []orders.Provider // of payments, beside manual

	WebhookRetentionDays int

	Confine        string // the program that limits plugins
	FirstPluginUID int
	Restart        plugins.Restart
	Drain          time.Duration // of plugins

	Catalogue func() ([]webhooks.CatalogueEntry, error) // asked when all features are there
}

// features are the features of the product and what the wiring needs of them.
type features struct {
	modules   []module.Module
	authority *authz.Authority
	identify  api.Identify
	identity  *identity.Feature
	shoppers  api.Identify

	organizations *organizations.Feature
	integrations  *integrations.Feature
	plugins       *plugins.Host
}

// newFeatures is THE list of features. To add one, add a line here, a folder
// and a migration. Where one feature needs another in its own transaction, it
// declares an interface and is given the other here.
func newFeatures(d deps) (f features, err error) {
	// 20,000 answers of a role are about 2 MB.
	if f.authority, err = authz.NewAuthority(access.LoadRoles(d.DB), 20_000); err != nil {
		return f, err
	}
	passwords := password.New()
	f.identity, err = identity.New(identity.Deps{DB: d.DB, Queue: d.Queue, Keys: d.Keys, Mail: d.Mail, PublicURL: d.PublicURL, Passwords: passwords, Log: d.Log})
	if err != nil {
		return f, err
	}
	f.identify = access.NewIdentifier(d.DB, f.authority, f.identity.Tokens(), d.Log).Identify
	f.organizations = organizations.New(organizations.Deps{DB: d.DB, Queue: d.Queue, Keys: d.Keys, Mail: d.Mail, PublicURL: d.PublicURL, Authority: f.authority, Log: d.Log})
	received, err := inbound.New(inbound.Deps{DB: d.DB, Keys: d.Keys, PublicURL: d.PublicURL})
	if err != nil {
		return f, err
	}
	f.plugins = plugins.New(plugins.Deps{DB: d.DB, Queue: d.Queue, Keys: d.Keys, Outbound: d.Outbound, Log: d.Log, Confine: d.Confine, FirstUID: d.FirstPluginUID, Restart: d.Restart, Drain: d.Drain})
	f.integrations = integrations.New(integrations.Deps{DB: d.DB, Host: f.plugins, Keys: d.Keys, PublicURL: d.PublicURL, Authority: f.authority, Log: d.Log})
	taskList := tasks.New(tasks.Deps{Queue: d.Queue, Plugins: f.plugins})
	hooks, err := webhooks.New(webhooks.Deps{Queue: d.Queue, Keys: d.Keys, Outbound: d.Outbound, Mail: d.Mail, PublicURL: d.PublicURL, RetentionDays: d.WebhookRetentionDays, Log: d.Log,
		EventTypes: f.eventTypes, Catalogue: d.Catalogue})
	if err != nil {
		return f, err
	}
	shops, err := customers.New(customers.Deps{DB: d.DB, Queue: d.Queue, Keys: d.Keys, Mail: d.Mail, Passwords: passwords, Log: d.Log})
	if err != nil {
		return f, err
	}
	f.shoppers = shops.Identify
	stock := inventory.New()
	products := catalog.New(catalog.Deps{Queue: d.Queue, Stock: stock})
	duties, ways := taxes.New(), shipping.New()
	baskets := carts.New(carts.Deps{Catalog: products, Taxes: duties, Shipping: ways})
	sales, err := orders.New(orders.Deps{DB: d.DB, Queue: d.Queue, Mail: d.Mail, Log: d.Log, Stock: stock, Carts: baskets, Providers: d.Providers})
	if err != nil {
		return f, err
	}
	f.modules = []module.Module{
		f.identity.Module(),
		f.organizations.Module(),
		access.New(access.Deps{DB: d.DB, Authority: f.authority, Log: d.Log}).Module(),
		projects.New(projects.Deps{Queue: d.Queue, Tasks: taskList, Assignments: taskList, Contents: []projects.Contents{taskList}}).Module(),
		audit.New(d.Queue).Module(),
		operations.New().Module(),
		taskList.Module(),
		comments.New(f.plugins).Module(),
		hooks.Module(),
		received.Module(),
		f.integrations.Module(),
		shops.Module(),
		products.Module(),
		stock.Module(),
		duties.Module(),
		ways.Module(),
		baskets.Module(),
		sales.Module(),
	}
	return f, nil
}

// eventTypes are the public events of all features.
func (f *features) eventTypes() (out []*event.Type) {
	for _, m := range f.modules {
		for _, t := range m.Events {
			if !t.Internal {
				out = append(out, t)
			}
		}
	}
	return out
}
