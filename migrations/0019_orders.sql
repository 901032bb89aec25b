-- From cart to order: what is wanted, what was agreed, what was paid and sent.
-- +goose Up

create table carts (
	tenant_id uuid not null,
	id uuid not null,
	customer_id uuid,
	currency text not null,
	email text,
	shipping_address jsonb,
	billing_address jsonb,
	shipping_method_id uuid,
	discount_codes text[] not null default '{}',
	note text not null default '',
	locale text not null default 'en',
	quote jsonb,
	completed_at timestamptz,
	version bigint not null default 1,
	created_at timestamptz not null default now(),
	updated_at timestamptz not null default now(),
	constraint carts_pkey primary key (tenant_id, id),
	constraint cart_organization_unknown foreign key (tenant_id) references organizations (tenant_id) on delete cascade,
	constraint cart_customer_unknown foreign key (tenant_id, customer_id) references customers (tenant_id, id) on delete cascade,
	constraint cart_currency_form check (currency ~ '^[A-Z]{3}$'),
	constraint cart_note_length check (length(note) <= 2000),
	constraint cart_codes_count check (cardinality(discount_codes) <= 10)
);
create index carts_customer on carts (tenant_id, customer_id, updated_at);
create index carts_idle on carts (tenant_id, updated_at) where completed_at is null;
comment on table carts is 'commerce/carts: what somebody may come to buy; the id of a guest''s cart is a random UUIDv4 and opens it; quote is the price that was last shown';
select protect_tenant_table('carts');

create table cart_lines (
	tenant_id uuid not null,
	cart_id uuid not null,
	id uuid not null,
	variant_id uuid not null,
	quantity integer not null,
	created_at timestamptz not null default now(),
	constraint cart_lines_pkey primary key (tenant_id, cart_id, id),
	constraint cart_line_cart_unknown foreign key (tenant_id, cart_id) references carts (tenant_id, id) on delete cascade,
	constraint cart_line_variant_unknown foreign key (tenant_id, variant_id) references product_variants (tenant_id, id) on delete cascade,
	constraint cart_line_variant_taken unique (tenant_id, cart_id, variant_id),
	constraint cart_line_quantity check (quantity between 1 and 9999)
);
create index cart_lines_variant on cart_lines (tenant_id, variant_id);
comment on table cart_lines is 'commerce/carts: how much of which variant';
select protect_tenant_table('cart_lines');

create table order_counters (
	tenant_id uuid not null,
	last_number bigint not null,
	constraint order_counters_pkey primary key (tenant_id),
	constraint order_counter_organization_unknown foreign key (tenant_id) references organizations (tenant_id) on delete cascade
);
comment on table order_counters is 'commerce/orders: the last number that was given to an order';
select protect_tenant_table('order_counters');

