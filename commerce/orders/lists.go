package orders

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/internal/page"
	"github.com/guildhall-dev/guildhall/tenant"
)

type listOrders struct {
	api.ListParams
	Status           []string  `query:"status" maxItems:"4" enum:"draft,placed,completed,cancelled" doc:"States, separated by commas."`
	PaymentStatus    []string  `query:"payment_status" maxItems:"7" enum:"unpaid,authorized,partially_paid,paid,partially_refunded,refunded,voided" doc:"States of payment, separated by commas."`
	FulfilmentStatus []string  `query:"fulfilment_status" maxItems:"5" enum:"unfulfilled,partially_fulfilled,fulfilled,delivered,not_required" doc:"States of fulfilment, separated by commas."`
	CustomerID       id.ID     `query:"customer_id" ref:"customer" doc:"Only orders of this customer."`
	Email            string    `query:"email" maxLength:"254" doc:"Only orders of this address, in whatever case."`
	PlacedAfter      time.Time `query:"placed_after" doc:"Placed after this time."`
	PlacedBefore     time.Time `query:"placed_before" doc:"Placed before this time."`
	Search           string    `query:"search" maxLength:"200" doc:"A number, or part of the address or the name of who ordered, or a SKU."`
	Sort             string    `query:"sort" maxLength:"100" default:"-created_at" doc:"Fields of number, placed_at, created_at, total, separated by commas, with - before a field for descending order. What has none of it comes last."`
}

func (f *Feature) list(ctx context.Context, v tenant.View, in *listOrders) (page.Page[Order], error) {
	none := page.Page[Order]{}
	keys, err := api.ParseSort(in.Sort, "number", "placed_at", "created_at", "total")
	if err != nil {
		return none, err
	}
	var s selection
	s.and("o.tenant_id = ?", v.Scope().Organization)
	s.filter(in)
	count, countArgs := `select count(*) from orders o`+s.where(), s.args
	var position []string
	if more, err := in.Position(ctx, &position); err != nil {
		return none, err
	} else if more && len(position) == len(keys)+1 {
		s.after(keys, position)
	}
	// The limit is written out: the planner must know how few are wanted.
	sql := `select ` + cols + ` from orders o` + s.where() + orderBy(keys) + " limit " + strconv.Itoa(in.Limit+1) + " offset " + strconv.Itoa(in.Offset())
	var rows []Order
	var total int64
	err = v.Snapshot(ctx, func(b *tenant.Batch) {
		tenant.QueueList(b, &rows, sql, s.args...)
		if in.WantTotal() {
			tenant.QueueValue(b, &total, count, countArgs...)
		}
	})
	if err != nil {
		return none, err
	}
	out, err := api.Page(ctx, in.ListParams, rows, func(o Order) any { return positionOf(keys, o) })
	if in.WantTotal() {
		out.Total = &total
	}
	return out, err
}

// selection collects conditions and their arguments.
type selection struct {
	conds []string
	args  []any
}

func (s *selection) arg(v any) string {
	s.args = append(s.args[:len(s.args):len(s.args)], v)
	return "$" + strconv.Itoa(len(s.args))
}

// and adds a condition; each ? in it stands for one of the values.
func (s *selection) and(cond string, values ...any) {
	for _, v := range values {
		cond = strings.Replace(cond, "?", s.arg(v), 1)
	}
	s.conds = append(s.conds, cond)
}

func (s *selection) where() string { return " where " + strings.Join(s.conds, " and ") }

func (s *selection) filter(in *listOrders) {
	for column, values := range map[string][]string{"o.status": in.Status, "o.payment_status": in.PaymentStatus, "o.fulfilment_status": in.FulfilmentStatus} {
		if len(values) > 0 {
			s.and(column+" = any(?::text[])", values)
		}
	}
	if !in.CustomerID.IsZero() {
		s.and("o.customer_id = ?", in.CustomerID)
	}
	if in.Email != "" {
		s.and("o.email_key = lower(?)", in.Email)
	}
	if !in.PlacedAfter.IsZero() {
		s.and("o.placed_at > ?", in.PlacedAfter)
	}
	if !in.PlacedBefore.IsZero() {
		s.and("o.placed_at < ?", in.PlacedBefore)
	}
	if words := strings.ToLower(strings.TrimSpace(in.Search)); words != "" {
		number, err := strconv.ParseInt(strings.TrimPrefix(words, "#"), 10, 64)
		if err != nil {
			number = -1
		}
		s.and(`(o.number = ? or strpos(o.email_key, ?) > 0 or strpos(lower(o.shipping_address->>'name'), ?) > 0 or exists (
			select from order_lines l where l.tenant_id = o.tenant_id and l.order_id = o.id and lower(l.sku) = ?))`, number, words, words, words)
	}
}

// sortKey is a field to sort by: its expression, how an argument becomes it, and
// what it is for a row.
type sortKey struct {
	expr, value string
	of          func(Order) string
}

