package inbound

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"time"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/internal/page"
	"github.com/guildhall-dev/guildhall/tenant"
)

// one runs a statement that answers with a source, and gives it its address.
func (f *Feature) one(ctx context.Context, q tenant.Querier, sql string, args ...any) (InboundSource, error) {
	s, err := tenant.One[InboundSource](ctx, q, sql, args...)
	f.address(&s)
	return s, err
}

func (f *Feature) address(s *InboundSource) {
	s.URL = strings.TrimRight(f.PublicURL, "/") + "/v1/inbound/" + s.ID.String()
}

type listSourcesInput struct{ api.ListParams }

func (f *Feature) listSources(ctx context.Context, v tenant.View, in *listSourcesInput) (page.Page[InboundSource], error) {
	var last *id.ID
	if _, err := in.Position(ctx, &last); err != nil {
		return page.Page[InboundSource]{}, err
	}
	var rows []InboundSource
	var total int64
	org := v.Scope().Organization
	err := v.Snapshot(ctx, func(b *tenant.Batch) {
		tenant.QueueList(b, &rows, listSources, org, last, in.Limit+1, in.Offset())
		if in.WantTotal() {
			tenant.QueueValue(b, &total, countSources, org)
		}
	})
	if err != nil {
		return page.Page[InboundSource]{}, err
	}
	for i := range rows {
		f.address(&rows[i])
	}
	out, err := api.Page(ctx, in.ListParams, rows, func(s InboundSource) any { return s.ID })
	if in.WantTotal() {
		out.Total = &total
	}
	return out, err
}

type sourcePath struct {
	SourceID id.ID `path:"inbound_source_id" ref:"inbound_source" doc:"The source."`
}

func (f *Feature) getSource(ctx context.Context, v tenant.View, in *sourcePath) (InboundSource, error) {
	s, err := f.one(ctx, v, selectSource, v.Scope().Organization, in.SourceID)
	return s, tenant.NotFound(err, "inbound source")
}

type createSource struct {
	Body struct {
		Name             string             `json:"name" minLength:"1" maxLength:"200" pattern:"\\S" doc:"Events show it." example:"Payments"`
		Kind             string             `json:"kind" enum:"standard_webhooks,stripe,github,hmac" doc:"How the sender signs." example:"standard_webhooks"`
		Secret           string             `json:"secret" required:"false" minLength:"16" maxLength:"255" doc:"What the sender signs with. Left out for standard_webhooks, one is made and shown once; left out for stripe, the source waits for it; required for the others. Never shown."`
		HMAC             *InboundHMAC       `json:"hmac" required:"false" doc:"How the sender signs; required for kind hmac and for no other."`
		ToleranceSeconds int                `json:"tolerance_seconds" required:"false" minimum:"10" maximum:"3600" default:"300" doc:"How far the time in a signature may be from now." example:"300"`
		Enabled          api.Optional[bool] `json:"enabled" required:"false" doc:"True when left out."`
	}
}

func (f *Feature) createSource(ctx context.Context, tx *tenant.Tx, in *createSource) (NewInboundSource, error) {
	b := in.Body
	if err := checkHMAC(b.Kind, b.HMAC); err != nil {
		return NewInboundSource{}, err
	}
	if b.HMAC != nil {
		b.HMAC = b.HMAC.settled()
	}
	key, shown, err := settleSecret(b.Kind, b.Secret, true)
	if err != nil {
		return NewInboundSource{}, err
	}
	enabled := true
	b.Enabled.Set(&enabled)
	s, err := f.one(ctx, tx, insertSource, tx.Scope().Organization, id.New(), b.Name, b.Kind, b.HMAC, b.ToleranceSeconds, enabled, key != nil)
	if err != nil {
		return NewInboundSource{}, err
	}
	if key != nil {
		if err := f.storeSecret(ctx, tx, s.ID, key); err != nil {
			return NewInboundSource{}, err
		}
	}
	return NewInboundSource{InboundSource: s, Secret: shown}, SourceCreated.Emit(ctx, tx, s)
}

func (f *Feature) storeSecret(ctx context.Context, tx *tenant.Tx, source id.ID, key []byte) error {
	org, secret := tx.Scope().Organization, id.New()
	sealed, err := f.Keys.Seal(key, place(org, source, secret))
	if err != nil {
		return err
	}
	_, err = tenant.Exec(ctx, tx, insertSecret, org, source, secret, sealed)
	return err
}

// hmacPatch sets the named ones of the settings.
type hmacPatch struct {
	Header          api.Optional[string] `json:"header" required:"false" minLength:"1" maxLength:"100" pattern:"^[A-Za-z0-9_-]+$" example:"X-Signature"`
	Algorithm       api.Optional[string] `json:"algorithm" required:"false" enum:"sha256,sha512,sha1"`
	Encoding        api.Optional[string] `json:"encoding" required:"false" enum:"hex,base64"`
	Prefix          api.Optional[string] `json:"prefix" required:"false" maxLength:"50"`
	TimestampHeader api.Optional[string] `json:"timestamp_header" required:"false" maxLength:"100" pattern:"^[A-Za-z0-9_-]*$"`
	IDHeader        api.Optional[string] `json:"id_header" required:"false" maxLength:"100" pattern:"^[A-Za-z0-9_-]*$"`
}