-- A draft is an order whose payment is under way or was declined; it gets its
-- number when it is placed. authorized, captured and refunded repeat the sums of
-- order_payments; payment_status and fulfilment_status follow from them and from
-- what was sent. Attempt and attempt_state are of the payment at the provider;
-- what is refunding was promised to be given back and is not yet.
create table orders (
	tenant_id uuid not null,
	id uuid not null,
	number bigint,
	cart_id uuid,
	customer_id uuid,
	status text not null,
	payment_status text not null default 'unpaid',
	fulfilment_status text not null default 'unfulfilled',
	payment_provider text not null,
	attempt integer not null default 0,
	attempt_state text not null default 'none',
	attempt_reference text,
	attempt_until timestamptz,
	email text not null,
	email_key text not null,
	locale text not null default 'en',
	currency text not null,
	shipping_address jsonb,
	billing_address jsonb,
	shipping_method_id uuid,
	shipping_method_name text not null default '',
	discount_codes text[] not null default '{}',
	adjustments jsonb not null default '[]',
	tax_lines jsonb not null default '[]',
	prices_include_tax boolean not null default false,
	subtotal bigint not null,
	discount bigint not null,
	shipping bigint not null,
	shipping_tax bigint not null default 0,
	tax bigint not null,
	total bigint not null,
	authorized bigint not null default 0,
	captured bigint not null default 0,
	refunded bigint not null default 0,
	refunding bigint not null default 0,
	tags text[] not null default '{}',
	note text not null default '',
	cancel_reason text,
	placed_at timestamptz,
	paid_at timestamptz,
	cancelled_at timestamptz,
	completed_at timestamptz,
	version bigint not null default 1,
	created_at timestamptz not null default now(),
	updated_at timestamptz not null default now(),
	constraint orders_pkey primary key (tenant_id, id),
	constraint order_organization_unknown foreign key (tenant_id) references organizations (tenant_id) on delete cascade,
	constraint order_customer_unknown foreign key (tenant_id, customer_id) references customers (tenant_id, id),
	constraint order_number_taken unique (tenant_id, number),
	constraint order_cart_taken unique (tenant_id, cart_id),
	constraint order_status check (status in ('draft', 'placed', 'completed', 'cancelled')),
	constraint order_payment_status check (payment_status in ('unpaid', 'authorized', 'partially_paid', 'paid', 'partially_refunded', 'refunded', 'voided')),
	constraint order_fulfilment_status check (fulfilment_status in ('unfulfilled', 'partially_fulfilled', 'fulfilled', 'delivered', 'not_required')),
	constraint order_attempt_state check (attempt_state in ('none', 'started', 'waiting', 'declined', 'undo', 'settled')),
	constraint order_amounts check (subtotal >= 0 and discount >= 0 and shipping >= 0 and shipping_tax >= 0 and tax >= shipping_tax and total >= 0),
	constraint order_total_sum check (total = subtotal - discount + shipping + case when prices_include_tax then 0 else tax end),
	constraint order_captured_limit check (captured >= 0 and authorized >= 0 and refunded >= 0 and refunding >= 0),
	constraint refund_exceeds_captured check (refunded + refunding <= captured),
	constraint order_placed_once check (placed_at is not null and number is not null or status in ('draft', 'cancelled')),
	constraint order_cancel_reason_length check (length(cancel_reason) <= 1000),
	constraint order_note_length check (length(note) <= 2000),
	constraint order_tags_count check (cardinality(tags) <= 50)
);
create index orders_placed on orders (tenant_id, placed_at, id);
create index orders_created on orders (tenant_id, created_at, id);
create index orders_status on orders (tenant_id, status, placed_at, id);
create index orders_payment on orders (tenant_id, payment_status, placed_at, id);
create index orders_fulfilment on orders (tenant_id, fulfilment_status, placed_at, id);
create index orders_customer on orders (tenant_id, customer_id, placed_at, id);
create index orders_email on orders (tenant_id, email_key, placed_at, id);
comment on table orders is 'commerce/orders: what was agreed; amounts are minor units of the currency and are stored, never computed again';
select protect_tenant_table('orders');

create table order_lines (
	tenant_id uuid not null,
	order_id uuid not null,
	id uuid not null,
	position integer not null,
	product_id uuid,
	variant_id uuid not null,
	sku text,
	title text not null,
	variant_title text not null default '',
	image_url text,
	quantity integer not null,
	fulfilled_quantity integer not null default 0,
	assigned_quantity integer not null default 0,
	returned_quantity integer not null default 0,
	refunded_quantity integer not null default 0,
	refunded bigint not null default 0,
	unit_price bigint not null,
	subtotal bigint not null,
	discount bigint not null,
	tax bigint not null,
	total bigint not null,
	cost bigint,
	weight_grams integer not null default 0,
	tax_class text not null,
	tax_lines jsonb not null default '[]',
	requires_shipping boolean not null,
	constraint order_lines_pkey primary key (tenant_id, order_id, id),
	constraint order_line_order_unknown foreign key (tenant_id, order_id) references orders (tenant_id, id) on delete cascade,
	constraint order_line_quantity check (quantity >= 1),
	constraint fulfilment_exceeds_ordered check (0 <= fulfilled_quantity and fulfilled_quantity <= assigned_quantity and assigned_quantity <= quantity),
	constraint restock_exceeds_shipped check (returned_quantity between 0 and fulfilled_quantity),
	constraint refund_exceeds_ordered check (refunded_quantity between 0 and quantity),
	constraint order_line_amounts check (unit_price >= 0 and subtotal = unit_price * quantity and discount between 0 and subtotal and tax >= 0 and total >= 0),
	constraint order_line_refunded check (refunded between 0 and total)
);
create index order_lines_variant on order_lines (tenant_id, variant_id, order_id);
comment on table order_lines is 'commerce/orders: what was bought at which price; it names the product as it was then; assigned_quantity is in parcels, fulfilled_quantity of it on the way';
select protect_tenant_table('order_lines');

