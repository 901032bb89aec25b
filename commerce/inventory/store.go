package inventory

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/guildhall-dev/guildhall/commerce"
	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/tenant"
)

// Levels. In every statement $1 is the organisation.
const (
	// levelCols are the columns of Level of a level "l" of a variant "v".
	levelCols = `l.variant_id, v.product_id, l.location_id, l.on_hand, l.reserved, l.available, l.backorder_limit, l.shortfall,
		l.low_stock_threshold, l.version, l.updated_at`

	// levelRow are the columns of a level alone, for statements that join its
	// variant later.
	levelRow = `l.variant_id, l.location_id, l.on_hand, l.reserved, l.available, l.backorder_limit, l.shortfall,
		l.low_stock_threshold, l.version, l.updated_at`

	ofVariant = ` join product_variants v on v.tenant_id = l.tenant_id and v.id = l.variant_id`

	// makeLevels makes those that are missing, of variants and locations that
	// there are.
	makeLevels = `insert into stock_levels (tenant_id, variant_id, location_id)
		select v.tenant_id, v.id, s.id from unnest($2::uuid[], $3::uuid[]) as w (variant_id, location_id)
		join product_variants v on v.tenant_id = $1 and v.id = w.variant_id and v.deleted_at is null
		join stock_locations s on s.tenant_id = $1 and s.id = w.location_id
		order by v.id, s.id on conflict (tenant_id, variant_id, location_id) do nothing`

	lockLevels = `select ` + levelCols + ` from unnest($2::uuid[], $3::uuid[]) as w (variant_id, location_id)
		join stock_levels l on l.tenant_id = $1 and l.variant_id = w.variant_id and l.location_id = w.location_id` + ofVariant + `
		order by l.variant_id, l.location_id for no key update of l`

	// writeLevels stores levels that are locked, and what moved.
	writeLevels = `with changed as (
		update stock_levels l set on_hand = c.on_hand, reserved = c.reserved, shortfall = c.shortfall, version = l.version + 1, updated_at = now()
		from unnest($2::uuid[], $3::uuid[], $4::int[], $5::int[], $6::int[]) as c (variant_id, location_id, on_hand, reserved, shortfall)
		where l.tenant_id = $1 and l.variant_id = c.variant_id and l.location_id = c.location_id
	)
	insert into stock_movements (tenant_id, id, variant_id, location_id, quantity, on_hand_after, reason, note, reference_type, reference_id,
		created_by_kind, created_by_id)
	select $1, m.id, m.variant_id, m.location_id, m.quantity, m.on_hand_after, $12, $13, $14, $15, $16, $17
	from unnest($7::uuid[], $8::uuid[], $9::uuid[], $10::int[], $11::int[]) as m (id, variant_id, location_id, quantity, on_hand_after)`

	// freeLevels ends promises. It decides nothing, so it needs no look before.
	freeLevels = `with less as (
		select l.variant_id, l.location_id, w.quantity
		from unnest($2::uuid[], $3::uuid[], $4::int[]) as w (variant_id, location_id, quantity)
		join stock_levels l on l.tenant_id = $1 and l.variant_id = w.variant_id and l.location_id = w.location_id
		order by l.variant_id, l.location_id for no key update of l
	)
	update stock_levels l set reserved = l.reserved - less.quantity, version = l.version + 1, updated_at = now(),
		shortfall = least(l.shortfall, greatest(0, l.reserved - less.quantity - l.on_hand - l.backorder_limit))
	from less where l.tenant_id = $1 and l.variant_id = less.variant_id and l.location_id = less.location_id`
)

