package orders

import (
	"context"
	"time"

	"github.com/guildhall-dev/guildhall/commerce"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/tenant"
)

// Reading. Amounts leave the database as {amount, currency}.
const (
	inCurrency = `, 'currency', o.currency)`

	lineObject = `jsonb_build_object('id', l.id, 'product_id', l.product_id, 'variant_id', l.variant_id, 'sku', l.sku, 'title', l.title,
		'variant_title', l.variant_title, 'image_url', l.image_url, 'quantity', l.quantity, 'fulfilled_quantity', l.fulfilled_quantity,
		'returned_quantity', l.returned_quantity, 'refunded_quantity', l.refunded_quantity,
		'unit_price', jsonb_build_object('amount', l.unit_price` + inCurrency + `, 'subtotal', jsonb_build_object('amount', l.subtotal` + inCurrency + `,
		'discount', jsonb_build_object('amount', l.discount` + inCurrency + `, 'tax', jsonb_build_object('amount', l.tax` + inCurrency + `,
		'total', jsonb_build_object('amount', l.total` + inCurrency + `, 'tax_lines', l.tax_lines, 'tax_class', l.tax_class,
		'weight_grams', l.weight_grams, 'requires_shipping', l.requires_shipping)`

	receiptCols = `o.id, o.number, o.status, o.payment_status, o.fulfilment_status, o.payment_provider, o.customer_id, o.email, o.currency,
		coalesce((select jsonb_agg(` + lineObject + ` order by l.position) from order_lines l where l.tenant_id = o.tenant_id and l.order_id = o.id), '[]') as lines,
		jsonb_build_object('subtotal', jsonb_build_object('amount', o.subtotal` + inCurrency + `, 'discount', jsonb_build_object('amount', o.discount` + inCurrency + `,
			'shipping', jsonb_build_object('amount', o.shipping` + inCurrency + `, 'tax', jsonb_build_object('amount', o.tax` + inCurrency + `,
			'total', jsonb_build_object('amount', o.total` + inCurrency + `) as totals,
		o.prices_include_tax, o.tax_lines, o.adjustments, o.discount_codes, o.shipping_address, o.billing_address, o.shipping_method_name as shipping_method,
		jsonb_build_object('amount', o.captured` + inCurrency + ` as captured, jsonb_build_object('amount', o.refunded` + inCurrency + ` as refunded,
		o.note, o.placed_at, o.paid_at, o.completed_at, o.cancelled_at, o.version, o.created_at, o.updated_at`

	cols = receiptCols + `, o.tags, o.cancel_reason`

	heldCols = cols + `, o.cart_id, o.shipping_method_id, o.total, o.refunding, o.shipping_tax, o.locale, o.attempt, o.attempt_state, o.attempt_reference, o.attempt_until`

	selectOrder = `select ` + cols + ` from orders o where o.tenant_id = $1 and o.id = $2`
	selectHeld  = `select ` + heldCols + ` from orders o where o.tenant_id = $1 and o.id = $2`
	lockOrder   = `select ` + heldCols + ` from orders o where o.tenant_id = $1 and o.id = $2 for no key update`
	// lockCartOf comes before lockOrder where the cart will be needed: who
	// completes a cart locks the cart first.
	lockCartOf = `select c.id from carts c join orders o on o.tenant_id = c.tenant_id and o.cart_id = c.id
		where o.tenant_id = $1 and o.id = $2 for no key update of c`
	lockOfCart = `select ` + heldCols + ` from orders o where o.tenant_id = $1 and o.cart_id = $2 for no key update`

	selectReceipt = `select ` + receiptCols + ` from orders o where o.tenant_id = $1 and o.id = $2 and o.customer_id = $3 and o.placed_at is not null`
	listReceipts  = `select ` + receiptCols + ` from orders o where o.tenant_id = $1 and o.customer_id = $2 and o.placed_at is not null
		and ($3::timestamptz is null or (o.placed_at, o.id) < ($3, $4::uuid)) order by o.placed_at desc, o.id desc limit $5 offset $6`
	countReceipts = `select count(*) from orders o where o.tenant_id = $1 and o.customer_id = $2 and o.placed_at is not null`

	orderExists = `select true from orders o where o.tenant_id = $1 and o.id = $2`

	// sumLedger and listProgress are what the derived states follow from.
	sumLedger = `select coalesce(sum(p.amount) filter (where p.kind = 'authorized'), 0)::bigint as authorized,
		coalesce(sum(p.amount) filter (where p.kind = 'captured'), 0)::bigint as captured,
		coalesce(sum(p.amount) filter (where p.kind = 'refunded'), 0)::bigint as refunded,
		coalesce(sum(p.amount) filter (where p.kind = 'voided'), 0)::bigint as voided
		from order_payments p where p.tenant_id = $1 and p.order_id = $2`

	listProgress = `select l.quantity, l.requires_shipping, coalesce(s.shipped, 0)::int as shipped, coalesce(s.delivered, 0)::int as delivered
		from order_lines l left join lateral (
			select sum(x.quantity) filter (where f.status in ('shipped', 'delivered')) as shipped, sum(x.quantity) filter (where f.status = 'delivered') as delivered
			from fulfilment_lines x join fulfilments f on f.tenant_id = x.tenant_id and f.order_id = x.order_id and f.id = x.fulfilment_id
			where x.tenant_id = l.tenant_id and x.order_id = l.order_id and x.order_line_id = l.id
		) s on true
		where l.tenant_id = $1 and l.order_id = $2`
)

