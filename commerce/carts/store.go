package carts

import (
	"context"
	"errors"

	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/tenant"
)

// Reading. A cart is there for its customer, or, without one, for everybody: $3
// is the customer who asks, null for a guest.
const (
	cols = `c.id, c.customer_id, c.currency, c.email, c.shipping_address, c.billing_address, c.shipping_method_id, c.discount_codes, c.note,
		c.locale, c.quote, c.completed_at, c.version, c.created_at, c.updated_at`

	selectCart = `select ` + cols + ` from carts c where c.tenant_id = $1 and c.id = $2 and (c.customer_id is null or c.customer_id = $3)`
	lockCart   = selectCart + ` for no key update`

	// lockBoth locks two carts, in an order that everybody keeps.
	lockBoth = `select ` + cols + ` from carts c where c.tenant_id = $1 and c.id = any($2::uuid[]) and (c.customer_id is null or c.customer_id = $3)
		order by c.id for no key update`
	selectOpen = `select c.id from carts c where c.tenant_id = $1 and c.customer_id = $2 and c.completed_at is null and c.id <> $3 and c.currency = $4
		order by c.updated_at desc, c.id desc limit 1`

	listLines  = `select l.id, l.variant_id, l.quantity from cart_lines l where l.tenant_id = $1 and l.cart_id = $2 order by l.id`
	selectLine = `select l.id, l.variant_id, l.quantity from cart_lines l where l.tenant_id = $1 and l.cart_id = $2 and l.id = $3`
	countLines = `select count(*) from cart_lines l where l.tenant_id = $1 and l.cart_id = $2`

	selectBuyer    = `select c.email, c.locale, c.customer_group from customers c where c.tenant_id = $1 and c.id = $2 and c.deleted_at is null`
	selectCurrency = `select o.default_currency from organizations o where o.tenant_id = $1`
)

// Writing.
const (
	insertCart = `insert into carts as c (tenant_id, id, customer_id, currency, email, locale) values ($1, $2, $3, $4, $5, $6) returning ` + cols
	saveCart   = `update carts c set email = $3, shipping_address = $4, billing_address = $5, shipping_method_id = $6, discount_codes = $7, note = $8, locale = $9,
		quote = $10, customer_id = $11, version = c.version + 1, updated_at = now()
		where c.tenant_id = $1 and c.id = $2 and c.completed_at is null returning ` + cols
	closeCart  = `update carts set completed_at = now(), version = version + 1, updated_at = now() where tenant_id = $1 and id = $2 and completed_at is null`
	deleteCart = `delete from carts where tenant_id = $1 and id = $2`

	addLine = `insert into cart_lines as l (tenant_id, cart_id, id, variant_id, quantity) values ($1, $2, $3, $4, $5)
		on conflict on constraint cart_line_variant_taken do update set quantity = l.quantity + excluded.quantity`
	setLine    = `update cart_lines set quantity = $4 where tenant_id = $1 and cart_id = $2 and id = $3`
	deleteLine = `delete from cart_lines where tenant_id = $1 and cart_id = $2 and id = $3`
	// mergeLines adds the lines of one cart to those of another.
	mergeLines = `insert into cart_lines as l (tenant_id, cart_id, id, variant_id, quantity)
		select g.tenant_id, $3, g.id, g.variant_id, g.quantity from cart_lines g where g.tenant_id = $1 and g.cart_id = $2
		on conflict on constraint cart_line_variant_taken do update set quantity = least(l.quantity + excluded.quantity, 9999)`
)

// line is a line as the database has it.
type line struct {
	ID        id.ID `db:"id"`
	VariantID id.ID `db:"variant_id"`
	Quantity  int   `db:"quantity"`
}

// buyer is what matters of a customer.
type buyer struct {
	Email  string  `db:"email"`
	Locale string  `db:"locale"`
	Group  *string `db:"customer_group"`
}

// asking is the customer who asks for a cart, nil for a guest.
func asking(s tenant.Scope) *id.ID {
	if s.Actor.Kind != tenant.Customer {
		return nil
	}
	who := s.Actor.ID
	return &who
}

// lock holds an open cart until the transaction ends.
func lock(ctx context.Context, tx *tenant.Tx, cart id.ID) (row, error) {
	r, err := tenant.One[row](ctx, tx, lockCart, tx.Scope().Organization, cart, asking(tx.Scope()))
	if err == nil && r.CompletedAt != nil {
		err = errCompleted()
	}
	return r, tenant.NotFound(err, "cart")
}

func errCompleted() error {
	return fault.Conflictf("cart_completed", "This cart is an order already. Make another one.")
}

// save stores a locked cart with its quote.
func save(ctx context.Context, tx *tenant.Tx, r row) (row, error) {
	return tenant.One[row](ctx, tx, saveCart, tx.Scope().Organization, r.ID, r.Email, r.ShippingAddress, r.BillingAddress, r.ShippingMethodID,
		r.DiscountCodes, r.Note, r.Locale, r.Quote, r.CustomerID)
}

// buyerOf reads the customer of a cart; the zero buyer of a guest's.
func buyerOf(ctx context.Context, q tenant.Querier, org id.ID, customer *id.ID) (buyer, error) {
	if customer == nil {
		return buyer{}, nil
	}
	b, err := tenant.One[buyer](ctx, q, selectBuyer, org, *customer)
	if errors.Is(err, tenant.ErrNoRows) {
		return buyer{}, nil
	}
	return b, err
}

// Close marks a cart as completed, in the transaction that makes its order.
func (f *Feature) Close(ctx context.Context, tx *tenant.Tx, cart id.ID) error {
	_, err := tenant.Exec(ctx, tx, closeCart, tx.Scope().Organization, cart)
	return err
}
