package webhooks

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"time"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/event"
	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/tenant"
)

// secret is a fresh secret of an endpoint.
type secret struct {
	ID     id.ID
	Sealed []byte
	raw    []byte
}

func (s secret) text() string { return secretText(s.raw) }

// secretText is the form of Standard Webhooks.
func secretText(raw []byte) string { return "whsec_" + base64.StdEncoding.EncodeToString(raw) }

func (f *Feature) newSecret(org, endpoint id.ID) (secret, error) {
	s := secret{ID: id.New(), raw: make([]byte, 32)}
	_, _ = rand.Read(s.raw) // never fails
	var err error
	s.Sealed, err = f.Keys.Seal(s.raw, placeOfSecret(org, endpoint, s.ID))
	return s, err
}

// base64url is how a JWK writes bytes.
const base64url = `translate(rtrim(encode(public_key, 'base64'), '='), '+/', '-_') as public_key`

const keyCols = `id, ` + base64url + `, created_at, expires_at`

const (
	insertFirstKey = `insert into webhook_keys (tenant_id, id, seed, public_key) values ($1, $2, $3, $4)
		on conflict (tenant_id) where expires_at is null do nothing`
	// lockKeys makes those who make keys of an organisation take turns.
	lockKeys = `insert into webhook_counters as c (tenant_id, endpoints) values ($1, 0)
		on conflict (tenant_id) do update set endpoints = c.endpoints`
	expireKeys = `with gone as (
		delete from webhook_keys where tenant_id = $1 and expires_at <= now()
	), ended as (
		update webhook_keys set expires_at = least(coalesce(expires_at, 'infinity'), now() + make_interval(hours => $2))
		where tenant_id = $1 and (expires_at is null or expires_at > now()) returning expires_at
	)
	select count(*) filter (where expires_at > now()) as unexpired, max(expires_at) as previous_expires_at from ended`
	insertKey        = `insert into webhook_keys (tenant_id, id, seed, public_key) values ($1, $2, $3, $4) returning ` + keyCols
	selectPublicKeys = `select id, ` + base64url + ` from webhook_public_keys($1)`
)

func (f *Feature) keyOperations(r *api.Router) {
	api.Write(r, api.Op{
		ID: "rotate-webhook-key", Route: "POST /webhook-keys/rotate", Can: mayManage, Status: 200, Emits: api.Events(KeyRotated.Type),
		Summary: "Replace the organisation's signing key", Doc: "The Ed25519 key pair of v1a signatures. Until the overlap is over, deliveries carry a signature of the old key too, so that receivers have time to fetch the new one. With an overlap of 0 every earlier key ends at once, or within seconds at an endpoint that is just being sent to.",
		Errors: []string{"409 webhook_key_limit: Five keys of the organisation are valid already."},
	}, f.rotateKey)
	api.GlobalRead(r, api.Op{
		ID: "get-webhook-jwks", Route: "GET /organizations/{organization_id}/webhook-jwks.json", Access: api.Public,
		Summary: "Get an organisation's public keys", Doc: "The Ed25519 keys (RFC 8037) under which v1a signatures of its deliveries verify, newest first; empty where no endpoint asked for such signatures yet.",
	}, f.publicKeys)
}

// WebhookKey is an Ed25519 key pair of an organisation, without its private
// half.
type WebhookKey struct {
	ID        id.ID      `db:"id" json:"id" ref:"webhook_key" doc:"Also the kid among the public keys."`
	PublicKey string     `db:"public_key" json:"public_key" maxLength:"43" pattern:"^[A-Za-z0-9_-]{43}$" example:"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" doc:"32 bytes in base64url."`
	CreatedAt time.Time  `db:"created_at" json:"created_at"`
	ExpiresAt *time.Time `db:"expires_at" json:"expires_at" nullable:"true" doc:"When it stops to sign; null for the current one."`
}

// EventSubject implements event.Subjected.
func (k WebhookKey) EventSubject() event.Subject { return event.Subject{ID: k.ID} }

// KeyRotated happens when a key pair replaces the one before.
var KeyRotated = event.Define[WebhookKey]("webhook_key.rotated", "The organisation's signing key for webhooks was replaced.")