// Writing.
const (
	// insertOrder stores a draft and its lines; number and state come with the
	// statement that places it.
	insertOrder = `with o as (
		insert into orders (tenant_id, id, cart_id, customer_id, status, fulfilment_status, payment_provider, attempt, attempt_state, attempt_until,
			email, email_key, locale, currency, shipping_address, billing_address, shipping_method_id, shipping_method_name, discount_codes,
			adjustments, tax_lines, prices_include_tax, subtotal, discount, shipping, shipping_tax, tax, total, note)
		values ($1, $2, $3, $4, 'draft', $5, $6, $7, $8, $9, $10, lower($10), $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27)
		returning tenant_id, id
	` + newLines
	newLines = `) insert into order_lines (tenant_id, order_id, id, position, product_id, variant_id, sku, title, variant_title, image_url, quantity,
			unit_price, subtotal, discount, tax, total, cost, weight_grams, tax_class, tax_lines, requires_shipping)
		select o.tenant_id, o.id, x.id, x.position, x.product_id, x.variant_id, x.sku, x.title, x.variant_title, x.image_url, x.quantity,
			x.unit_price, x.subtotal, x.discount, x.tax, x.total, x.cost, x.weight_grams, x.tax_class, x.tax_lines, x.requires_shipping
		from o cross join jsonb_to_recordset($28::jsonb) as x(id uuid, position int, product_id uuid, variant_id uuid, sku text, title text, variant_title text,
			image_url text, quantity int, unit_price bigint, subtotal bigint, discount bigint, tax bigint, total bigint, cost bigint, weight_grams int,
			tax_class text, tax_lines jsonb, requires_shipping boolean)`

	// renewOrder is insertOrder for a draft whose cart is completed anew.
	renewOrder = `with gone as (
		delete from order_lines where tenant_id = $1 and order_id = $2
	), o as (
		update orders set cart_id = $3, customer_id = $4, fulfilment_status = $5, payment_provider = $6, attempt = $7, attempt_state = $8, attempt_until = $9,
			attempt_reference = null, email = $10, email_key = lower($10), locale = $11, currency = $12, shipping_address = $13, billing_address = $14, shipping_method_id = $15,
			shipping_method_name = $16, discount_codes = $17, adjustments = $18, tax_lines = $19, prices_include_tax = $20, subtotal = $21, discount = $22,
			shipping = $23, shipping_tax = $24, tax = $25, total = $26, note = $27, version = version + 1, updated_at = now()
		where tenant_id = $1 and id = $2 and status = 'draft'
		returning tenant_id, id
	` + newLines

	// placeOrder takes the number last, so that others wait for it as shortly as
	// can be; a transaction that fails takes none.
	placeOrder = `with counter as (
		insert into order_counters (tenant_id, last_number) values ($1, 1)
		on conflict (tenant_id) do update set last_number = order_counters.last_number + 1 returning last_number
	)
	update orders o set number = counter.last_number, status = $3, placed_at = now(), authorized = $4, captured = $5, refunded = $6, payment_status = $7,
		paid_at = case when $5::bigint >= o.total then now() end, completed_at = case when $3 = 'completed' then now() end,
		version = o.version + case when o.attempt > 0 then 1 else 0 end, updated_at = now()
	from counter where o.tenant_id = $1 and o.id = $2 and o.status = 'draft' returning ` + cols

	saveStates = `update orders o set authorized = $3, captured = $4, refunded = $5, payment_status = $6, fulfilment_status = $7, status = $8,
		refunding = $9, cancel_reason = $10, cart_id = $11, attempt_state = $12, cancelled_at = case when $8 = 'cancelled' then coalesce(o.cancelled_at, now()) end,
		paid_at = case when $4 >= o.total and o.placed_at is not null then coalesce(o.paid_at, now()) else o.paid_at end,
		completed_at = case when $8 = 'completed' then coalesce(o.completed_at, now()) end,
		version = o.version + 1, updated_at = now()
	where o.tenant_id = $1 and o.id = $2 returning ` + cols

	saveAttempt = `update orders set attempt_state = $3, attempt_reference = coalesce($4, attempt_reference), attempt_until = $5,
		updated_at = now() where tenant_id = $1 and id = $2`

	updateOrder = `update orders o set tags = $3, note = $4, shipping_address = $5, billing_address = $6, version = o.version + 1, updated_at = now()
		where o.tenant_id = $1 and o.id = $2 returning ` + cols

	paymentCols = `p.id, p.order_id, p.provider, p.kind, p.amount, o.currency, p.reference, p.reason, p.refund_id,
		jsonb_build_object('type', p.created_by_kind, 'id', p.created_by_id) as created_by, p.created_at`

	// insertPayment adds a fact once; told again it gives no row.
	insertPayment = `with p as (
		insert into order_payments (tenant_id, order_id, id, provider, kind, amount, reference, reason, refund_id, created_by_kind, created_by_id)
		values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) on conflict on constraint order_payment_recorded do nothing
		returning tenant_id, id, order_id, provider, kind, amount, reference, reason, refund_id, created_by_kind, created_by_id, created_at
	)
	select ` + paymentCols + ` from p join orders o on o.tenant_id = p.tenant_id and o.id = p.order_id`
	selectPayment = `select ` + paymentCols + ` from order_payments p join orders o on o.tenant_id = p.tenant_id and o.id = p.order_id
		where p.tenant_id = $1 and p.order_id = $2 and p.provider = $3 and p.reference = $4 and p.kind = $5`
	listPayments = `select ` + paymentCols + ` from order_payments p join orders o on o.tenant_id = p.tenant_id and o.id = p.order_id
		where p.tenant_id = $1 and p.order_id = $2 and ($3::uuid is null or p.id > $3) order by p.id limit $4 offset $5`
	// selectAtProvider is what a provider took and has not given back.
	selectAtProvider = `select coalesce(sum(case p.kind when 'captured' then p.amount when 'refunded' then -p.amount end), 0)::bigint
		from order_payments p where p.tenant_id = $1 and p.order_id = $2 and p.provider = $3 and p.kind in ('captured', 'refunded')`
	countPayments = `select count(*) from order_payments p where p.tenant_id = $1 and p.order_id = $2`

	refundCols = `r.id, r.order_id, r.provider, r.status, r.amount, o.currency, r.reason, r.restock, r.lines,
		jsonb_build_object('type', r.created_by_kind, 'id', r.created_by_id) as created_by, r.created_at, r.settled_at`
	insertRefund = `with r as (
		insert into order_refunds (tenant_id, order_id, id, provider, status, amount, reason, restock, lines, created_by_kind, created_by_id, settled_at)
		values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, case when $5 = 'succeeded' then now() end)
		returning tenant_id, id, order_id, provider, status, amount, reason, restock, lines, created_by_kind, created_by_id, created_at, settled_at
	)
	select ` + refundCols + ` from r join orders o on o.tenant_id = r.tenant_id and o.id = r.order_id`
	selectRefund = `select ` + refundCols + ` from order_refunds r join orders o on o.tenant_id = r.tenant_id and o.id = r.order_id
		where r.tenant_id = $1 and r.order_id = $2 and r.id = $3`
	listRefunds = `select ` + refundCols + ` from order_refunds r join orders o on o.tenant_id = r.tenant_id and o.id = r.order_id
		where r.tenant_id = $1 and r.order_id = $2 and ($3::uuid is null or r.id > $3) order by r.id limit $4 offset $5`
	countRefunds = `select count(*) from order_refunds r where r.tenant_id = $1 and r.order_id = $2`
	settleRefund = `update order_refunds set status = $4, settled_at = now() where tenant_id = $1 and order_id = $2 and id = $3 and status = 'pending'`
	// refundLines and its kin change lines of one order, each named once.
	refundLines = `update order_lines l set refunded_quantity = l.refunded_quantity + x.quantity, refunded = l.refunded + x.amount,
		returned_quantity = l.returned_quantity + x.returned
		from unnest($3::uuid[], $4::int[], $5::bigint[], $6::int[]) as x(id, quantity, amount, returned)
		where l.tenant_id = $1 and l.order_id = $2 and l.id = x.id`
	assignLines = `update order_lines l set assigned_quantity = l.assigned_quantity + x.quantity from unnest($3::uuid[], $4::int[]) as x(id, quantity)
		where l.tenant_id = $1 and l.order_id = $2 and l.id = x.id`
	fulfilLines = `update order_lines l set fulfilled_quantity = l.fulfilled_quantity + x.quantity from unnest($3::uuid[], $4::int[]) as x(id, quantity)
		where l.tenant_id = $1 and l.order_id = $2 and l.id = x.id`

	listStored = `select l.id, l.variant_id, l.quantity, l.assigned_quantity, l.refunded_quantity, l.total,
		l.requires_shipping, coalesce(v.track_stock, false) as track_stock
		from order_lines l left join product_variants v on v.tenant_id = l.tenant_id and v.id = l.variant_id
		where l.tenant_id = $1 and l.order_id = $2 order by l.position`
)

