package customers

import (
	"log/slog"
	"time"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/authz"
	"github.com/guildhall-dev/guildhall/event"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/internal/mail"
	"github.com/guildhall-dev/guildhall/internal/password"
	"github.com/guildhall-dev/guildhall/internal/seal"
	"github.com/guildhall-dev/guildhall/jobs"
	"github.com/guildhall-dev/guildhall/module"
	"github.com/guildhall-dev/guildhall/tenant"
)

// Deps is what the feature stands on.
type Deps struct {
	DB        *tenant.DB
	Queue     *jobs.Queue
	Keys      *seal.Keyring
	Mail      mail.Sender
	Passwords *password.Hasher
	Log       *slog.Logger
	Now       func() time.Time // of access tokens; nil = time.Now
}

// Feature is shops' keys and their customers.
type Feature struct {
	db        *tenant.DB
	queue     *jobs.Queue
	keys      *seal.Keyring
	mail      mail.Sender
	letters   *mail.Letters
	passwords *password.Hasher
	log       *slog.Logger
	now       func() time.Time
	doors     *doors
}

// New returns the feature. Its Identify is an api.Identify for storefronts.
func New(d Deps) (*Feature, error) {
	letters, err := mail.NewLetters()
	if err != nil {
		return nil, err
	}
	if d.Now == nil {
		d.Now = time.Now
	}
	return &Feature{
		db: d.DB, queue: d.Queue, keys: d.Keys, mail: d.Mail, letters: letters, passwords: d.Passwords, log: d.Log, now: d.Now, doors: newDoors(),
	}, nil
}

// The permissions of the feature.
var (
	Read   = authz.Permission{Key: "customers.read", Doc: "See customers and their address books.", From: authz.Member}
	Write  = authz.Permission{Key: "customers.write", Doc: "Enter, change and delete customers.", From: authz.Member}
	Manage = authz.Permission{Key: "storefront.manage", Doc: "See, make, change and revoke the publishable keys of shops.", From: authz.Admin}
)

// fact is what the audit log says of a log-in.
type fact struct {
	ID        id.ID  `json:"id" doc:"The customer's id."`
	SessionID *id.ID `json:"session_id" doc:"The session, where there is one."`
}

// EventSubject implements event.Subjected.
func (f fact) EventSubject() event.Subject { return event.Subject{ID: f.ID} }

// The events of the feature.
var (
	Created    = event.Define[Customer]("customer.created", "Somebody registered as a customer, or was entered as one.")
	Updated    = event.Define[Customer]("customer.updated", "A customer was changed.")
	Deleted    = event.Define[Customer]("customer.deleted", "A customer was deleted: nothing in the row names the person any more. Orders stay.")
	KeyCreated = event.Define[StorefrontKey]("storefront_key.created", "A publishable key was made.")
	KeyUpdated = event.Define[StorefrontKey]("storefront_key.updated", "A publishable key was changed.")
	KeyRevoked = event.Define[StorefrontKey]("storefront_key.revoked", "A publishable key was revoked.")

	loggedIn        = event.DefineInternal[fact]("customer.logged_in", "A customer logged in.")
	tokenReused     = event.DefineInternal[fact]("customer.token_reused", "An old refresh token of a customer was used again; the session was revoked.")
	passwordChanged = event.DefineInternal[fact]("customer.password_changed", "A customer chose a new password with a mailed token.")
)

// Module is the feature's table of contents.
func (f *Feature) Module() module.Module {
	return module.Module{
		Name:        "customers",
		Doc:         "Who buys: the publishable keys of shops, customers, their log-ins and address books.",
		Permissions: []authz.Permission{Read, Write, Manage},
		Operations: func(r *api.Router) {
			f.keyOperations(r)
			f.customerOperations(r)
			f.authOperations(r)
			f.profileOperations(r)
		},
		Events: []*event.Type{
			Created.Type, Updated.Type, Deleted.Type, KeyCreated.Type, KeyUpdated.Type, KeyRevoked.Type,
			loggedIn.Type, tokenReused.Type, passwordChanged.Type,
		},
		Jobs: []jobs.Definition{jobs.Work(sendMail, f.deliver)},
	}
}