func (p *hmacPatch) apply(to *InboundHMAC) *InboundHMAC {
	if p == nil || to == nil {
		return to
	}
	h := *to
	p.Header.Set(&h.Header)
	p.Algorithm.Set(&h.Algorithm)
	p.Encoding.Set(&h.Encoding)
	p.Prefix.Set(&h.Prefix)
	p.TimestampHeader.Set(&h.TimestampHeader)
	p.IDHeader.Set(&h.IDHeader)
	return &h
}

type patchSource struct {
	SourceID id.ID       `path:"inbound_source_id" ref:"inbound_source" doc:"The source."`
	IfMatch  api.IfMatch `header:"If-Match"`
	Body     struct {
		Name             api.Optional[string] `json:"name" required:"false" minLength:"1" maxLength:"200" pattern:"\\S" example:"Payments"`
		HMAC             *hmacPatch           `json:"hmac" required:"false" doc:"Sets the named settings of a source of kind hmac."`
		ToleranceSeconds api.Optional[int]    `json:"tolerance_seconds" required:"false" minimum:"10" maximum:"3600" example:"300"`
		Enabled          api.Optional[bool]   `json:"enabled" required:"false"`
	}
}

func (f *Feature) updateSource(ctx context.Context, tx *tenant.Tx, in *patchSource) (InboundSource, error) {
	was, err := f.locked(ctx, tx, in.SourceID)
	if err != nil {
		return InboundSource{}, err
	}
	if !in.IfMatch.Matches(was.Version) {
		return InboundSource{}, fault.StaleVersion(was)
	}
	now, b := was, in.Body
	if b.HMAC != nil && was.HMAC == nil {
		return InboundSource{}, checkHMAC(was.Kind, &InboundHMAC{})
	}
	b.Name.Set(&now.Name)
	b.ToleranceSeconds.Set(&now.ToleranceSeconds)
	b.Enabled.Set(&now.Enabled)
	now.HMAC = b.HMAC.apply(was.HMAC)
	if reflect.DeepEqual(now, was) {
		return was, nil
	}
	now, err = f.one(ctx, tx, updateSource, tx.Scope().Organization, was.ID, now.Name, now.HMAC, now.ToleranceSeconds, now.Enabled)
	if err != nil {
		return InboundSource{}, err
	}
	return now, SourceUpdated.EmitChange(ctx, tx, was, now)
}

func (f *Feature) locked(ctx context.Context, tx *tenant.Tx, source id.ID) (InboundSource, error) {
	s, err := f.one(ctx, tx, lockSource, tx.Scope().Organization, source)
	return s, tenant.NotFound(err, "inbound source")
}

type deleteSourceInput struct {
	SourceID id.ID       `path:"inbound_source_id" ref:"inbound_source" doc:"The source."`
	IfMatch  api.IfMatch `header:"If-Match"`
}

func (f *Feature) deleteSource(ctx context.Context, tx *tenant.Tx, in *deleteSourceInput) (api.None, error) {
	was, err := f.locked(ctx, tx, in.SourceID)
	if err != nil {
		return api.None{}, err
	}
	if !in.IfMatch.Matches(was.Version) {
		return api.None{}, fault.StaleVersion(was)
	}
	if _, err := tenant.Exec(ctx, tx, deleteSource, tx.Scope().Organization, was.ID); err != nil {
		return api.None{}, err
	}
	return api.None{}, SourceDeleted.Emit(ctx, tx, was)
}

type rotateSecret struct {
	SourceID id.ID `path:"inbound_source_id" ref:"inbound_source" doc:"The source."`
	Body     struct {
		Secret       string            `json:"secret" required:"false" minLength:"16" maxLength:"255" doc:"What the sender signs with from now on. Left out for standard_webhooks, one is made and shown once; required for the others. Never shown."`
		OverlapHours api.Optional[int] `json:"overlap_hours" required:"false" minimum:"0" maximum:"168" doc:"How long the secret before stays good; 24 when left out." example:"24"`
	}
}

func (f *Feature) rotateSecret(ctx context.Context, tx *tenant.Tx, in *rotateSecret) (RotatedInboundSecret, error) {
	was, err := f.locked(ctx, tx, in.SourceID)
	if err != nil {
		return RotatedInboundSecret{}, err
	}
	key, shown, err := settleSecret(was.Kind, in.Body.Secret, false)
	if err != nil {
		return RotatedInboundSecret{}, err
	}
	overlap := 24
	in.Body.OverlapHours.Set(&overlap)
	org := tx.Scope().Organization
	if _, err := tenant.Exec(ctx, tx, dropPrevious, org, was.ID, overlap); err != nil {
		return RotatedInboundSecret{}, err
	}
	out := RotatedInboundSecret{Secret: shown}
	until, err := tenant.Value[time.Time](ctx, tx, retireSecret, org, was.ID, overlap)
	if err == nil {
		out.PreviousExpiresAt = &until
	} else if !errors.Is(err, tenant.ErrNoRows) {
		return RotatedInboundSecret{}, err
	}
	if err := f.storeSecret(ctx, tx, was.ID, key); err != nil {
		return RotatedInboundSecret{}, err
	}
	now, err := f.one(ctx, tx, noteSecret, org, was.ID)
	if err != nil {
		return RotatedInboundSecret{}, err
	}
	return out, SourceUpdated.EmitChange(ctx, tx, was, now)
}