// Parcels and notes.
const (
	fulfilmentCols = `f.id, f.order_id, f.location_id, f.status, coalesce((
			select jsonb_agg(jsonb_build_object('order_line_id', x.order_line_id, 'variant_id', l.variant_id, 'title', l.title, 'quantity', x.quantity) order by l.position)
			from fulfilment_lines x join order_lines l on l.tenant_id = x.tenant_id and l.order_id = x.order_id and l.id = x.order_line_id
			where x.tenant_id = f.tenant_id and x.order_id = f.order_id and x.fulfilment_id = f.id), '[]') as lines,
		f.carrier, f.tracking_number, f.tracking_url, f.shipped_at, f.delivered_at, f.cancelled_at, f.version, f.created_at, f.updated_at`

	selectFulfilment = `select ` + fulfilmentCols + ` from fulfilments f where f.tenant_id = $1 and f.order_id = $2 and f.id = $3`
	listFulfilments  = `select ` + fulfilmentCols + ` from fulfilments f where f.tenant_id = $1 and f.order_id = $2
		and ($3::uuid is null or f.id > $3) order by f.id limit $4 offset $5`
	countFulfilments = `select count(*) from fulfilments f where f.tenant_id = $1 and f.order_id = $2`
	openFulfilments  = `select ` + fulfilmentCols + ` from fulfilments f where f.tenant_id = $1 and f.order_id = $2 and f.status = 'pending' order by f.id`
	insertFulfilment = `with f as (
		insert into fulfilments (tenant_id, order_id, id, location_id, carrier, tracking_number, tracking_url) values ($1, $2, $3, $4, $5, $6, $7)
		returning tenant_id, order_id, id
	)
	insert into fulfilment_lines (tenant_id, order_id, fulfilment_id, order_line_id, quantity)
	select f.tenant_id, f.order_id, f.id, x.id, x.quantity from f cross join unnest($8::uuid[], $9::int[]) as x(id, quantity)`
	moveFulfilment = `update fulfilments f set status = $4, carrier = $5, tracking_number = $6, tracking_url = $7, version = f.version + 1, updated_at = now(),
		shipped_at = case when $4 in ('shipped', 'delivered') then coalesce(f.shipped_at, now()) end,
		delivered_at = case when $4 = 'delivered' then now() end, cancelled_at = case when $4 = 'cancelled' then now() end
		where f.tenant_id = $1 and f.order_id = $2 and f.id = $3 returning ` + fulfilmentCols
	updateFulfilment = `update fulfilments f set carrier = $4, tracking_number = $5, tracking_url = $6, version = f.version + 1, updated_at = now()
		where f.tenant_id = $1 and f.order_id = $2 and f.id = $3 returning ` + fulfilmentCols

	// selectLocation is where most of an order is reserved, else the default one.
	selectLocation = `select l.id from stock_locations l left join lateral (
			select sum(r.quantity) as quantity from stock_reservations r where r.tenant_id = l.tenant_id and r.order_id = $2 and r.location_id = l.id
		) r on true
		where l.tenant_id = $1 and (r.quantity > 0 or l.is_default) order by coalesce(r.quantity, 0) desc, l.is_default desc, l.id limit 1`
	// selectSource is from where lines of an order were sent last.
	selectSource = `select f.location_id from fulfilments f join fulfilment_lines x on x.tenant_id = f.tenant_id and x.order_id = f.order_id and x.fulfilment_id = f.id
		where f.tenant_id = $1 and f.order_id = $2 and f.status in ('shipped', 'delivered') and x.order_line_id = any($3::uuid[]) and f.location_id is not null
		order by f.shipped_at desc, f.id desc limit 1`

	noteCols   = `n.id, n.order_id, n.body, jsonb_build_object('type', n.created_by_kind, 'id', n.created_by_id) as created_by, n.created_at`
	insertNote = `insert into order_notes as n (tenant_id, order_id, id, body, created_by_kind, created_by_id)
		select o.tenant_id, o.id, $3, $4, $5, $6 from orders o where o.tenant_id = $1 and o.id = $2 returning ` + noteCols
	listNotes = `select ` + noteCols + ` from order_notes n where n.tenant_id = $1 and n.order_id = $2
		and ($3::uuid is null or n.id < $3) order by n.id desc limit $4 offset $5`
	countNotes = `select count(*) from order_notes n where n.tenant_id = $1 and n.order_id = $2`
)

