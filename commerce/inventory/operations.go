package inventory

import (
	"context"
	"fmt"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/internal/page"
	"github.com/guildhall-dev/guildhall/tenant"
)

// Lists. A filter that is null holds for everything.
const (
	levelsWhere = ` from stock_levels l` + ofVariant + `
		where l.tenant_id = $1 and ($2::uuid is null or l.variant_id = $2) and ($3::uuid is null or v.product_id = $3)
		and ($4::uuid is null or l.location_id = $4) and (not $5::boolean or l.available <= l.low_stock_threshold)`

	listLevelRows = `select ` + levelCols + levelsWhere + ` and ($6::uuid is null or (l.variant_id, l.location_id) > ($6, $7::uuid))
		order by l.variant_id, l.location_id limit $8 offset $9`

	countLevels = `select count(*)` + levelsWhere

	movementsWhere = ` from stock_movements m
		where m.tenant_id = $1 and ($2::uuid is null or m.variant_id = $2) and ($3::uuid is null or m.location_id = $3)
		and ($4::text is null or m.reason = $4) and ($5::uuid is null or m.reference_id = $5)`

	listMovementRows = `select m.id, m.variant_id, m.location_id, m.quantity, m.on_hand_after, m.reason, m.note, m.reference_type, m.reference_id,
		row(m.created_by_kind, m.created_by_id) as created_by, m.created_at` + movementsWhere + `
		and ($6::uuid is null or m.id < $6) order by m.id desc limit $7 offset $8`

	countMovements = `select count(*)` + movementsWhere

	setLimits = `update stock_levels l set backorder_limit = $4, low_stock_threshold = $5, shortfall = $6, version = l.version + 1, updated_at = now()
		where l.tenant_id = $1 and l.variant_id = $2 and l.location_id = $3`
)

// orNull is a filter that may not be set.
func orNull(i id.ID) *id.ID {
	if i.IsZero() {
		return nil
	}
	return &i
}

type listLevelsInput struct {
	VariantID  id.ID `query:"variant_id" ref:"variant" doc:"Only this variant."`
	ProductID  id.ID `query:"product_id" ref:"product" doc:"Only the variants of this product."`
	LocationID id.ID `query:"location_id" ref:"stock_location" doc:"Only at this location."`
	Low        bool  `query:"low" doc:"true: only where what is available is down to the threshold."`
	api.ListParams
}

func listLevels(ctx context.Context, v tenant.View, in *listLevelsInput) (page.Page[Level], error) {
	var none page.Page[Level]
	var at place
	if _, err := in.Position(ctx, &at); err != nil {
		return none, err
	}
	var rows []Level
	var total int64
	where := []any{v.Scope().Organization, orNull(in.VariantID), orNull(in.ProductID), orNull(in.LocationID), in.Low}
	err := v.Snapshot(ctx, func(b *tenant.Batch) {
		tenant.QueueList(b, &rows, listLevelRows, append(where[:5:5], orNull(at.Variant), at.Location, in.Limit+1, in.Offset())...)
		if in.WantTotal() {
			tenant.QueueValue(b, &total, countLevels, where...)
		}
	})
	if err != nil {
		return none, err
	}
	out, err := api.Page(ctx, in.ListParams, rows, func(l Level) any { return l.place() })
	if in.WantTotal() {
		out.Total = &total
	}
	return out, err
}

type listMovementsInput struct {
	VariantID  id.ID  `query:"variant_id" ref:"variant" doc:"Only of this variant."`
	LocationID id.ID  `query:"location_id" ref:"stock_location" doc:"Only at this location."`
	Reason     string `query:"reason" enum:"initial,received,adjusted,counted,damaged,transferred,shipped,returned" doc:"Only of this kind."`
	OrderID    id.ID  `query:"order_id" ref:"order" doc:"Only what was shipped for, or returned from, this order."`
	api.ListParams
}

func listMovements(ctx context.Context, v tenant.View, in *listMovementsInput) (page.Page[Movement], error) {
	var none page.Page[Movement]
	var last *id.ID
	if _, err := in.Position(ctx, &last); err != nil {
		return none, err
	}
	var reason *string
	if in.Reason != "" {
		reason = &in.Reason
	}
	var rows []Movement
	var total int64
	where := []any{v.Scope().Organization, orNull(in.VariantID), orNull(in.LocationID), reason, orNull(in.OrderID)}
	err := v.Snapshot(ctx, func(b *tenant.Batch) {
		tenant.QueueList(b, &rows, listMovementRows, append(where[:5:5], last, in.Limit+1, in.Offset())...)
		if in.WantTotal() {
			tenant.QueueValue(b, &total, countMovements, where...)
		}
	})
	if err != nil {
		return none, err
	}
	out, err := api.Page(ctx, in.ListParams, rows, func(m Movement) any { return m.ID })
	if in.WantTotal() {
		out.Total = &total
	}
	return out, err
}

