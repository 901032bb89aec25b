-- What an organisation sells: categories, products and their variants, prices.
-- +goose Up

create table categories (
	tenant_id uuid not null,
	id uuid not null,
	parent_id uuid,
	slug text not null,
	name text not null,
	description text not null default '',
	image_url text,
	position integer not null default 0,
	version bigint not null default 1,
	created_at timestamptz not null default now(),
	updated_at timestamptz not null default now(),
	constraint categories_pkey primary key (tenant_id, id),
	constraint category_organization_unknown foreign key (tenant_id) references organizations (tenant_id) on delete cascade,
	constraint category_slug_taken unique (tenant_id, slug),
	constraint category_has_children foreign key (tenant_id, parent_id) references categories (tenant_id, id),
	constraint category_parent_itself check (parent_id <> id),
	constraint category_slug_form check (slug ~ '^[a-z0-9]+(-[a-z0-9]+)*$' and length(slug) <= 100),
	constraint category_name_length check (length(name) between 1 and 200),
	constraint category_description_length check (length(description) <= 5000)
);
create index categories_parent on categories (tenant_id, parent_id, position, id);
comment on table categories is 'commerce/catalog: the tree of categories; whoever moves one holds a lock on the organisation''s tree, so that no cycle appears';
select protect_tenant_table('categories');

create table products (
	tenant_id uuid not null,
	id uuid not null,
	slug text not null,
	name text not null,
	name_key text not null,
	description text not null default '',
	status text not null default 'draft',
	category_id uuid,
	brand text not null default '',
	tags text[] not null default '{}',
	image_urls text[] not null default '{}',
	options jsonb not null default '[]',
	attributes jsonb not null default '{}',
	tax_class text not null default 'standard',
	currency text not null,
	price_from bigint not null default 0,
	price_to bigint not null default 0,
	seo_title text not null default '',
	seo_description text not null default '',
	publish_at timestamptz,
	unpublish_at timestamptz,
	version bigint not null default 1,
	created_by_kind text not null,
	created_by_id uuid,
	created_at timestamptz not null default now(),
	updated_at timestamptz not null default now(),
	deleted_at timestamptz,
	constraint products_pkey primary key (tenant_id, id),
	constraint product_organization_unknown foreign key (tenant_id) references organizations (tenant_id) on delete cascade,
	constraint product_category_unknown foreign key (tenant_id, category_id) references categories (tenant_id, id),
	constraint product_in_currency unique (tenant_id, id, currency),
	constraint product_slug_form check (slug ~ '^[a-z0-9]+(-[a-z0-9]+)*$' and length(slug) <= 200),
	constraint product_name_length check (length(name) between 1 and 300),
	constraint product_description_length check (length(description) <= 50000),
	constraint product_status check (status in ('draft', 'active', 'archived')),
	constraint product_brand_length check (length(brand) <= 200),
	constraint product_images_count check (cardinality(image_urls) <= 50),
	constraint product_tags_count check (cardinality(tags) <= 50),
	constraint product_tax_class check (length(tax_class) between 1 and 50),
	constraint product_currency_form check (currency ~ '^[A-Z]{3}$'),
	constraint product_price_range check (0 <= price_from and price_from <= price_to),
	constraint product_dates_order check (publish_at < unpublish_at)
);
create unique index product_slug_taken on products (tenant_id, slug) where deleted_at is null;
create index products_category on products (tenant_id, category_id, id);
create index products_created on products (tenant_id, created_at, id) where deleted_at is null;
create index products_price on products (tenant_id, price_from, id) where deleted_at is null;
create index products_name on products (tenant_id, name_key, id) where deleted_at is null;
create index products_status on products (tenant_id, status, id) where deleted_at is null;
comment on table products is 'commerce/catalog: what is sold; price_from and price_to repeat the least and the greatest price of its variants, name_key is the folded name; options are [{name, values}] in their order';
select protect_tenant_table('products');