// listDemand is what of an order must be in stock.
const listDemand = `select l.variant_id, sum(l.quantity)::int as quantity from order_lines l
	join product_variants v on v.tenant_id = l.tenant_id and v.id = l.variant_id and v.track_stock
	where l.tenant_id = $1 and l.order_id = $2 group by l.variant_id order by l.variant_id`

type demand struct {
	VariantID id.ID `db:"variant_id"`
	Quantity  int   `db:"quantity"`
}

func demands(rows []demand) []commerce.Demand {
	out := make([]commerce.Demand, len(rows))
	for i, r := range rows {
		out[i] = commerce.Demand{VariantID: r.VariantID, Quantity: r.Quantity}
	}
	return out
}

// held is an order under its lock, with what is not shown of it.
type held struct {
	Order
	CartID           *id.ID     `db:"cart_id"`
	ShippingMethodID *id.ID     `db:"shipping_method_id"`
	Total            int64      `db:"total"`
	Refunding        int64      `db:"refunding"`
	ShippingTax      int64      `db:"shipping_tax"`
	Locale           string     `db:"locale"`
	Attempt          int        `db:"attempt"`
	AttemptState     string     `db:"attempt_state"`
	AttemptReference *string    `db:"attempt_reference"`
	AttemptUntil     *time.Time `db:"attempt_until"`
}

