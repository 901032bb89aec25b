-- What is in stock, where, and how it came to be so.
-- +goose Up

create table stock_locations (
	tenant_id uuid not null,
	id uuid not null,
	code text not null,
	name text not null,
	address jsonb,
	priority integer not null default 0,
	is_default boolean not null default false,
	active boolean not null default true,
	version bigint not null default 1,
	created_at timestamptz not null default now(),
	updated_at timestamptz not null default now(),
	constraint stock_locations_pkey primary key (tenant_id, id),
	constraint stock_location_organization_unknown foreign key (tenant_id) references organizations (tenant_id) on delete cascade,
	constraint stock_location_code_taken unique (tenant_id, code),
	constraint stock_location_code_form check (code ~ '^[a-z0-9]+([_-][a-z0-9]+)*$' and length(code) <= 50),
	constraint stock_location_name_length check (length(name) between 1 and 200),
	constraint stock_location_default_active check (active or not is_default)
);
create unique index stock_location_default_taken on stock_locations (tenant_id) where is_default;
comment on table stock_locations is 'commerce/inventory: where goods lie; the default one is made with the first stock';
select protect_tenant_table('stock_locations');

-- The guarantee against overselling is the check: whoever reserves does it by
-- one conditional update, and two who want the last unit meet on this row.
create table stock_levels (
	tenant_id uuid not null,
	variant_id uuid not null,
	location_id uuid not null,
	on_hand integer not null default 0,
	reserved integer not null default 0,
	backorder_limit integer not null default 0,
	shortfall integer not null default 0,
	available integer not null generated always as (on_hand - reserved) stored,
	low_stock_threshold integer,
	version bigint not null default 1,
	updated_at timestamptz not null default now(),
	constraint stock_levels_pkey primary key (tenant_id, variant_id, location_id),
	constraint stock_level_variant_unknown foreign key (tenant_id, variant_id) references product_variants (tenant_id, id),
	constraint stock_level_location_in_use foreign key (tenant_id, location_id) references stock_locations (tenant_id, id),
	constraint stock_not_negative check (on_hand >= 0 and reserved >= 0),
	constraint insufficient_stock check (reserved <= on_hand + backorder_limit + shortfall),
	constraint stock_level_limits check (backorder_limit between 0 and 1000000 and shortfall >= 0 and low_stock_threshold >= 0 and on_hand <= 1000000000)
);
create index stock_levels_location on stock_levels (tenant_id, location_id, variant_id);
comment on table stock_levels is 'commerce/inventory: on_hand is the sum of stock_movements, reserved the sum of stock_reservations; shortfall is what was promised and then not found';
select protect_tenant_table('stock_levels');

create table stock_movements (
	tenant_id uuid not null,
	id uuid not null,
	variant_id uuid not null,
	location_id uuid not null,
	quantity integer not null,
	on_hand_after integer not null,
	reason text not null,
	note text not null default '',
	reference_type text,
	reference_id uuid,
	created_by_kind text not null,
	created_by_id uuid,
	created_at timestamptz not null default now(),
	constraint stock_movements_pkey primary key (tenant_id, id),
	constraint stock_movement_level_unknown foreign key (tenant_id, variant_id, location_id) references stock_levels (tenant_id, variant_id, location_id),
	constraint stock_movement_quantity check (quantity <> 0),
	constraint stock_movement_reason check (reason in ('initial', 'received', 'adjusted', 'counted', 'damaged', 'transferred', 'shipped', 'returned')),
	constraint stock_movement_note_length check (length(note) <= 1000)
);
create index stock_movements_level on stock_movements (tenant_id, variant_id, location_id, id);
create index stock_movements_reference on stock_movements (tenant_id, reference_id) where reference_id is not null;
comment on table stock_movements is 'commerce/inventory: the ledger of what was in stock; rows are only added';
select protect_tenant_table('stock_movements');
revoke update, delete on stock_movements from guildhall_app;
grant delete on stock_movements to guildhall_worker; -- with the organisation, see purge_organization

create table stock_reservations (
	tenant_id uuid not null,
	order_id uuid not null,
	variant_id uuid not null,
	location_id uuid not null,
	quantity integer not null,
	expires_at timestamptz,
	created_at timestamptz not null default now(),
	constraint stock_reservations_pkey primary key (tenant_id, order_id, variant_id, location_id),
	constraint stock_reservation_level_unknown foreign key (tenant_id, variant_id, location_id) references stock_levels (tenant_id, variant_id, location_id),
	constraint stock_reservation_quantity check (quantity >= 0)
);
create index stock_reservations_level on stock_reservations (tenant_id, variant_id, location_id);
create index stock_reservations_expires on stock_reservations (expires_at) where expires_at is not null and quantity > 0;
comment on table stock_reservations is 'commerce/inventory: what is promised to an order and not yet shipped; expires_at bridges a payment that is under way; a quantity of 0 tells that it expired';
select protect_tenant_table('stock_reservations');

-- +goose StatementBegin
create function organizations_with_expired_reservations(most integer) returns setof uuid
language sql stable security definer set search_path = guildhall, pg_temp as $$
	select distinct r.tenant_id from stock_reservations r
	where r.expires_at <= now() and r.quantity > 0 limit least(most, 1000)
$$;
-- +goose StatementEnd
create policy platform on stock_reservations to guildhall_platform using (true) with check (true);
grant select on stock_reservations to guildhall_platform;
alter function organizations_with_expired_reservations(integer) owner to guildhall_platform;
revoke execute on function organizations_with_expired_reservations(integer) from public;
grant execute on function organizations_with_expired_reservations(integer) to guildhall_worker;