create table order_payments (
	tenant_id uuid not null,
	order_id uuid not null,
	id uuid not null,
	provider text not null,
	kind text not null,
	amount bigint not null,
	reference text not null,
	reason text not null default '',
	refund_id uuid,
	created_by_kind text not null,
	created_by_id uuid,
	created_at timestamptz not null default now(),
	constraint order_payments_pkey primary key (tenant_id, order_id, id),
	constraint order_payment_order_unknown foreign key (tenant_id, order_id) references orders (tenant_id, id) on delete cascade,
	constraint order_payment_recorded unique (tenant_id, order_id, provider, reference, kind),
	constraint order_payment_kind check (kind in ('authorized', 'captured', 'refunded', 'voided', 'failed', 'disputed', 'dispute_won')),
	constraint order_payment_amount check (amount >= 0),
	constraint order_payment_reference check (length(reference) between 1 and 200)
);
comment on table order_payments is 'commerce/orders: the ledger of money; rows are only added, and once for each fact that a provider tells';
select protect_tenant_table('order_payments');
revoke update, delete on order_payments from guildhall_app;
grant delete on order_payments to guildhall_worker; -- with the organisation, see purge_organization

-- What was promised to be given back; the money itself is in order_payments.
create table order_refunds (
	tenant_id uuid not null,
	order_id uuid not null,
	id uuid not null,
	provider text not null,
	status text not null,
	amount bigint not null,
	reason text not null default '',
	restock boolean not null default false,
	lines jsonb not null default '[]',
	created_by_kind text not null,
	created_by_id uuid,
	created_at timestamptz not null default now(),
	settled_at timestamptz,
	constraint order_refunds_pkey primary key (tenant_id, order_id, id),
	constraint order_refund_order_unknown foreign key (tenant_id, order_id) references orders (tenant_id, id) on delete cascade,
	constraint order_refund_status check (status in ('pending', 'succeeded', 'failed')),
	constraint order_refund_amount check (amount >= 1),
	constraint order_refund_reason_length check (length(reason) <= 1000)
);
comment on table order_refunds is 'commerce/orders: refunds as somebody asked for them; a pending one is at the provider';
select protect_tenant_table('order_refunds');

create table order_notes (
	tenant_id uuid not null,
	order_id uuid not null,
	id uuid not null,
	body text not null,
	created_by_kind text not null,
	created_by_id uuid,
	created_at timestamptz not null default now(),
	constraint order_notes_pkey primary key (tenant_id, order_id, id),
	constraint order_note_order_unknown foreign key (tenant_id, order_id) references orders (tenant_id, id) on delete cascade,
	constraint order_note_body_length check (length(body) between 1 and 5000)
);
comment on table order_notes is 'commerce/orders: what members write about an order for each other';
select protect_tenant_table('order_notes');

create table fulfilments (
	tenant_id uuid not null,
	order_id uuid not null,
	id uuid not null,
	location_id uuid,
	status text not null default 'pending',
	carrier text not null default '',
	tracking_number text not null default '',
	tracking_url text not null default '',
	shipped_at timestamptz,
	delivered_at timestamptz,
	cancelled_at timestamptz,
	version bigint not null default 1,
	created_at timestamptz not null default now(),
	updated_at timestamptz not null default now(),
	constraint fulfilments_pkey primary key (tenant_id, order_id, id),
	constraint fulfilment_order_unknown foreign key (tenant_id, order_id) references orders (tenant_id, id) on delete cascade,
	constraint fulfilment_location_unknown foreign key (tenant_id, location_id) references stock_locations (tenant_id, id),
	constraint fulfilment_status check (status in ('pending', 'shipped', 'delivered', 'cancelled')),
	constraint fulfilment_carrier_length check (length(carrier) <= 100 and length(tracking_number) <= 200 and length(tracking_url) <= 2000)
);
create index fulfilments_location on fulfilments (tenant_id, location_id, created_at);
comment on table fulfilments is 'commerce/orders: parcels: which lines go, or went, from which location';
select protect_tenant_table('fulfilments');

create table fulfilment_lines (
	tenant_id uuid not null,
	order_id uuid not null,
	fulfilment_id uuid not null,
	order_line_id uuid not null,
	quantity integer not null,
	constraint fulfilment_lines_pkey primary key (tenant_id, order_id, fulfilment_id, order_line_id),
	constraint fulfilment_line_fulfilment_unknown foreign key (tenant_id, order_id, fulfilment_id) references fulfilments (tenant_id, order_id, id) on delete cascade,
	constraint fulfilment_line_line_unknown foreign key (tenant_id, order_id, order_line_id) references order_lines (tenant_id, order_id, id) on delete cascade,
	constraint fulfilment_line_quantity check (quantity >= 1)
);
create index fulfilment_lines_line on fulfilment_lines (tenant_id, order_id, order_line_id);
comment on table fulfilment_lines is 'commerce/orders: how much of which line is in a parcel';
select protect_tenant_table('fulfilment_lines');
