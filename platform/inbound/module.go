package inbound

import (
	"crypto/rand"
	"fmt"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/authz"
	"github.com/guildhall-dev/guildhall/internal/seal"
	"github.com/guildhall-dev/guildhall/jobs"
	"github.com/guildhall-dev/guildhall/module"
	"github.com/guildhall-dev/guildhall/tenant"
)

// Deps is what the feature stands on.
type Deps struct {
	DB        *tenant.DB
	Keys      *seal.Keyring // of the sources' secrets
	PublicURL string        // what the sources' addresses begin with
}

// Feature is the feature.
type Feature struct {
	Deps
	decoy []byte // a sealed secret that nobody knows
}

// New returns the feature.
func New(d Deps) (*Feature, error) {
	secret := make([]byte, generatedSize)
	rand.Read(secret) // never fails: the process ends instead
	decoy, err := d.Keys.Seal(secret, decoyPlace)
	if err != nil {
		return nil, fmt.Errorf("inbound.New: %w", err)
	}
	return &Feature{Deps: d, decoy: decoy}, nil
}

// The permissions of the feature.
var (
	readSources   = authz.Permission{Key: "inbound_sources.read", Doc: "See which foreign services may send webhooks to the organisation.", From: authz.Admin}
	manageSources = authz.Permission{Key: "inbound_sources.manage", Doc: "Add, change and remove sources of inbound webhooks, and replace their secrets.", From: authz.Admin}
	readMessages  = authz.Permission{Key: "inbound_messages.read", Doc: "Read what foreign services sent.", From: authz.Admin}
)

// Module is the feature's table of contents.
func (f *Feature) Module() module.Module {
	return module.Module{
		Name:        "inbound",
		Doc:         "Webhooks of foreign services: verified, kept once, and turned into events.",
		Permissions: []authz.Permission{readSources, manageSources, readMessages},
		Operations: func(r *api.Router) {
			f.sourceOperations(r)
			f.messageOperations(r)
		},
		Events: api.Events(SourceCreated.Type, SourceUpdated.Type, SourceDeleted.Type, MessageReceived.Type),
		Jobs:   []jobs.Definition{jobs.Clock("inbound.purge_messages", purgeEvery, f.purgeMessages)},
	}
}

func (f *Feature) sourceOperations(r *api.Router) {
	api.Read(r, api.Op{
		ID: "list-inbound-sources", Route: "GET /inbound-sources", Can: readSources,
		Summary: "List the sources of inbound webhooks", Doc: "Newest first.",
	}, f.listSources)
	api.Write(r, api.Op{
		ID: "create-inbound-source", Route: "POST /inbound-sources", Can: manageSources, Secret: true, Emits: api.Events(SourceCreated.Type),
		Summary: "Add a source of inbound webhooks",
		Doc: "Gives a foreign service an address to send to: the url of the answer. A source of Standard Webhooks gets a secret if you name none; " +
			"it is shown in this answer and never again. Stripe shows its secret only once it knows the address: leave it out and set it with rotate-secret.",
	}, f.createSource)
	api.Read(r, api.Op{
		ID: "get-inbound-source", Route: "GET /inbound-sources/{inbound_source_id}", Can: readSources,
		Summary: "Get a source of inbound webhooks", Doc: "One source; its secret is never shown.",
	}, f.getSource)
	api.Write(r, api.Op{
		ID: "update-inbound-source", Route: "PATCH /inbound-sources/{inbound_source_id}", Can: manageSources, Emits: api.Events(SourceUpdated.Type),
		Summary: "Change a source of inbound webhooks",
		Doc:     "Sets the fields that the body names. A source that is not enabled takes nothing: its sender gets 401 and tries again for as long as it does.",
	}, f.updateSource)
	api.Write(r, api.Op{
		ID: "delete-inbound-source", Route: "DELETE /inbound-sources/{inbound_source_id}", Can: manageSources, Emits: api.Events(SourceDeleted.Type),
		Summary: "Remove a source of inbound webhooks", Doc: "Its address takes nothing from now on. What it sent stays as long as any message.",
	}, f.deleteSource)
	api.Write(r, api.Op{
		ID: "rotate-inbound-secret", Route: "POST /inbound-sources/{inbound_source_id}/rotate-secret", Can: manageSources, Secret: true, Status: 200,
		Emits: api.Events(SourceUpdated.Type), Summary: "Replace the secret of a source",
		Doc: "Sets the secret that you name, or for Standard Webhooks makes one and shows it once. The one before stays good for the overlap; the one before that ends at once.",
	}, f.rotateSecret)
}

func (f *Feature) messageOperations(r *api.Router) {
	api.Call(r, api.Op{
		ID: "deliver-inbound-message", Route: "POST /inbound/{inbound_source_id}", Access: api.Public, MaxBody: maxBody,
		Emits: api.Events(MessageReceived.Type), Errors: []string{"401 invalid_signature: There is no source at this address that takes the request with this signature."},
		Summary: "Deliver a webhook",
		Doc: "For foreign services. The body is taken as it was sent, of any type, and its signature is verified as the source's kind says; a time in the signature may be off by the source's tolerance. " +
			"The first delivery of an id of the sender answers 201, each further one 200 with the id of the first. " +
			"401 says the same whether there is no such source, it is not enabled, or the signature is wrong or too old.",
	}, f.deliver)
	api.Read(r, api.Op{
		ID: "list-inbound-messages", Route: "GET /inbound-messages", Can: readMessages,
		Summary: "List inbound messages", Doc: "What foreign services sent in the last 30 days, newest first, without the payloads.",
	}, f.listMessages)
	api.Read(r, api.Op{
		ID: "get-inbound-message", Route: "GET /inbound-messages/{inbound_message_id}", Can: readMessages,
		Summary: "Get an inbound message", Doc: "One message with its payload.",
	}, f.getMessage)
}
