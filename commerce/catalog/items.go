package catalog

import (
	"context"

	"github.com/guildhall-dev/guildhall/commerce"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/tenant"
)

// published says that shoppers may see p.
const published = `p.deleted_at is null and p.status = 'active' and (p.publish_at is null or p.publish_at <= now()) and (p.unpublish_at is null or p.unpublish_at > now())`

// applies says that a price list l counts now; appliesGroup goes on with the
// buyer's group.
const (
	applies      = `l.enabled and (l.starts_at is null or l.starts_at <= now()) and (l.ends_at is null or l.ends_at > now())`
	appliesGroup = applies + ` and (l.customer_group is null or l.customer_group = `
)

// selectItems prices what is wanted in one statement. In each list the break
// that the quantity reaches last counts; of the lists the one of the greatest
// priority, then the least amount.
const selectItems = `select v.id as variant_id, v.product_id, p.category_id, v.sku, p.name as title, case when v.option_key = '' then '' else v.title end as variant_title,
	coalesce(v.image_url, p.image_urls[1]) as image_url, coalesce(listed.amount, case when v.currency = $1 then v.price end) as unit_price,
	case when v.currency = $1 then v.cost end as cost, v.weight_grams, p.tax_class, v.requires_shipping, v.track_stock
from unnest($3::uuid[], $4::integer[]) with ordinality as w (variant_id, quantity, n)
join product_variants v on v.id = w.variant_id and v.deleted_at is null
join products p on p.tenant_id = v.tenant_id and p.id = v.product_id and ` + published + `
left join lateral (
	select best.amount from (
		select distinct on (e.price_list_id) l.priority, e.amount
		from price_list_prices e join price_lists l on l.tenant_id = e.tenant_id and l.id = e.price_list_id
		where e.tenant_id = v.tenant_id and e.variant_id = v.id and e.min_quantity <= w.quantity and l.currency = $1 and ` + appliesGroup + `$2)
		order by e.price_list_id, e.min_quantity desc
	) best order by best.priority desc, best.amount limit 1
) listed on true
order by w.n`

// Items returns those of the wants that are for sale now, priced in the currency
// for a buyer of the group ("" for none) at the quantity wanted, in the order of
// the wants.
func (f *Feature) Items(ctx context.Context, q tenant.Querier, currency, group string, wants []commerce.Demand) ([]commerce.Item, error) {
	variants, quantities := make([]id.ID, len(wants)), make([]int, len(wants))
	for i, w := range wants {
		variants[i], quantities[i] = w.VariantID, w.Quantity
	}
	return tenant.List[commerce.Item](ctx, q, selectItems, currency, group, variants, quantities)
}