func (f *Feature) keyOperations(r *api.Router) {
	api.Read(r, api.Op{
		ID: "list-storefront-keys", Route: "GET /storefront-keys", Can: Manage,
		Summary: "List the publishable keys", Doc: "The keys that were not revoked, oldest first.",
	}, f.listKeys)
	api.Write(r, api.Op{
		ID: "create-storefront-key", Route: "POST /storefront-keys", Can: Manage, Emits: api.Events(KeyCreated.Type),
		Summary: "Make a publishable key",
		Doc: "Makes a key with which a shop names this organisation. It is no secret. Pages of the allowed origins may use it; " +
			"what is no page, such as the server of a shop, sends no Origin and may as well.",
	}, f.createKey)
	api.Read(r, api.Op{
		ID: "get-storefront-key", Route: "GET /storefront-keys/{storefront_key_id}", Can: Manage,
		Summary: "Read a publishable key", Doc: "One key that was not revoked.",
	}, f.getKey)
	api.Write(r, api.Op{
		ID: "update-storefront-key", Route: "PATCH /storefront-keys/{storefront_key_id}", Can: Manage, Emits: api.Events(KeyUpdated.Type),
		Summary: "Change a publishable key", Doc: "Changes its name and its origins, which counts at once.",
	}, f.updateKey)
	api.Write(r, api.Op{
		ID: "revoke-storefront-key", Route: "DELETE /storefront-keys/{storefront_key_id}", Can: Manage, Emits: api.Events(KeyRevoked.Type),
		Summary: "Revoke a publishable key", Doc: "The shop that uses it is closed at once, on every replica, for customers who are logged in too.",
	}, f.revokeKey)
}

func (f *Feature) customerOperations(r *api.Router) {
	api.Read(r, api.Op{
		ID: "list-customers", Route: "GET /customers", Can: Read,
		Summary: "List the customers", Doc: "Newest first, unless sort says otherwise.",
	}, f.list)
	api.Write(r, api.Op{
		ID: "create-customer", Route: "POST /customers", Can: Write, Emits: api.Events(Created.Type), Errors: []string{"409 customer_email_taken"},
		Summary: "Enter a customer", Doc: "Enters a customer without a password. To log in, the customer asks the shop for a new one, which is mailed.",
	}, f.create)
	api.Read(r, api.Op{
		ID: "get-customer", Route: "GET /customers/{customer_id}", Can: Read,
		Summary: "Read a customer", Doc: "One customer.",
	}, f.get)
	api.Write(r, api.Op{
		ID: "update-customer", Route: "PATCH /customers/{customer_id}", Can: Write, Emits: api.Events(Updated.Type), Errors: []string{"409 customer_email_taken"},
		Summary: "Change a customer", Doc: "Sets the named fields. Another e-mail address is unconfirmed, and mailed tokens to the old one are void.",
	}, f.update)
	api.Write(r, api.Op{
		ID: "delete-customer", Route: "DELETE /customers/{customer_id}", Can: Write, Emits: api.Events(Deleted.Type),
		Summary: "Delete a customer",
		Doc: "Takes away all that names the person, the address book and the log-ins, for good. Orders stay and keep the addresses " +
			"that they were sent to. The address is free for another account.",
	}, f.remove)
	api.Read(r, api.Op{
		ID: "list-customer-addresses", Route: "GET /customers/{customer_id}/addresses", Can: Read,
		Summary: "List the address book of a customer", Doc: "Oldest first.",
	}, f.listAddressesOf)
}