// stored is a line with what is not shown of it.
type stored struct {
	ID               id.ID `db:"id"`
	VariantID        id.ID `db:"variant_id"`
	Quantity         int   `db:"quantity"`
	Assigned         int   `db:"assigned_quantity"`
	Refunded         int   `db:"refunded_quantity"`
	Total            int64 `db:"total"`
	RequiresShipping bool  `db:"requires_shipping"`
	TrackStock       bool  `db:"track_stock"`
}

func lock(ctx context.Context, tx *tenant.Tx, order id.ID) (held, error) {
	h, err := tenant.One[held](ctx, tx, lockOrder, tx.Scope().Organization, order)
	return h, tenant.NotFound(err, "order")
}

// derive reads what the states of the order follow from.
func derive(ctx context.Context, tx *tenant.Tx, order id.ID) (ledger, []progress, error) {
	l, err := tenant.One[ledger](ctx, tx, sumLedger, tx.Scope().Organization, order)
	if err != nil {
		return l, nil, err
	}
	lines, err := tenant.List[progress](ctx, tx, listProgress, tx.Scope().Organization, order)
	return l, lines, err
}

// save stores the states of a locked order as they follow from its ledgers, and
// completes it where nothing is left to do.
func (f *Feature) save(ctx context.Context, tx *tenant.Tx, h held) (Order, error) {
	l, lines, err := derive(ctx, tx, h.ID)
	if err != nil {
		return Order{}, err
	}
	payment, fulfilment := paymentStatus(h.Total, l), fulfilmentStatus(lines)
	if finished(h.Status, fulfilment, h.Total, l) {
		h.Status = "completed"
		if err := f.handOver(ctx, tx, h.ID); err != nil {
			return Order{}, err
		}
	}
	return tenant.One[Order](ctx, tx, saveStates, tx.Scope().Organization, h.ID, max(l.Authorized-l.Voided, 0), l.Captured, l.Refunded,
		payment, fulfilment, h.Status, h.Refunding, h.CancelReason, h.CartID, h.AttemptState)
}