// Reservations.
const (
	// lookAhead says whether the order has a reservation already, and which
	// demands cannot be met as things are. It waits for nobody but another call
	// for the same order.
	lookAhead = `select pg_advisory_xact_lock(hashtextextended('reservations of ' || $4::uuid, 7301)) is not null as alone,
		exists (select from stock_reservations r where r.tenant_id = $1 and r.order_id = $4 and r.quantity > 0) as already,
		exists (select from stock_reservations r where r.tenant_id = $1 and r.order_id = $4 and r.quantity = 0) as expired,
		(select count(*) from product_variants v where v.tenant_id = $1 and v.id = any($2::uuid[]) and not v.track_stock) as untracked,
		coalesce((select jsonb_agg(jsonb_build_object('variant_id', x.variant_id, 'requested', x.quantity, 'available', x.free) order by x.variant_id) from (
			select w.variant_id, w.quantity, coalesce(sum(greatest(0, l.on_hand + l.backorder_limit + l.shortfall - l.reserved)), 0) as free
			from unnest($2::uuid[], $3::int[]) as w (variant_id, quantity)
			left join product_variants v on v.tenant_id = $1 and v.id = w.variant_id
			left join (stock_levels l join stock_locations s on s.tenant_id = l.tenant_id and s.id = l.location_id and s.active)
				on l.tenant_id = $1 and l.variant_id = w.variant_id
			where v.track_stock is not false
			group by w.variant_id, w.quantity) x where x.free < x.quantity), '[]') as short`

	// reserve locks every level that may serve, chooses among them as they are
	// under the lock, and takes all or nothing: for each variant the best
	// location that has the whole quantity, else the best ones after each other.
	// It checks for a reservation of the order itself, because lookAhead may
	// have waited for the one that made it.
	reserve = `with wanted as (
		select w.variant_id, w.quantity from unnest($2::uuid[], $3::int[]) as w (variant_id, quantity)
		join product_variants v on v.tenant_id = $1 and v.id = w.variant_id and v.track_stock
	), locked as (
		select l.variant_id, l.location_id, w.quantity, s.is_default, s.priority,
			greatest(0, l.on_hand + l.backorder_limit + l.shortfall - l.reserved) as free
		from wanted w join stock_levels l on l.tenant_id = $1 and l.variant_id = w.variant_id
		join stock_locations s on s.tenant_id = l.tenant_id and s.id = l.location_id and s.active
		order by l.variant_id, l.location_id for no key update of l
	), ranked as (
		select k.*, bool_or(k.free >= k.quantity) over (partition by k.variant_id) as whole,
			row_number() over (partition by k.variant_id, k.free >= k.quantity order by k.is_default desc, k.priority desc, k.location_id) as place,
			sum(k.free) over (partition by k.variant_id order by k.is_default desc, k.priority desc, k.location_id) - k.free as before
		from locked k
	), chosen as (
		select k.variant_id, k.location_id, case
			when k.free >= k.quantity and k.place = 1 then k.quantity
			when not k.whole then least(k.free, greatest(0, k.quantity - k.before)) else 0 end::int as quantity
		from ranked k
	), taken as (
		update stock_levels l set reserved = l.reserved + c.quantity, version = l.version + 1, updated_at = now()
		from chosen c
		where l.tenant_id = $1 and l.variant_id = c.variant_id and l.location_id = c.location_id and c.quantity > 0
		and not exists (select from wanted w where w.quantity > coalesce((select sum(x.quantity) from chosen x where x.variant_id = w.variant_id), 0))
		and not exists (select from stock_reservations r where r.tenant_id = $1 and r.order_id = $4 and r.quantity > 0)
		returning ` + levelRow + `, c.quantity
	), noted as (
		insert into stock_reservations (tenant_id, order_id, variant_id, location_id, quantity, expires_at)
		select $1, $4, t.variant_id, t.location_id, t.quantity, $5::timestamptz from taken t
	)
	select l.variant_id, v.product_id, l.location_id, l.on_hand, l.reserved, l.available, l.backorder_limit, l.shortfall,
		l.low_stock_threshold, l.version, l.updated_at, l.quantity
	from taken l join product_variants v on v.tenant_id = $1 and v.id = l.variant_id order by l.variant_id, l.location_id`

	// forget comes before any level is locked: the sweeper may hold these rows,
	// and waits for levels then.
	forget = `delete from stock_reservations r where r.tenant_id = $1 and r.order_id = $2 and r.quantity = 0`

	heldReservations = `select r.order_id, r.variant_id, r.location_id, r.quantity from stock_reservations r
		where r.tenant_id = $1 and r.order_id = $2 order by r.variant_id, r.location_id for update`

	// setExpiry returns what stands; a 0 has expired.
	setExpiry = `with held as (` + heldReservations + `)
		update stock_reservations r set expires_at = $3 from held
		where r.tenant_id = $1 and r.order_id = $2 and r.variant_id = held.variant_id and r.location_id = held.location_id returning r.quantity`

	// takeReservations takes quantities off the reservations of an order that
	// are locked; those of which nothing is left are gone.
	takeReservations = `with gone as (
		delete from stock_reservations r using unnest($3::uuid[], $4::uuid[], $5::int[]) as w (variant_id, location_id, quantity)
		where r.tenant_id = $1 and r.order_id = $2 and r.variant_id = w.variant_id and r.location_id = w.location_id and r.quantity <= w.quantity
	)
	update stock_reservations r set quantity = r.quantity - w.quantity
	from unnest($3::uuid[], $4::uuid[], $5::int[]) as w (variant_id, location_id, quantity)
	where r.tenant_id = $1 and r.order_id = $2 and r.variant_id = w.variant_id and r.location_id = w.location_id and r.quantity > w.quantity`

	// expire takes whole orders, so that none is reserved in part, and leaves rows
	// of 0: they tell who confirms too late. It waits for who confirms just now.
	expire = `with late as (
		select r.order_id, r.variant_id, r.location_id, r.quantity from stock_reservations r
		where r.tenant_id = $1 and r.expires_at <= now() and r.quantity > 0 and r.order_id in (
			select x.order_id from stock_reservations x where x.tenant_id = $1 and x.expires_at <= now() and x.quantity > 0 order by x.expires_at limit $2)
		order by r.order_id, r.variant_id, r.location_id for update of r
	), gone as (
		update stock_reservations r set quantity = 0 from late
		where r.tenant_id = $1 and r.order_id = late.order_id and r.variant_id = late.variant_id and r.location_id = late.location_id
	)
	select late.order_id, late.variant_id, late.location_id, late.quantity from late`

	// untracked are the variants that pass by the stock: that are not tracked and
	// were not when the order reserved.
	untracked = `select v.id from product_variants v where v.tenant_id = $1 and v.id = any($2::uuid[]) and not v.track_stock
		and not exists (select from stock_reservations r where r.tenant_id = v.tenant_id and r.order_id = $3 and r.variant_id = v.id)`
)

