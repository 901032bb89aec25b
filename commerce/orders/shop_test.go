package orders

import (
	"context"
	"log/slog"
	"os"
	"sync"
	"testing"

	"github.com/guildhall-dev/guildhall/commerce"
	"github.com/guildhall-dev/guildhall/commerce/carts"
	"github.com/guildhall-dev/guildhall/commerce/catalog"
	"github.com/guildhall-dev/guildhall/commerce/inventory"
	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/internal/mail"
	"github.com/guildhall-dev/guildhall/jobs"
	"github.com/guildhall-dev/guildhall/tenant"
	"github.com/guildhall-dev/guildhall/tenant/tenanttest"
)

// count is the small number for make test, the big one for make soak.
func count(small, big int) int {
	if os.Getenv("GUILDHALL_SOAK") != "" {
		return big
	}
	return small
}

// shop is an organisation with a location and a bank, on two replicas.
type shop struct {
	t        testing.TB
	org      id.ID
	location id.ID
	replicas []*Feature // each on a pool of its own
	f        *Feature
	carts    *carts.Feature
	bank     *bank
	letters  *outbox
	work     *jobs.Workers
	member   tenant.Scope
	shopper  tenant.Scope
}

const (
	seedOrganization = `insert into organizations (tenant_id, slug, name) values ($1, $2, 'The <Shop>')`
	seedLocation     = `insert into stock_locations (tenant_id, id, code, name, is_default) values ($1, $2, 'main', 'Main', true)`
	seedProduct      = `insert into products (tenant_id, id, slug, name, name_key, status, currency, created_by_kind) values ($1, $2, gen_random_uuid()::text, $3, $3, 'active', 'EUR', 'system')`
	seedVariant      = `insert into product_variants (tenant_id, id, product_id, currency, sku, sku_key, title, option_key, price, position, requires_shipping, track_stock)
		values ($1, $2, $3, 'EUR', $4, lower($4), $4, '', $5, 0, $6, true)`
	seedLevel = `insert into stock_levels (tenant_id, variant_id, location_id, on_hand) values ($1, $2, $3, $4)`
	seedCart  = `insert into carts (tenant_id, id, currency, email, shipping_address) values ($1, $2, 'EUR', 'ann@example.test',
		'{"name": "Ann", "line1": "1 High Street", "city": "Berlin", "postal_code": "10115", "country": "DE"}')`
	seedCartLine = `insert into cart_lines (tenant_id, cart_id, id, variant_id, quantity) values ($1, $2, $3, $4, $5)`
)

func newShop(t testing.TB) *shop {
	t.Helper()
	data := tenanttest.New(t)
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	s := &shop{t: t, org: id.New(), location: id.New(), bank: newBank(), letters: &outbox{}}
	s.carts = carts.New(carts.Deps{Catalog: catalog.New(catalog.Deps{})})
	for range 2 {
		db := data.Open(t)
		queue, err := jobs.NewQueue(db, log)
		if err != nil {
			t.Fatal(err)
		}
		f, err := New(Deps{DB: db, Queue: queue, Mail: s.letters, Log: log, Stock: inventory.New(), Carts: s.carts, Providers: []Provider{s.bank}})
		if err != nil {
			t.Fatal(err)
		}
		s.replicas = append(s.replicas, f)
	}
	s.f = s.replicas[0]
	s.member = tenant.ForSystem(s.org)
	s.shopper = tenant.Scope{Organization: s.org, Actor: tenant.Actor{Kind: tenant.Shopper, ID: id.New()}}
	s.must(seedOrganization, s.org, "o-"+s.org.String())
	s.must(seedLocation, s.org, s.location)
	return s
}

func (s *shop) write(fn func(ctx context.Context, tx *tenant.Tx) error) error {
	return s.f.DB.Write(context.Background(), s.member, func(tx *tenant.Tx) error { return fn(context.Background(), tx) })
}

func (s *shop) must(sql string, args ...any) {
	s.t.Helper()
	if err := s.write(func(ctx context.Context, tx *tenant.Tx) error {
		_, err := tenant.Exec(ctx, tx, sql, args...)
		return err
	}); err != nil {
		s.t.Fatalf("%s: %v", sql, err)
	}
}

// variant makes a product with one variant, so many of it in stock.
func (s *shop) variant(name string, price int64, inStock int, shipped bool) id.ID {
	s.t.Helper()
	product, variant := id.New(), id.New()
	s.must(seedProduct, s.org, product, name)
	s.must(seedVariant, s.org, variant, product, name, price, shipped)
	s.must(seedLevel, s.org, variant, s.location, inStock)
	return variant
}