// newKey makes a key pair, sealed for its row.
func (f *Feature) newKey(org id.ID) (kid id.ID, seed []byte, public []byte, err error) {
	pub, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return id.Nil, nil, nil, fmt.Errorf("webhooks: make a key pair: %w", err)
	}
	kid = id.New()
	seed, err = f.Keys.Seal(private.Seed(), placeOfKey(org, kid))
	return kid, seed, pub, err
}

// keyOfOrganization makes the organisation's first key pair, unless it has one.
// A rotation waits meanwhile: it would not see the key, and fail at the unique
// index.
func (f *Feature) keyOfOrganization(ctx context.Context, tx *tenant.Tx) error {
	org := tx.Scope().Organization
	kid, seed, public, err := f.newKey(org)
	if err != nil {
		return err
	}
	if _, err := tenant.Exec(ctx, tx, lockKeys, org); err != nil {
		return err
	}
	_, err = tenant.Exec(ctx, tx, insertFirstKey, org, kid, seed, public)
	return err
}

type rotateKey struct{ Body *overlap }

// RotatedKey is the new key pair.
type RotatedKey struct {
	WebhookKey
	PreviousExpiresAt *time.Time `json:"previous_expires_at" nullable:"true" doc:"Until when deliveries are signed with the key before, too; null where there was none."`
}

func (f *Feature) rotateKey(ctx context.Context, tx *tenant.Tx, in *rotateKey) (RotatedKey, error) {
	org := tx.Scope().Organization
	if _, err := tenant.Exec(ctx, tx, lockKeys, org); err != nil {
		return RotatedKey{}, err
	}
	before, err := tenant.One[ended](ctx, tx, expireKeys, org, in.Body.hours())
	if err != nil {
		return RotatedKey{}, err
	}
	if before.Unexpired >= validMost {
		return RotatedKey{}, fault.Conflictf("webhook_key_limit",
			"%d keys of the organisation are valid already. Wait until one expires, or rotate with overlap_hours 0, which ends them all.", validMost)
	}
	kid, seed, public, err := f.newKey(org)
	if err != nil {
		return RotatedKey{}, err
	}
	k, err := tenant.One[WebhookKey](ctx, tx, insertKey, org, kid, seed, public)
	if err != nil {
		return RotatedKey{}, err
	}
	return RotatedKey{k, before.PreviousExpiresAt}, KeyRotated.Emit(ctx, tx, k)
}

// PublicKeys is a JWK set (RFC 7517).
type PublicKeys struct {
	Keys []PublicKey `json:"keys" maxItems:"6" doc:"Newest first."`
}

// jwksLife is how long receivers may keep the set. An overlap is longer, so
// that one with an old set still finds a key that verifies.
const jwksLife = 5 * time.Minute

// CacheFor implements api.Cached.
func (PublicKeys) CacheFor() time.Duration { return jwksLife }

// PublicKey is a JWK of an Ed25519 key (RFC 8037).
type PublicKey struct {
	Type      string `json:"kty" enum:"OKP"`
	Curve     string `json:"crv" enum:"Ed25519"`
	X         string `json:"x" maxLength:"43" pattern:"^[A-Za-z0-9_-]{43}$" example:"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"`
	KeyID     id.ID  `json:"kid"`
	Use       string `json:"use" enum:"sig"`
	Algorithm string `json:"alg" enum:"EdDSA"`
}

type organizationPath struct {
	OrganizationID id.ID `path:"organization_id" ref:"organization" doc:"The organisation."`
}

func (f *Feature) publicKeys(ctx context.Context, v tenant.GlobalView, in *organizationPath) (PublicKeys, error) {
	type row struct {
		ID        *id.ID  `db:"id"`
		PublicKey *string `db:"public_key"`
	}
	rows, err := tenant.List[row](ctx, v, selectPublicKeys, in.OrganizationID)
	if err != nil {
		return PublicKeys{}, err
	}
	if len(rows) == 0 {
		return PublicKeys{}, fault.NotFoundf("organization")
	}
	out := PublicKeys{Keys: []PublicKey{}}
	for _, r := range rows {
		if r.ID != nil {
			out.Keys = append(out.Keys, PublicKey{"OKP", "Ed25519", *r.PublicKey, *r.ID, "sig", "EdDSA"})
		}
	}
	return out, nil
}