create table product_variants (
	tenant_id uuid not null,
	id uuid not null,
	product_id uuid not null,
	currency text not null,
	sku text,
	sku_key text,
	barcode text,
	title text not null,
	options jsonb not null default '{}',
	option_key text not null,
	price bigint not null,
	compare_at_price bigint,
	cost bigint,
	weight_grams integer not null default 0,
	image_url text,
	requires_shipping boolean not null default true,
	track_stock boolean not null default true,
	position integer not null,
	version bigint not null default 1,
	created_at timestamptz not null default now(),
	updated_at timestamptz not null default now(),
	deleted_at timestamptz,
	constraint product_variants_pkey primary key (tenant_id, id),
	constraint variant_in_product unique (tenant_id, product_id, id),
	constraint variant_product_unknown foreign key (tenant_id, product_id, currency) references products (tenant_id, id, currency) on update cascade on delete cascade,
	constraint variant_sku_form check (length(sku) between 1 and 100 and (sku is null) = (sku_key is null)),
	constraint variant_barcode_form check (length(barcode) between 1 and 100),
	constraint variant_title_length check (length(title) between 1 and 300),
	constraint variant_price_positive check (price >= 0 and compare_at_price >= 0 and cost >= 0),
	constraint variant_price_limit check (price <= 1000000000000 and compare_at_price <= 1000000000000 and cost <= 1000000000000),
	constraint variant_weight check (weight_grams between 0 and 10000000)
);
create unique index variant_sku_taken on product_variants (tenant_id, sku_key) where deleted_at is null and sku_key is not null;
create unique index variant_options_taken on product_variants (tenant_id, product_id, option_key) where deleted_at is null;
create index product_variants_product on product_variants (tenant_id, product_id, currency, position, id);
create index product_variants_barcode on product_variants (tenant_id, barcode) where barcode is not null;
comment on table product_variants is 'commerce/catalog: what can be put into a cart; one for each combination of options that is sold; price is in minor units of the product''s currency; option_key is the combination in one spelling, sku_key the folded sku';
select protect_tenant_table('product_variants');

create table price_lists (
	tenant_id uuid not null,
	id uuid not null,
	name text not null,
	currency text not null,
	customer_group text,
	starts_at timestamptz,
	ends_at timestamptz,
	priority integer not null default 0,
	enabled boolean not null default true,
	version bigint not null default 1,
	created_at timestamptz not null default now(),
	updated_at timestamptz not null default now(),
	constraint price_lists_pkey primary key (tenant_id, id),
	constraint price_list_organization_unknown foreign key (tenant_id) references organizations (tenant_id) on delete cascade,
	constraint price_list_name_length check (length(name) between 1 and 200),
	constraint price_list_currency_form check (currency ~ '^[A-Z]{3}$'),
	constraint price_list_group_form check (customer_group ~ '^[a-z0-9_]{1,50}$'),
	constraint price_list_dates_order check (starts_at < ends_at)
);
comment on table price_lists is 'commerce/catalog: other prices: in another currency, for a group of customers, for a time; of those that apply the greatest priority counts, then the least amount';
select protect_tenant_table('price_lists');

create table price_list_prices (
	tenant_id uuid not null,
	variant_id uuid not null,
	price_list_id uuid not null,
	min_quantity integer not null default 1,
	amount bigint not null,
	constraint price_list_prices_pkey primary key (tenant_id, variant_id, price_list_id, min_quantity),
	constraint price_list_price_variant_unknown foreign key (tenant_id, variant_id) references product_variants (tenant_id, id) on delete cascade,
	constraint price_list_price_list_unknown foreign key (tenant_id, price_list_id) references price_lists (tenant_id, id) on delete cascade,
	constraint price_list_price_amount check (amount between 0 and 1000000000000),
	constraint price_list_price_quantity check (min_quantity between 1 and 1000000)
);
create index price_list_prices_list on price_list_prices (tenant_id, price_list_id, variant_id);
comment on table price_list_prices is 'commerce/catalog: a price of a list from a quantity on, in minor units of the list''s currency';
select protect_tenant_table('price_list_prices');

create table collections (
	tenant_id uuid not null,
	id uuid not null,
	slug text not null,
	name text not null,
	description text not null default '',
	image_url text,
	rule jsonb not null,
	sort text not null,
	version bigint not null default 1,
	created_at timestamptz not null default now(),
	updated_at timestamptz not null default now(),
	constraint collections_pkey primary key (tenant_id, id),
	constraint collection_organization_unknown foreign key (tenant_id) references organizations (tenant_id) on delete cascade,
	constraint collection_slug_taken unique (tenant_id, slug),
	constraint collection_slug_form check (slug ~ '^[a-z0-9]+(-[a-z0-9]+)*$' and length(slug) <= 100),
	constraint collection_name_length check (length(name) between 1 and 200),
	constraint collection_description_length check (length(description) <= 5000)
);
comment on table collections is 'commerce/catalog: products chosen by a rule, which is the filter of a list; nothing is stored of what it matches';
select protect_tenant_table('collections');

create table product_imports (
	tenant_id uuid not null,
	id uuid not null,
	dry_run boolean not null,
	source text,
	total integer not null,
	done integer not null default 0,
	created integer not null default 0,
	updated integer not null default 0,
	unchanged integer not null default 0,
	failed integer not null default 0,
	errors jsonb not null default '[]',
	created_by_kind text not null,
	created_by_id uuid,
	created_at timestamptz not null default now(),
	finished_at timestamptz,
	constraint product_imports_pkey primary key (tenant_id, id),
	constraint product_import_organization_unknown foreign key (tenant_id) references organizations (tenant_id) on delete cascade
);
create index product_imports_created on product_imports (tenant_id, created_at);
comment on table product_imports is 'commerce/catalog: files of products that are read in; counts move in the transaction of the products that they count; source goes when all of it is through';
select protect_tenant_table('product_imports');