func (f *Feature) authOperations(r *api.Router) {
	auth := func(o api.Op) api.Op {
		o.Access, o.LogIn, o.Secret = api.Storefront, true, true
		return o
	}
	api.Call(r, auth(api.Op{
		ID: "register-customer", Route: "POST /storefront/auth/register", Emits: api.Events(Created.Type),
		Summary: "Register as a customer",
		Doc: "Makes an account and mails a token to confirm the address; log-in works before that. " +
			"The answer is the same where the address has an account already: its owner gets a mail instead.",
	}), f.register)
	api.Call(r, auth(api.Op{
		ID: "login-customer", Route: "POST /storefront/auth/login", Status: 200, Errors: []string{"401 invalid_credentials", "429 rate_limited"},
		Summary: "Log in as a customer",
		Doc:     "Opens a session and answers with its first pair of tokens. Failed attempts slow down further ones: see Retry-After.",
	}), f.login)
	api.Call(r, auth(api.Op{
		ID: "refresh-customer", Route: "POST /storefront/auth/refresh", Status: 200,
		Summary: "Refresh the tokens of a customer",
		Doc: "Exchanges a refresh token for the next pair. Sent again within 10 seconds it answers with the same successor, " +
			"for answers get lost; later than that, two must hold it, and the session is revoked.",
	}), f.refresh)
	api.Write(r, api.Op{
		ID: "logout-customer", Route: "POST /storefront/auth/logout", Access: api.Storefront, CustomersOnly: true, Status: 204,
		Summary: "Log out as a customer", Doc: "Ends the session of the access token, which stops to work at once.",
	}, f.logout)
	api.Write(r, auth(api.Op{
		ID: "confirm-customer-email", Route: "POST /storefront/auth/confirm-email", Status: 200, Emits: api.Events(Updated.Type), Errors: []string{"422 token_invalid"},
		Summary: "Confirm a customer's address with a mailed token", Doc: "A token works once, within three days.",
	}), f.confirmEmail)
	api.Call(r, auth(api.Op{
		ID: "forgot-customer-password", Route: "POST /storefront/auth/forgot-password", Status: 200,
		Summary: "Ask for a new password as a customer",
		Doc:     "Mails a token that works once, within one hour, if the address is a customer's. The answer does not tell whether it is.",
	}), f.forgotPassword)
	api.Call(r, auth(api.Op{
		ID: "reset-customer-password", Route: "POST /storefront/auth/reset-password", Status: 200, Emits: api.Events(Updated.Type), Errors: []string{"422 token_invalid"},
		Summary: "Set a customer's password with a mailed token", Doc: "Sets the password, confirms the address and ends every session of the customer.",
	}), f.resetPassword)
}

func (f *Feature) profileOperations(r *api.Router) {
	mine := func(o api.Op) api.Op {
		o.Access, o.CustomersOnly = api.Storefront, true
		return o
	}
	api.Read(r, mine(api.Op{
		ID: "get-customer-profile", Route: "GET /storefront/customers/me",
		Summary: "Read the own profile", Doc: "The customer that the access token belongs to.",
	}), f.getMe)
	api.Write(r, mine(api.Op{
		ID: "update-customer-profile", Route: "PATCH /storefront/customers/me", Emits: api.Events(Updated.Type),
		Summary: "Change the own profile", Doc: "Sets the named fields.",
	}), f.updateMe)
	api.Read(r, mine(api.Op{
		ID: "list-my-addresses", Route: "GET /storefront/customers/me/addresses",
		Summary: "List the own address book", Doc: "Oldest first.",
	}), f.listAddresses)
	api.Write(r, mine(api.Op{
		ID: "create-my-address", Route: "POST /storefront/customers/me/addresses", Errors: []string{"409 customer_addresses_full"},
		Summary: "Enter an address", Doc: "An address book has 50 entries. A default one takes that from the one before.",
	}), f.createAddress)
	api.Read(r, mine(api.Op{
		ID: "get-my-address", Route: "GET /storefront/customers/me/addresses/{address_id}",
		Summary: "Read an address", Doc: "One entry of the own address book.",
	}), f.getAddress)
	api.Write(r, mine(api.Op{
		ID: "replace-my-address", Route: "PUT /storefront/customers/me/addresses/{address_id}",
		Summary: "Replace an address", Doc: "Sets the address as a whole, and whether it is the default one.",
	}), f.replaceAddress)
	api.Write(r, mine(api.Op{
		ID: "delete-my-address", Route: "DELETE /storefront/customers/me/addresses/{address_id}",
		Summary: "Delete an address", Doc: "Orders that were sent there keep it.",
	}), f.deleteAddress)
}