// turn is what lookAhead says.
type turn struct {
	Alone     bool                `db:"alone"`
	Already   bool                `db:"already"`
	Expired   bool                `db:"expired"`
	Untracked int                 `db:"untracked"`
	Short     []commerce.Shortage `db:"short"`
}

// taken is a level after a part of it was reserved.
type taken struct {
	Level
	Quantity int `db:"quantity"`
}

// reservation is what is promised to an order at one place.
type reservation struct {
	OrderID    id.ID `db:"order_id"`
	VariantID  id.ID `db:"variant_id"`
	LocationID id.ID `db:"location_id"`
	Quantity   int   `db:"quantity"`
}

func (r reservation) place() place { return place{r.VariantID, r.LocationID} }

// amounts are quantities at places; they are written in the order of places.
type amounts map[place]int

func (a amounts) split() (variants, locations []id.ID, quantities []int) {
	for _, p := range slices.SortedFunc(maps.Keys(a), comparePlaces) {
		variants, locations, quantities = append(variants, p.Variant), append(locations, p.Location), append(quantities, a[p])
	}
	return variants, locations, quantities
}

// free ends promises.
func (a amounts) free(ctx context.Context, tx *tenant.Tx) error {
	if len(a) == 0 {
		return nil
	}
	maps.DeleteFunc(a, func(_ place, n int) bool { return n == 0 }) // had expired
	variants, locations, quantities := a.split()
	_, err := tenant.Exec(ctx, tx, freeLevels, tx.Scope().Organization, variants, locations, quantities)
	return err
}

// book is the levels that a transaction holds, as they were and as they are to
// be, and the movements between.
type book struct {
	was, now map[place]Level
	moved    []Movement
	why      why
}

// why is what the movements of one change share.
type why struct {
	reason, note  string
	referenceType string
	reference     id.ID
}

// open locks the levels at the places in their order. With create, those that
// are missing are made where there is such a variant and location; who asks for
// others does not find them in the book.
func open(ctx context.Context, tx *tenant.Tx, places []place, create bool, w why) (*book, error) {
	places = slices.Clone(places)
	slices.SortFunc(places, comparePlaces)
	places = slices.Compact(places)
	variants, locations := make([]id.ID, len(places)), make([]id.ID, len(places))
	for i, p := range places {
		variants[i], locations[i] = p.Variant, p.Location
	}
	org := tx.Scope().Organization
	if create {
		if _, err := tenant.Exec(ctx, tx, makeLevels, org, variants, locations); err != nil {
			return nil, err
		}
	}
	levels, err := tenant.List[Level](ctx, tx, lockLevels, org, variants, locations)
	b := &book{was: map[place]Level{}, now: map[place]Level{}, why: w}
	for _, l := range levels {
		b.was[l.place()], b.now[l.place()] = l, l
	}
	return b, err
}

