package inventory

import (
	"context"
	"testing"

	"github.com/guildhall-dev/guildhall/commerce"
	"github.com/guildhall-dev/guildhall/event"
	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/tenant"
	"github.com/guildhall-dev/guildhall/tenant/tenanttest"
)

// site is an organisation with a product and two locations, and the feature on
// it, without HTTP.
type site struct {
	t            testing.TB
	data         tenanttest.Database
	db, db2      *tenant.DB // as two processes
	f            *Feature
	scope        tenant.Scope
	product      id.ID
	main, second id.ID
}

const (
	seedOrganization = `insert into organizations (tenant_id, slug, name) values ($1, $2, 'O')`
	seedProduct      = `insert into products (tenant_id, id, slug, name, name_key, currency, created_by_kind) values ($1, $2, 'mug', 'Mug', 'mug', 'EUR', 'system')`
	seedVariant      = `insert into product_variants (tenant_id, id, product_id, currency, title, option_key, price, position, track_stock)
		values ($1, $2::uuid, $3, 'EUR', 'M', ($2::uuid)::text, 1000, 1, $4)`
)

func newSite(t testing.TB) *site {
	t.Helper()
	data := tenanttest.New(t)
	s := &site{t: t, data: data, db: data.Open(t), db2: data.Open(t), f: New(), scope: tenant.ForSystem(id.New()), product: id.New()}
	org := s.scope.Organization
	s.must(seedOrganization, org, "o-"+org.String())
	s.must(seedProduct, org, s.product)
	s.main, s.second = s.location("main", 0), s.location("second", 5)
	return s
}

func (s *site) must(sql string, args ...any) {
	s.t.Helper()
	s.do(func(ctx context.Context, tx *tenant.Tx) error {
		_, err := tenant.Exec(ctx, tx, sql, args...)
		return err
	})
}

// try runs fn in a transaction.
func (s *site) try(fn func(ctx context.Context, tx *tenant.Tx) error) error {
	ctx := context.Background()
	return s.db.Write(ctx, s.scope, func(tx *tenant.Tx) error { return fn(ctx, tx) })
}

// do is try for what must succeed.
func (s *site) do(fn func(ctx context.Context, tx *tenant.Tx) error) {
	s.t.Helper()
	if err := s.try(fn); err != nil {
		s.t.Fatal(err)
	}
}

// run calls a handler in a transaction.
func run[In, Out any](s *site, fn func(context.Context, *tenant.Tx, *In) (Out, error), in *In) (out Out, err error) {
	err = s.try(func(ctx context.Context, tx *tenant.Tx) error {
		out, err = fn(ctx, tx, in)
		return err
	})
	return out, err
}

func (s *site) location(code string, priority int) id.ID {
	s.t.Helper()
	in := &createLocationInput{}
	in.Body.Code, in.Body.Name, in.Body.Priority = code, code, priority
	l, err := run(s, createLocation, in)
	if err != nil {
		s.t.Fatal(err)
	}
	return l.ID
}

func (s *site) variant(tracked bool) id.ID {
	s.t.Helper()
	v := id.New()
	s.must(seedVariant, s.scope.Organization, v, s.product, tracked)
	return v
}

// stocked is a variant of which so many lie at the main and the second location.
func (s *site) stocked(main, second int) id.ID {
	s.t.Helper()
	v := s.variant(true)
	for at, n := range map[id.ID]int{s.main: main, s.second: second} {
		if n > 0 {
			s.book(v, at, n, "received")
		}
	}
	return v
}

func (s *site) move(v, at id.ID, n int, reason string) (movedLevel, error) {
	in := &createMovementInput{}
	in.Body.VariantID, in.Body.LocationID, in.Body.Quantity, in.Body.Reason = v, &at, n, reason
	return run(s, createMovement, in)
}

func (s *site) book(v, at id.ID, n int, reason string) movedLevel {
	s.t.Helper()
	m, err := s.move(v, at, n, reason)
	if err != nil {
		s.t.Fatal(err)
	}
	return m
}

func (s *site) count(at id.ID, lines ...countLine) (counted, error) {
	in := &countInput{}
	in.Body.LocationID, in.Body.Lines = at, lines
	return run(s, count, in)
}

func (s *site) limits(v, at id.ID, backorder int, threshold *int) (Level, error) {
	in := &updateLevelInput{VariantID: v, StockLocationID: at}
	in.Body.BackorderLimit.Present, in.Body.BackorderLimit.Value = true, backorder
	if threshold != nil {
		in.Body.LowStockThreshold.Present, in.Body.LowStockThreshold.Value = true, *threshold
	}
	return run(s, updateLevel, in)
}

func (s *site) reserve(order id.ID, wants ...commerce.Demand) error {
	return s.try(func(ctx context.Context, tx *tenant.Tx) error { return s.f.Reserve(ctx, tx, order, wants, nil) })
}

func want(v id.ID, n int) commerce.Demand { return commerce.Demand{VariantID: v, Quantity: n} }

// state is on_hand, reserved and shortfall of a level.
type state [3]int

func (s *site) level(v, at id.ID) state {
	s.t.Helper()
	rows, err := tenant.List[Level](context.Background(), s.db.View(s.scope), listLevelRows, s.scope.Organization, v, nil, at, false, nil, id.Nil, 10, 0)
	if err != nil {
		s.t.Fatal(err)
	}
	if len(rows) == 0 {
		return state{}
	}
	return state{rows[0].OnHand, rows[0].Reserved, rows[0].Shortfall}
}

func (s *site) wantLevel(v, at id.ID, want state) {
	s.t.Helper()
	if got := s.level(v, at); got != want {
		s.t.Errorf("on_hand, reserved and shortfall are %v, want %v", got, want)
	}
}

func (s *site) check() {
	s.t.Helper()
	found, err := Check(context.Background(), s.db.View(s.scope))
	if err != nil || len(found) != 0 {
		s.t.Errorf("the levels differ from their ledgers: %+v, %v", found, err)
	}
}

// told counts the events of a type.
func (s *site) told(name string) int {
	s.t.Helper()
	rows, err := tenant.List[event.Event](context.Background(), s.db.View(s.scope), `select `+event.Cols+` from event_log e where e.type = $1`, name)
	if err != nil {
		s.t.Fatal(err)
	}
	return len(rows)
}

// wantCode fails unless err is a fault with the code.
func (s *site) wantCode(err error, code string) *fault.Error {
	s.t.Helper()
	f := fault.As(err)
	if f == nil || f.Code != code {
		s.t.Fatalf("got %v, want %s", err, code)
	}
	return f
}