// cart makes a guest's cart with an address, as it was shown to the shopper.
func (s *shop) cart(wants ...commerce.Demand) id.ID {
	s.t.Helper()
	cart := id.NewRandom()
	s.must(seedCart, s.org, cart)
	for _, w := range wants {
		s.must(seedCartLine, s.org, cart, id.New(), w.VariantID, w.Quantity)
	}
	s.show(cart)
	return cart
}

// show stores the present price of a cart as the one that was shown.
func (s *shop) show(cart id.ID) {
	s.t.Helper()
	err := s.write(func(ctx context.Context, tx *tenant.Tx) error {
		b, err := s.carts.Open(ctx, tx, cart)
		if err != nil {
			return err
		}
		return s.carts.Price(ctx, tx, &b)
	})
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *shop) complete(cart id.ID, provider string) (Completion, error) {
	return s.f.Complete(context.Background(), s.shopper, cart, provider)
}

// placed completes a cart by bank transfer.
func (s *shop) placed(wants ...commerce.Demand) Order {
	s.t.Helper()
	c, err := s.complete(s.cart(wants...), manual)
	if err != nil {
		s.t.Fatal(err)
	}
	return s.order(c.Order.ID)
}

func (s *shop) order(order id.ID) Order {
	s.t.Helper()
	o, err := s.f.get(context.Background(), s.f.DB.View(s.member), &orderPath{OrderID: order})
	if err != nil {
		s.t.Fatal(err)
	}
	return o
}

// do calls a handler as a member.
func do[In, Out any](s *shop, fn func(context.Context, *tenant.Tx, *In) (Out, error), in *In) (out Out, err error) {
	err = s.write(func(ctx context.Context, tx *tenant.Tx) error {
		out, err = fn(ctx, tx, in)
		return err
	})
	return out, err
}

func value[T any](s *shop, sql string, args ...any) T {
	s.t.Helper()
	v, err := tenant.Value[T](context.Background(), s.f.DB.View(s.member), sql, args...)
	if err != nil {
		s.t.Fatalf("%s: %v", sql, err)
	}
	return v
}

func values[T any](s *shop, sql string, args ...any) []T {
	s.t.Helper()
	v, err := tenant.Values[T](context.Background(), s.f.DB.View(s.member), sql, args...)
	if err != nil {
		s.t.Fatalf("%s: %v", sql, err)
	}
	return v
}

// wantCode fails the test unless err is a fault with the code.
func (s *shop) wantCode(err error, code string) {
	s.t.Helper()
	if f := fault.As(err); f == nil || f.Code != code {
		s.t.Fatalf("got %v, want %s", err, code)
	}
}

// sound holds all that is stored against the ledgers.
func (s *shop) sound() {
	s.t.Helper()
	found, err := Check(context.Background(), s.f.DB.View(s.member))
	if err != nil {
		s.t.Fatal(err)
	}
	for _, x := range found {
		s.t.Errorf("order %s: %s", x.OrderID, x.What)
	}
	for what, sql := range map[string]string{
		"a level is below nothing, or reserves more than there is": `select count(*)::int from stock_levels where on_hand < 0 or reserved < 0 or reserved > on_hand`,
		"a level is not the sum of its reservations": `select count(*)::int from stock_levels l where l.reserved <> coalesce((select sum(r.quantity) from stock_reservations r
			where r.tenant_id = l.tenant_id and r.variant_id = l.variant_id and r.location_id = l.location_id), 0)`,
		"an order that is not placed reserves for ever": `select count(*)::int from stock_reservations r join orders o on o.tenant_id = r.tenant_id and o.id = r.order_id
			where o.status in ('cancelled', 'completed') or o.status = 'draft' and (r.expires_at is null or o.attempt_state = 'declined')`,
		"a placed order has less reserved than it still has to send": `select count(*)::int from orders o join order_lines l on l.tenant_id = o.tenant_id and l.order_id = o.id
			where o.status = 'placed' and l.quantity - l.fulfilled_quantity <> coalesce((select sum(r.quantity) from stock_reservations r
			where r.tenant_id = o.tenant_id and r.order_id = o.id and r.variant_id = l.variant_id and r.expires_at is null), 0)`,
	} {
		if n := value[int](s, sql); n != 0 {
			s.t.Errorf("%d times: %s", n, what)
		}
	}
}

func (s *shop) events(order id.ID) (out []string) {
	s.t.Helper()
	rows, err := tenant.Values[string](context.Background(), s.f.DB.View(s.member), `select e.type from event_log e where e.subject_id = $1 order by e.id`, order)
	if err != nil {
		s.t.Fatal(err)
	}
	return rows
}

// outbox keeps what was mailed.
type outbox struct {
	mu   sync.Mutex
	sent []mail.Message
}

func (o *outbox) Send(_ context.Context, m mail.Message) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.sent = append(o.sent, m)
	return nil
}