// has reports whether the level is held.
func (b *book) has(p place) bool { _, ok := b.was[p]; return ok }

// move changes what is there and what is promised.
func (b *book) move(p place, onHand, reserved int) {
	b.set(p, b.now[p].with(onHand, reserved))
}

// set notes what a level is to be, and the movement to it.
func (b *book) set(p place, l Level) {
	if n := l.OnHand - b.now[p].OnHand; n != 0 {
		b.moved = append(b.moved, Movement{ID: id.New(), VariantID: p.Variant, LocationID: p.Location, Quantity: n, OnHandAfter: l.OnHand})
	}
	b.now[p] = l
}

// refuse is the first reason why the levels may not be so; of demands that
// cannot be met it names all.
func (b *book) refuse() error {
	var short []commerce.Shortage
	for _, p := range slices.SortedFunc(maps.Keys(b.now), comparePlaces) {
		err := b.now[p].refuse(b.was[p])
		f := fault.As(err)
		if err == nil {
			continue
		}
		if f == nil || f.Code != "insufficient_stock" {
			return err
		}
		short = append(short, f.Members["lines"].([]commerce.Shortage)...)
	}
	if short != nil {
		return insufficient(short)
	}
	return nil
}

// close stores what changed and tells of it.
func (b *book) close(ctx context.Context, tx *tenant.Tx) error {
	if err := b.refuse(); err != nil {
		return err
	}
	var variants, locations []id.ID
	var onHand, reserved, shortfall []int
	for _, p := range slices.SortedFunc(maps.Keys(b.now), comparePlaces) {
		l := b.now[p]
		if l == b.was[p] {
			continue
		}
		l.Version, l.UpdatedAt = l.Version+1, tx.Now()
		b.now[p] = l
		variants, locations = append(variants, p.Variant), append(locations, p.Location)
		onHand, reserved, shortfall = append(onHand, l.OnHand), append(reserved, l.Reserved), append(shortfall, l.Shortfall)
	}
	if variants == nil {
		return nil
	}
	s := tx.Scope()
	var actor, reference *id.ID
	var referenceType *string
	if !s.Actor.ID.IsZero() {
		actor = &s.Actor.ID
	}
	if !b.why.reference.IsZero() {
		reference, referenceType = &b.why.reference, &b.why.referenceType
	}
	n := len(b.moved)
	ids, of, at, quantities, after := make([]id.ID, n), make([]id.ID, n), make([]id.ID, n), make([]int, n), make([]int, n)
	for i := range b.moved {
		m := &b.moved[i]
		m.Reason, m.Note, m.ReferenceType, m.ReferenceID, m.CreatedAt = b.why.reason, b.why.note, referenceType, reference, tx.Now()
		m.CreatedBy.Type, m.CreatedBy.ID = string(s.Actor.Kind), actor
		ids[i], of[i], at[i], quantities[i], after[i] = m.ID, m.VariantID, m.LocationID, m.Quantity, m.OnHandAfter
	}
	if _, err := tenant.Exec(ctx, tx, writeLevels, s.Organization, variants, locations, onHand, reserved, shortfall,
		ids, of, at, quantities, after, b.why.reason, b.why.note, referenceType, reference, string(s.Actor.Kind), actor); err != nil {
		return err
	}
	return b.tell(ctx, tx)
}

func (b *book) tell(ctx context.Context, tx *tenant.Tx) error {
	var failed error
	for _, m := range b.moved {
		failed = errors.Join(failed, Moved.Emit(ctx, tx, m))
	}
	for _, p := range slices.SortedFunc(maps.Keys(b.now), comparePlaces) {
		if b.now[p].Shortfall > b.was[p].Shortfall {
			failed = errors.Join(failed, Shortfall.Emit(ctx, tx, b.now[p]))
		}
		failed = errors.Join(failed, tellLow(ctx, tx, b.was[p], b.now[p]))
	}
	return failed
}

// tellLow tells of a level that has come down to its threshold.
func tellLow(ctx context.Context, tx *tenant.Tx, was, now Level) error {
	if was.low() || !now.low() {
		return nil
	}
	return Low.Emit(ctx, tx, now)
}