const listReserved = `select r.location_id, r.variant_id, sum(r.quantity)::int as quantity from stock_reservations r
	where r.tenant_id = $1 and r.order_id = $2 group by r.location_id, r.variant_id order by r.location_id, r.variant_id`

// handOver takes out of the stock what is still reserved for an order that is
// completed: things that are counted and not sent, such as seats.
func (f *Feature) handOver(ctx context.Context, tx *tenant.Tx, order id.ID) error {
	type reserved struct {
		LocationID id.ID `db:"location_id"`
		demand
	}
	rows, err := tenant.List[reserved](ctx, tx, listReserved, tx.Scope().Organization, order)
	if err != nil {
		return err
	}
	for len(rows) > 0 {
		n := 0
		var here []demand
		for n < len(rows) && rows[n].LocationID == rows[0].LocationID {
			here = append(here, rows[n].demand)
			n++
		}
		if err := f.Stock.Ship(ctx, tx, order, rows[0].LocationID, demands(here)); err != nil {
			return err
		}
		rows = rows[n:]
	}
	return nil
}

// by is who does it, as rows have it.
func by(s tenant.Scope) (string, *id.ID) {
	if s.Actor.ID.IsZero() {
		return string(s.Actor.Kind), nil
	}
	actor := s.Actor.ID
	return string(s.Actor.Kind), &actor
}

