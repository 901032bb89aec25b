package inbound

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/tenant"
)

// maxBody is the most that one delivery may bring, in bytes.
const maxBody = 1 << 20

type deliverInput struct {
	SourceID id.ID `path:"inbound_source_id" ref:"inbound_source" doc:"The source, from its url."`
	RawBody  []byte
}

// InboundReceipt is the answer to a sender.
type InboundReceipt struct {
	ID        id.ID `json:"id" ref:"inbound_message" doc:"The message that was kept."`
	Duplicate bool  `json:"duplicate" example:"false" doc:"It had been received before; nothing was kept or told again."`
}

// ResponseStatus is 201 for the first delivery and 200 for each further one.
func (r InboundReceipt) ResponseStatus() int {
	if r.Duplicate {
		return http.StatusOK
	}
	return http.StatusCreated
}

// ResponseStatuses lists both.
func (InboundReceipt) ResponseStatuses() []int { return []int{http.StatusCreated, http.StatusOK} }

// errRefused is the one answer to whoever does not prove that a source sent it.
func errRefused() error {
	return fault.New(fault.Unauthenticated, "invalid_signature",
		"There is no source at this address that takes the request with this signature. Check the address, the secret and the clock of the sender.")
}

func (f *Feature) deliver(ctx context.Context, in *deliverInput) (InboundReceipt, error) {
	header := func(name string) string { return api.RequestHeader(ctx, name) }
	s, err := f.senderAt(ctx, in.SourceID)
	if err != nil {
		return InboundReceipt{}, err
	}
	secrets, err := f.openSecrets(s)
	if err != nil {
		return InboundReceipt{}, err
	}
	scheme := f.schemeOf(s, in.SourceID)
	c := scheme.read(header, in.RawBody)
	if !scheme.matches(c, s.Now, secrets) || s.Enabled == nil || !*s.Enabled {
		return InboundReceipt{}, errRefused()
	}
	m := compose(scheme, c, header, in.RawBody)
	m.SourceID = in.SourceID
	scope := tenant.ForSystem(*s.Organization)
	scope.Operation, scope.RequestID, scope.SourceAddress = "deliver-inbound-message", api.RequestID(ctx), api.SourceAddress(ctx)
	var receipt InboundReceipt
	err = f.DB.Write(ctx, scope, func(tx *tenant.Tx) (err error) {
		receipt, err = keep(ctx, tx, m)
		return err
	})
	return receipt, err
}

// keep stores a message and emits its event, or finds the one that has the same
// id of the sender. Copies that come at once wait here for the first.
func keep(ctx context.Context, tx *tenant.Tx, m FullInboundMessage) (InboundReceipt, error) {
	org := tx.Scope().Organization
	kept, err := tenant.One[FullInboundMessage](ctx, tx, insertMessage, org, m.SourceID, m.ID,
		m.ExternalID, m.Type, m.ContentType, m.PayloadEncoding, m.Payload, m.Size)
	if err == nil {
		return InboundReceipt{ID: kept.ID}, MessageReceived.Emit(ctx, tx, kept.forEvent())
	}
	if !errors.Is(err, tenant.ErrNoRows) {
		return InboundReceipt{}, err
	}
	first, err := tenant.Value[id.ID](ctx, tx, selectRepeated, org, m.SourceID, m.ExternalID)
	if errors.Is(err, tenant.ErrNoRows) {
		return InboundReceipt{}, errRefused()
	}
	return InboundReceipt{ID: first, Duplicate: true}, err
}

// sender is a source as a delivery finds it by its address; all but the time is
// null where there is none.
type sender struct {
	Now          time.Time    `db:"now"`
	Organization *id.ID       `db:"tenant_id"`
	ID           *id.ID       `db:"id"`
	Kind         *string      `db:"kind"`
	HMAC         *InboundHMAC `db:"hmac"`
	Tolerance    *int         `db:"tolerance_seconds"`
	Enabled      *bool        `db:"enabled"`
	SecretIDs    []id.ID      `db:"secret_ids"`
	Secrets      [][]byte     `db:"secrets"`
}

func (f *Feature) senderAt(ctx context.Context, source id.ID) (sender, error) {
	return tenant.One[sender](ctx, f.DB.Global(), selectBySource, source)
}

// openSecrets opens the secrets of a source, the newest first. It opens two
// whatever there is: a decoy stands in for one that is missing.
func (f *Feature) openSecrets(s sender) ([][]byte, error) {
	out := make([][]byte, 2)
	for i := range out {
		sealed, at := f.decoy, decoyPlace
		if i < len(s.Secrets) {
			sealed, at = s.Secrets[i], place(*s.Organization, *s.ID, s.SecretIDs[i])
		}
		var err error
		if out[i], err = f.Keys.Open(sealed, at); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// schemeOf says how a source signs. Where there is none, it is one that the
// address decides, always the same: algorithms differ in their time, so a
// fixed one would tell the sources apart that use another.
func (f *Feature) schemeOf(s sender, source id.ID) scheme {
	if s.Kind != nil {
		return scheme{Kind: *s.Kind, HMAC: s.HMAC, Tolerance: time.Duration(*s.Tolerance) * time.Second}
	}
	h := &InboundHMAC{Header: "X-Signature", Algorithm: "sha256"}
	switch f.Keys.MAC("inbound decoy", source[:])[0] % 16 {
	case 0:
		h.Algorithm = "sha1"
	case 1:
		h.Algorithm = "sha512"
	}
	return scheme{Kind: kindHMAC, HMAC: h}
}