type updateLevelInput struct {
	VariantID       id.ID       `path:"variant_id" ref:"variant" doc:"The variant's id."`
	StockLocationID id.ID       `path:"stock_location_id" ref:"stock_location" doc:"The location's id."`
	IfMatch         api.IfMatch `header:"If-Match"`
	Body            struct {
		BackorderLimit    api.Optional[int] `json:"backorder_limit" required:"false" minimum:"0" maximum:"1000000" example:"0" doc:"How much may be promised beyond what is there."`
		LowStockThreshold api.Optional[int] `json:"low_stock_threshold" required:"false" nullable:"true" minimum:"0" maximum:"1000000" example:"5" doc:"stock.low tells when available comes down to it; null never."`
	}
}

func updateLevel(ctx context.Context, tx *tenant.Tx, in *updateLevelInput) (Level, error) {
	p := place{in.VariantID, in.StockLocationID}
	b, err := open(ctx, tx, []place{p}, true, why{})
	if err != nil {
		return Level{}, err
	}
	if !b.has(p) {
		return Level{}, fault.NotFoundf("stock level")
	}
	was := b.was[p]
	if !in.IfMatch.Matches(was.Version) {
		return was, fault.StaleVersion(was)
	}
	now := was
	in.Body.BackorderLimit.Set(&now.BackorderLimit)
	in.Body.LowStockThreshold.SetPtr(&now.LowStockThreshold)
	now.Shortfall = min(now.Shortfall, now.gap())
	if now.free() < 0 {
		least := was.BackorderLimit - was.free()
		return was, fault.Conflictf("backorder_limit_in_use", "So much is promised already that the limit is at least %d.", least).With("least", least)
	}
	if now.BackorderLimit == was.BackorderLimit && equal(now.LowStockThreshold, was.LowStockThreshold) {
		return was, nil
	}
	if _, err := tenant.Exec(ctx, tx, setLimits, tx.Scope().Organization, p.Variant, p.Location, now.BackorderLimit, now.LowStockThreshold, now.Shortfall); err != nil {
		return was, err
	}
	now.Version, now.UpdatedAt = now.Version+1, tx.Now()
	return now, tellLow(ctx, tx, was, now)
}

func equal(a, b *int) bool { return a == b || a != nil && b != nil && *a == *b }

type createMovementInput struct {
	Body struct {
		VariantID  id.ID  `json:"variant_id" ref:"variant" doc:"What moves."`
		LocationID *id.ID `json:"location_id,omitempty" nullable:"true" ref:"stock_location" doc:"Where; the default location unless it is named."`
		Quantity   int    `json:"quantity" minimum:"-1000000" maximum:"1000000" example:"40" doc:"Below 0 for goods that go; not 0."`
		Reason     string `json:"reason" enum:"received,adjusted,damaged,returned" doc:"received and returned goods come, damaged ones go; adjusted may be either."`
		Note       string `json:"note,omitempty" maxLength:"1000"`
	}
}

// movedLevel is a movement and the level after it.
type movedLevel struct {
	Movement
	Level Level `json:"level" doc:"The level after it."`
}

func createMovement(ctx context.Context, tx *tenant.Tx, in *createMovementInput) (movedLevel, error) {
	b := in.Body
	switch {
	case b.Quantity == 0:
		return movedLevel{}, fault.Invalidf("/quantity", "something moves: not 0")
	case b.Reason == "damaged" && b.Quantity > 0, (b.Reason == "received" || b.Reason == "returned") && b.Quantity < 0:
		return movedLevel{}, fault.Invalidf("/quantity", "received and returned goods come (above 0), damaged ones go (below 0)")
	}
	var p place
	if p.Variant = b.VariantID; b.LocationID != nil {
		p.Location = *b.LocationID
	} else {
		var err error
		if p.Location, err = defaultLocation(ctx, tx); err != nil {
			return movedLevel{}, err
		}
	}
	k, err := open(ctx, tx, []place{p}, true, why{reason: b.Reason, note: b.Note})
	if err != nil {
		return movedLevel{}, err
	}
	if !k.has(p) {
		return movedLevel{}, unknown(ctx, tx, "/variant_id", "/location_id", p)
	}
	k.move(p, b.Quantity, 0)
	if err := k.close(ctx, tx); err != nil {
		return movedLevel{}, err
	}
	return movedLevel{k.moved[0], k.now[p]}, nil
}