// record adds a fact to the ledger; false if it stood there already.
func record(ctx context.Context, tx *tenant.Tx, p OrderPayment) (OrderPayment, bool, error) {
	kind, actor := by(tx.Scope())
	rows, err := tenant.List[OrderPayment](ctx, tx, insertPayment, tx.Scope().Organization, p.OrderID, id.New(), p.Provider, p.Kind, p.Amount, p.Reference,
		p.Reason, p.RefundID, kind, actor)
	if err != nil || len(rows) == 0 {
		return p, false, err
	}
	return rows[0], true, nil
}

// newLine is an order line on its way into the database.
type newLine struct {
	ID               id.ID              `json:"id"`
	Position         int                `json:"position"`
	ProductID        id.ID              `json:"product_id"`
	VariantID        id.ID              `json:"variant_id"`
	SKU              *string            `json:"sku"`
	Title            string             `json:"title"`
	VariantTitle     string             `json:"variant_title"`
	ImageURL         *string            `json:"image_url"`
	Quantity         int                `json:"quantity"`
	UnitPrice        int64              `json:"unit_price"`
	Subtotal         int64              `json:"subtotal"`
	Discount         int64              `json:"discount"`
	Tax              int64              `json:"tax"`
	Total            int64              `json:"total"`
	Cost             *int64             `json:"cost"`
	WeightGrams      int                `json:"weight_grams"`
	TaxClass         string             `json:"tax_class"`
	TaxLines         []commerce.TaxPart `json:"tax_lines"`
	RequiresShipping bool               `json:"requires_shipping"`
}

// draft stores an order of a basket: a new one, or a draft that was one before.
func draft(ctx context.Context, tx *tenant.Tx, sql string, order id.ID, b commerce.Basket, provider string, attempt int, state string, until *time.Time) error {
	q := b.Quote
	lines := make([]newLine, len(b.Lines))
	steps := make([]progress, len(b.Lines))
	for i, l := range b.Lines {
		p := q.Lines[i]
		lines[i] = newLine{
			ID: id.New(), Position: i, ProductID: l.ProductID, VariantID: l.VariantID, SKU: l.SKU, Title: l.Title, VariantTitle: l.VariantTitle, ImageURL: l.ImageURL,
			Quantity: l.Quantity, UnitPrice: p.UnitPrice, Subtotal: p.Subtotal, Discount: p.Discount, Tax: p.Tax, Total: p.Total, Cost: l.Cost,
			WeightGrams: l.WeightGrams, TaxClass: l.TaxClass, TaxLines: q.TaxParts(p.TaxLines), RequiresShipping: l.RequiresShipping,
		}
		steps[i] = progress{Quantity: l.Quantity, RequiresShipping: l.RequiresShipping}
	}
	n, err := tenant.Exec(ctx, tx, sql, tx.Scope().Organization, order, b.CartID, b.CustomerID, fulfilmentStatus(steps), provider, attempt, state, until,
		b.Email, b.Locale, b.Currency, b.ShippingAddress, b.BillingAddress, b.ShippingMethodID, b.ShippingMethodName, b.DiscountCodes,
		q.DiscountParts(), q.TaxParts(q.TaxLines), q.PricesIncludeTax, q.Subtotal, q.Discount, q.Shipping.Subtotal-q.Shipping.Discount, q.Shipping.Tax, q.Tax, q.Total, b.Note, lines)
	if err == nil && n != int64(len(lines)) {
		return errNotDraft
	}
	return err
}