// keyOf returns what the field sorts by; what has none of it comes last in
// either direction.
func keyOf(k api.Sort) sortKey {
	last, most := "infinity", "9223372036854775807"
	if k.Desc {
		last, most = "-infinity", "-1"
	}
	switch k.Field {
	case "number":
		return sortKey{"coalesce(o.number, " + most + ")", "?::text::bigint", func(o Order) string {
			if o.Number == nil {
				return most
			}
			return strconv.FormatInt(*o.Number, 10)
		}}
	case "placed_at":
		return sortKey{"coalesce(o.placed_at, '" + last + "')", "?::text::timestamptz", func(o Order) string {
			if o.PlacedAt == nil {
				return last
			}
			return o.PlacedAt.Format(time.RFC3339Nano)
		}}
	case "total":
		return sortKey{"o.total", "?::text::bigint", func(o Order) string { return strconv.FormatInt(o.Totals.Total.Amount, 10) }}
	}
	return sortKey{"o.created_at", "?::text::timestamptz", func(o Order) string { return o.CreatedAt.Format(time.RFC3339Nano) }}
}

func lastDesc(keys []api.Sort) bool { return len(keys) > 0 && keys[len(keys)-1].Desc }

func direction(desc bool) string {
	if desc {
		return " desc"
	}
	return ""
}

func orderBy(keys []api.Sort) string {
	parts := make([]string, 0, len(keys)+1)
	for _, k := range keys {
		parts = append(parts, keyOf(k).expr+direction(k.Desc))
	}
	return " order by " + strings.Join(append(parts, "o.id"+direction(lastDesc(keys))), ", ")
}

func positionOf(keys []api.Sort, o Order) []string {
	out := make([]string, 0, len(keys)+1)
	for _, k := range keys {
		out = append(out, keyOf(k).of(o))
	}
	return append(out, o.ID.String())
}

// after keeps what comes after the position: (a, id) < (x, y) for one field,
// which an index serves, else a < x or a = x and (b > y or …).
func (s *selection) after(keys []api.Sort, position []string) {
	exprs, values := []string{}, []string{}
	descs := []bool{}
	for i, k := range keys {
		sk := keyOf(k)
		exprs, values, descs = append(exprs, sk.expr), append(values, strings.Replace(sk.value, "?", s.arg(position[i]), 1)), append(descs, k.Desc)
	}
	exprs, values, descs = append(exprs, "o.id"), append(values, s.arg(position[len(keys)])+"::text::uuid"), append(descs, lastDesc(keys))
	op := func(desc bool) string {
		if desc {
			return " < "
		}
		return " > "
	}
	if len(keys) <= 1 {
		s.conds = append(s.conds, "("+strings.Join(exprs, ", ")+")"+op(lastDesc(keys))+"("+strings.Join(values, ", ")+")")
		return
	}
	cond := ""
	for i := len(exprs) - 1; i >= 0; i-- {
		next := exprs[i] + op(descs[i]) + values[i]
		if cond != "" {
			next = "(" + next + " or " + exprs[i] + " = " + values[i] + " and " + cond + ")"
		}
		cond = next
	}
	s.conds = append(s.conds, cond)
}

type listMine struct{ api.ListParams }

type placedPosition struct {
	At time.Time `json:"at"`
	ID id.ID     `json:"id"`
}

func (f *Feature) listMine(ctx context.Context, v tenant.View, in *listMine) (page.Page[Receipt], error) {
	none := page.Page[Receipt]{}
	var last placedPosition
	more, err := in.Position(ctx, &last)
	if err != nil {
		return none, err
	}
	var at *time.Time
	if more {
		at = &last.At
	}
	org, me := v.Scope().Organization, api.CallerOf(ctx).Customer
	var rows []Receipt
	var total int64
	err = v.Snapshot(ctx, func(b *tenant.Batch) {
		tenant.QueueList(b, &rows, listReceipts, org, me, at, last.ID, in.Limit+1, in.Offset())
		if in.WantTotal() {
			tenant.QueueValue(b, &total, countReceipts, org, me)
		}
	})
	if err != nil {
		return none, err
	}
	out, err := api.Page(ctx, in.ListParams, rows, func(r Receipt) any { return placedPosition{*r.PlacedAt, r.ID} })
	if in.WantTotal() {
		out.Total = &total
	}
	return out, err
}

type myOrder struct {
	OrderID id.ID `path:"order_id" ref:"order" doc:"The order."`
}

func (f *Feature) getMine(ctx context.Context, v tenant.View, in *myOrder) (Receipt, error) {
	r, err := tenant.One[Receipt](ctx, v, selectReceipt, v.Scope().Organization, in.OrderID, api.CallerOf(ctx).Customer)
	return r, tenant.NotFound(err, "order")
}

// ofOrder reads a list that hangs on an order, by ids; an empty one asks whether
// the order is there.
func ofOrder[T any](ctx context.Context, v tenant.View, p api.ListParams, order id.ID, rowsSQL, countSQL string, key func(T) id.ID) (page.Page[T], error) {
	none := page.Page[T]{}
	var last *id.ID
	if _, err := p.Position(ctx, &last); err != nil {
		return none, err
	}
	org := v.Scope().Organization
	var rows []T
	var total int64
	err := v.Snapshot(ctx, func(b *tenant.Batch) {
		tenant.QueueList(b, &rows, rowsSQL, org, order, last, p.Limit+1, p.Offset())
		if p.WantTotal() {
			tenant.QueueValue(b, &total, countSQL, org, order)
		}
	})
	if err != nil {
		return none, err
	}
	if len(rows) == 0 {
		if _, err := tenant.Value[bool](ctx, v, orderExists, org, order); err != nil {
			return none, tenant.NotFound(err, "order")
		}
	}
	out, err := api.Page(ctx, p, rows, func(r T) any { return key(r) })
	if p.WantTotal() {
		out.Total = &total
	}
	return out, err
}