// unknown says which half of a place there is not.
func unknown(ctx context.Context, tx *tenant.Tx, variantAt, locationAt string, p place) error {
	_, err := tenant.One[Location](ctx, tx, selectLocation, tx.Scope().Organization, p.Location)
	if err == nil {
		return fault.Invalidf(variantAt, "no such variant")
	}
	if f := fault.As(tenant.NotFound(err, "stock location")); f != nil && f.Kind == fault.NotFound {
		return fault.Invalidf(locationAt, "no such stock location")
	}
	return err
}

type transferInput struct {
	Body struct {
		VariantID      id.ID  `json:"variant_id" ref:"variant" doc:"What moves."`
		FromLocationID id.ID  `json:"from_location_id" ref:"stock_location" doc:"From where."`
		ToLocationID   id.ID  `json:"to_location_id" ref:"stock_location" doc:"To where."`
		Quantity       int    `json:"quantity" minimum:"1" maximum:"1000000" example:"10"`
		Note           string `json:"note,omitempty" maxLength:"1000"`
	}
}

// transferred is what a transfer did.
type transferred struct {
	ID   id.ID      `json:"id" doc:"The reference of both movements."`
	From movedLevel `json:"from"`
	To   movedLevel `json:"to"`
}

func transfer(ctx context.Context, tx *tenant.Tx, in *transferInput) (transferred, error) {
	b := in.Body
	if b.FromLocationID == b.ToLocationID {
		return transferred{}, fault.Invalidf("/to_location_id", "expected another location than from_location_id")
	}
	t := transferred{ID: id.New()}
	from, to := place{b.VariantID, b.FromLocationID}, place{b.VariantID, b.ToLocationID}
	k, err := open(ctx, tx, []place{from, to}, true, why{reason: "transferred", note: b.Note, referenceType: "transfer", reference: t.ID})
	if err != nil {
		return t, err
	}
	if !k.has(from) {
		return t, unknown(ctx, tx, "/variant_id", "/from_location_id", from)
	}
	if !k.has(to) {
		return t, unknown(ctx, tx, "/variant_id", "/to_location_id", to)
	}
	k.move(from, -b.Quantity, 0)
	k.move(to, b.Quantity, 0)
	if err := k.close(ctx, tx); err != nil {
		return t, err
	}
	t.From, t.To = movedLevel{k.moved[0], k.now[from]}, movedLevel{k.moved[1], k.now[to]}
	return t, nil
}

type countInput struct {
	Body struct {
		LocationID id.ID       `json:"location_id" ref:"stock_location" doc:"Where it was counted."`
		Lines      []countLine `json:"lines" nullable:"false" minItems:"1" maxItems:"500" doc:"What was found, each variant once."`
		Note       string      `json:"note,omitempty" maxLength:"1000"`
	}
}

type countLine struct {
	VariantID id.ID `json:"variant_id" ref:"variant" doc:"What was counted."`
	Counted   int   `json:"counted" minimum:"0" maximum:"1000000000" example:"38" doc:"How many were found."`
}

// counted is what a count did.
type counted struct {
	ID         id.ID         `json:"id" doc:"The reference of its movements."`
	LocationID id.ID         `json:"location_id"`
	Lines      []countedLine `json:"lines" nullable:"false" maxItems:"500" doc:"In the order in which they were sent."`
}

type countedLine struct {
	VariantID  id.ID `json:"variant_id"`
	Counted    int   `json:"counted" minimum:"0" maximum:"1000000000" example:"38"`
	Difference int   `json:"difference" minimum:"-1000000000" maximum:"1000000000" example:"-2" doc:"To what the level said before."`
	Shortfall  int   `json:"shortfall" minimum:"0" maximum:"1002000000" example:"0" doc:"What is promised and was not found."`
}

func count(ctx context.Context, tx *tenant.Tx, in *countInput) (counted, error) {
	c := counted{ID: id.New(), LocationID: in.Body.LocationID, Lines: []countedLine{}}
	places := make([]place, len(in.Body.Lines))
	seen := map[id.ID]bool{}
	for i, l := range in.Body.Lines {
		if seen[l.VariantID] {
			return c, fault.Invalidf(fmt.Sprintf("/lines/%d/variant_id", i), "each variant once")
		}
		seen[l.VariantID] = true
		places[i] = place{l.VariantID, c.LocationID}
	}
	k, err := open(ctx, tx, places, true, why{reason: "counted", note: in.Body.Note, referenceType: "count", reference: c.ID})
	if err != nil {
		return c, err
	}
	for i, l := range in.Body.Lines {
		p := places[i]
		if !k.has(p) {
			return c, unknown(ctx, tx, fmt.Sprintf("/lines/%d/variant_id", i), "/location_id", p)
		}
		k.set(p, k.was[p].counted(l.Counted))
		c.Lines = append(c.Lines, countedLine{l.VariantID, l.Counted, l.Counted - k.was[p].OnHand, k.now[p].Shortfall})
	}
	return c, k.close(ctx, tx)
}
