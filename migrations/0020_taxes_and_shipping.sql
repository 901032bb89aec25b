-- What is added to a price: taxes and shipping.
-- +goose Up

create table tax_settings (
	tenant_id uuid not null,
	prices_include_tax boolean not null default false,
	rounding text not null default 'half_up',
	rounding_scope text not null default 'line',
	shipping_tax_class text not null default 'standard',
	version bigint not null default 0,
	updated_at timestamptz not null default now(),
	constraint tax_settings_pkey primary key (tenant_id),
	constraint tax_settings_organization_unknown foreign key (tenant_id) references organizations (tenant_id) on delete cascade,
	constraint tax_settings_rounding check (rounding in ('half_up', 'half_even')),
	constraint tax_settings_rounding_scope check (rounding_scope in ('unit', 'line', 'order')),
	constraint tax_settings_shipping_class check (length(shipping_tax_class) <= 50)
);
comment on table tax_settings is 'commerce/taxes: how an organisation reckons taxes; without a row the defaults hold';
select protect_tenant_table('tax_settings');

create table tax_rates (
	tenant_id uuid not null,
	id uuid not null,
	name text not null,
	country text not null,
	state text not null default '',
	postal_code_prefix text not null default '',
	tax_class text not null default 'standard',
	rate_ppm integer not null,
	version bigint not null default 1,
	created_at timestamptz not null default now(),
	updated_at timestamptz not null default now(),
	constraint tax_rates_pkey primary key (tenant_id, id),
	constraint tax_rate_organization_unknown foreign key (tenant_id) references organizations (tenant_id) on delete cascade,
	constraint tax_rate_taken unique (tenant_id, country, state, postal_code_prefix, tax_class, name),
	constraint tax_rate_name_length check (length(name) between 1 and 100),
	constraint tax_rate_country_form check (country ~ '^[A-Z]{2}$'),
	constraint tax_rate_region_form check (length(state) <= 100 and postal_code_prefix ~ '^[A-Z0-9]{0,20}$'),
	constraint tax_rate_class check (length(tax_class) between 1 and 50),
	constraint tax_rate_ppm check (rate_ppm between 0 and 5000000)
);
comment on table tax_rates is 'commerce/taxes: taxes by destination and class, in parts per million; state and postal_code_prefix are upper case without blanks, empty for all; of one name the most specific counts, different names add up';
select protect_tenant_table('tax_rates');

create table shipping_zones (
	tenant_id uuid not null,
	id uuid not null,
	name text not null,
	countries text[] not null,
	states text[] not null default '{}',
	postal_code_prefixes text[] not null default '{}',
	version bigint not null default 1,
	created_at timestamptz not null default now(),
	updated_at timestamptz not null default now(),
	constraint shipping_zones_pkey primary key (tenant_id, id),
	constraint shipping_zone_organization_unknown foreign key (tenant_id) references organizations (tenant_id) on delete cascade,
	constraint shipping_zone_name_taken unique (tenant_id, name),
	constraint shipping_zone_name_length check (length(name) between 1 and 200),
	constraint shipping_zone_size check (cardinality(countries) <= 250 and cardinality(states) <= 200 and cardinality(postal_code_prefixes) <= 500)
);
comment on table shipping_zones is 'commerce/shipping: where parcels go; an empty list is no limit; the most specific zone of an address counts';
select protect_tenant_table('shipping_zones');

create table shipping_methods (
	tenant_id uuid not null,
	id uuid not null,
	zone_id uuid not null,
	name text not null,
	kind text not null,
	currency text not null,
	amount bigint not null default 0,
	bands jsonb not null default '[]',
	free_from bigint,
	min_subtotal bigint,
	max_subtotal bigint,
	min_weight_grams integer,
	max_weight_grams integer,
	tax_class text not null default '',
	position integer not null default 0,
	active boolean not null default true,
	version bigint not null default 1,
	created_at timestamptz not null default now(),
	updated_at timestamptz not null default now(),
	constraint shipping_methods_pkey primary key (tenant_id, id),
	constraint shipping_method_zone_unknown foreign key (tenant_id, zone_id) references shipping_zones (tenant_id, id) on delete cascade,
	constraint shipping_method_name_length check (length(name) between 1 and 200),
	constraint shipping_method_kind check (kind in ('flat', 'by_weight', 'by_price')),
	constraint shipping_method_currency_form check (currency ~ '^[A-Z]{3}$'),
	constraint shipping_method_amount check (amount between 0 and 1000000000000 and free_from >= 0),
	constraint shipping_method_subtotals check (min_subtotal >= 0 and min_subtotal <= max_subtotal),
	constraint shipping_method_weights check (min_weight_grams >= 0 and min_weight_grams <= max_weight_grams),
	constraint shipping_method_class check (length(tax_class) <= 50)
);
create index shipping_methods_zone on shipping_methods (tenant_id, zone_id, position, id);
comment on table shipping_methods is 'commerce/shipping: a way to send something into a zone, and its price in minor units of its currency; bands are [{up_to, amount}] by weight in grams or by subtotal';
select protect_tenant_table('shipping_methods');
