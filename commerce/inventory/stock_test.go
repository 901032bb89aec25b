package inventory

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/guildhall-dev/guildhall/commerce"
	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/tenant"
)

func TestReserveChoosesLocations(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	third := s.location("third", 9)
	for name, c := range map[string]struct {
		main, second, third, wanted int
		takes                       state // of main, second, third
	}{
		"the default first":             {10, 10, 10, 10, state{10, 0, 0}},
		"the greatest priority next":    {3, 10, 10, 5, state{0, 0, 5}},
		"whoever has all of it":         {3, 6, 4, 5, state{0, 5, 0}},
		"the default one first in part": {3, 4, 4, 9, state{3, 2, 4}},
		"to the last":                   {1, 1, 1, 3, state{1, 1, 1}},
	} {
		v := s.stocked(c.main, c.second)
		s.book(v, third, c.third, "received")
		if err := s.reserve(id.New(), want(v, c.wanted-1), want(v, 1)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got := (state{s.level(v, s.main)[1], s.level(v, s.second)[1], s.level(v, third)[1]}); got != c.takes {
			t.Errorf("%s: took %v, want %v", name, got, c.takes)
		}
	}
	s.check()
}

func TestReserveRefuses(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	a, b, loose, none := s.stocked(3, 2), s.stocked(1, 0), s.variant(false), id.New()
	f := s.wantCode(s.reserve(id.New(), want(a, 3), want(b, 1), want(a, 3), want(loose, 50), want(none, 1)), "insufficient_stock")
	short := map[id.ID]commerce.Shortage{}
	for _, l := range f.Members["lines"].([]commerce.Shortage) {
		short[l.VariantID] = l
	}
	if f.Kind != fault.Conflict || len(short) != 2 || short[a] != (commerce.Shortage{VariantID: a, Requested: 6, Available: 5}) || short[none].Requested != 1 {
		t.Errorf("short are %+v", short)
	}
	s.wantLevel(b, s.main, state{1, 0, 0})
	if _, err := s.limits(a, s.main, 1, nil); err != nil {
		t.Fatal(err)
	}
	if err := s.reserve(id.New(), want(a, 6), want(loose, 50)); err != nil {
		t.Errorf("with a backorder: %v", err)
	}
	_, err := s.limits(a, s.main, 0, nil)
	s.wantCode(err, "backorder_limit_in_use")
	if err := s.reserve(id.New(), want(loose, 3)); err != nil {
		t.Errorf("without anything that is tracked: %v", err)
	}
	// What lies at a location that is not active is not sold.
	in := &updateLocationInput{StockLocationID: s.second}
	in.Body.Active.Present = true
	if _, err := run(s, updateLocation, in); err != nil {
		t.Fatal(err)
	}
	s.wantCode(s.reserve(id.New(), want(s.stocked(0, 5), 1)), "insufficient_stock")
	s.check()
}

func TestAnOrderReservesOnce(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	v, order := s.stocked(5, 0), id.New()
	var g errgroup.Group
	for i := range 8 {
		db := []*tenant.DB{s.db, s.db2}[i%2]
		g.Go(func() error {
			return db.Write(context.Background(), s.scope, func(tx *tenant.Tx) error {
				return s.f.Reserve(context.Background(), tx, order, []commerce.Demand{want(v, 4)}, nil)
			})
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	s.wantLevel(v, s.main, state{5, 4, 0})
	s.check()
}

// Two processes and 50 clients want the last 100 units, in baskets that name
// their variants in either order.
func TestNobodyOversells(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	const units, clients, each = 100, 50, 6
	a, b := s.stocked(60, 40), s.stocked(50, 50)
	var sold, refused atomic.Int64
	var g errgroup.Group
	for c := range clients {
		db := []*tenant.DB{s.db, s.db2}[c%2]
		g.Go(func() error {
			for i := range each {
				wants := []commerce.Demand{want(a, 1), want(b, 1)}
				if (c+i)%2 == 0 {
					wants[0], wants[1] = wants[1], wants[0]
				}
				err := db.Write(context.Background(), s.scope, func(tx *tenant.Tx) error {
					return s.f.Reserve(context.Background(), tx, id.New(), wants, nil)
				})
				switch f := fault.As(err); {
				case err == nil:
					sold.Add(1)
				case f != nil && f.Code == "insufficient_stock":
					refused.Add(1)
				default:
					return err
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	if sold.Load() != units || refused.Load() != clients*each-units {
		t.Errorf("%d were sold and %d refused of %d", sold.Load(), refused.Load(), clients*each)
	}
	s.wantLevel(a, s.main, state{60, 60, 0})
	s.wantLevel(b, s.second, state{50, 50, 0})
	s.check()
	if n, err := tenant.Value[int](context.Background(), s.db.View(s.scope), `select deadlocks from pg_stat_database where datname = current_database()`); err != nil || n != 0 {
		t.Errorf("%d deadlocks, %v", n, err)
	}
}

func TestShipReleaseAndRestock(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	v, loose, order := s.stocked(4, 3), s.variant(false), id.New()
	if err := s.reserve(order, want(v, 6), want(loose, 2)); err != nil { // 4 and 2
		t.Fatal(err)
	}
	ship := func(at id.ID, n int) error {
		return s.try(func(ctx context.Context, tx *tenant.Tx) error {
			return s.f.Ship(ctx, tx, order, at, []commerce.Demand{want(v, n), want(loose, 1)})
		})
	}
	if err := ship(s.main, 1); err != nil {
		t.Fatal(err)
	}
	s.wantLevel(v, s.main, state{3, 3, 0})
	// Sent from elsewhere than it was reserved: what is promised to others stays.
	if err := ship(s.second, 3); err != nil { // 2 reserved there, 1 free there and reserved at main
		t.Fatal(err)
	}
	s.wantLevel(v, s.main, state{3, 2, 0})
	s.wantLevel(v, s.second, state{0, 0, 0})
	s.wantCode(ship(s.second, 1), "stock_not_negative")
	s.do(func(ctx context.Context, tx *tenant.Tx) error {
		return s.f.Release(ctx, tx, order, []commerce.Demand{want(v, 1)})
	})
	s.wantLevel(v, s.main, state{3, 1, 0})
	s.do(func(ctx context.Context, tx *tenant.Tx) error { return s.f.Release(ctx, tx, order, nil) })
	s.do(func(ctx context.Context, tx *tenant.Tx) error { return s.f.Release(ctx, tx, order, nil) })
	s.wantLevel(v, s.main, state{3, 0, 0})
	s.do(func(ctx context.Context, tx *tenant.Tx) error {
		return s.f.Restock(ctx, tx, order, s.second, []commerce.Demand{want(v, 2), want(loose, 1)})
	})
	s.wantLevel(v, s.second, state{2, 0, 0})
	if n := s.told("stock_movement.created"); n != 2+2+1 {
		t.Errorf("told of %d movements", n)
	}
	s.check()
}

func TestInitialStockMakesTheDefaultLocation(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.must(`delete from stock_locations where tenant_id = $1`, s.scope.Organization)
	var g errgroup.Group
	for range 6 {
		v := s.variant(true)
		g.Go(func() error {
			return s.try(func(ctx context.Context, tx *tenant.Tx) error {
				return s.f.Initial(ctx, tx, []commerce.Demand{want(v, 7)})
			})
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	if n := s.told("stock_location.created"); n != 2+1 || s.told("stock_movement.created") != 6 {
		t.Errorf("told of %d locations and %d movements", n, s.told("stock_movement.created"))
	}
	s.check()
}

func TestReservationsExpire(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	worker := s.data.OpenWorker(t)
	v, late, kept := s.stocked(10, 0), id.New(), id.New()
	past, future := time.Now().Add(-time.Minute), time.Now().Add(time.Hour)
	reserve := func(order id.ID, until *time.Time) error {
		return s.try(func(ctx context.Context, tx *tenant.Tx) error {
			return s.f.Reserve(ctx, tx, order, []commerce.Demand{want(v, 3)}, until)
		})
	}
	confirm := func(order id.ID) error {
		return s.try(func(ctx context.Context, tx *tenant.Tx) error { return s.f.Confirm(ctx, tx, order) })
	}
	if err := errors.Join(reserve(late, &past), reserve(kept, &past), reserve(id.New(), &future), confirm(kept)); err != nil {
		t.Fatal(err)
	}
	var g errgroup.Group
	for range 3 {
		g.Go(func() error { _, err := sweep(context.Background(), worker); return err })
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	s.wantLevel(v, s.main, state{10, 6, 0})
	s.wantCode(confirm(late), "reservation_expired")
	if err := errors.Join(reserve(late, &future), confirm(late), reserve(late, nil), confirm(id.New())); err != nil {
		t.Fatal(err)
	}
	s.wantLevel(v, s.main, state{10, 9, 0})
	// What is taken anew elsewhere does not remember that it expired.
	moved := id.New()
	w := s.stocked(3, 3)
	again := func(until *time.Time) error {
		return s.try(func(ctx context.Context, tx *tenant.Tx) error {
			return s.f.Reserve(ctx, tx, moved, []commerce.Demand{want(w, 3)}, until)
		})
	}
	if err := again(&past); err != nil {
		t.Fatal(err)
	}
	if n, err := sweep(context.Background(), worker); n != 1 || err != nil {
		t.Errorf("swept %d, %v", n, err)
	}
	if err := errors.Join(s.reserve(id.New(), want(w, 1)), again(&future), confirm(moved)); err != nil {
		t.Fatal(err)
	}
	s.wantLevel(w, s.second, state{3, 3, 0})
	if n, err := sweep(context.Background(), worker); n != 0 || err != nil {
		t.Errorf("swept %d, %v", n, err)
	}
	s.check()
}

// An order that is confirmed while the sweeper is at it keeps all or nothing.
func TestConfirmMeetsTheSweeper(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	worker := s.data.OpenWorker(t)
	a, b := s.stocked(1000, 0), s.stocked(1000, 0)
	past := time.Now().Add(-time.Minute)
	var confirmed atomic.Int64
	for range 25 {
		order := id.New()
		s.do(func(ctx context.Context, tx *tenant.Tx) error {
			return s.f.Reserve(ctx, tx, order, []commerce.Demand{want(a, 1), want(b, 1)}, &past)
		})
		var g errgroup.Group
		g.Go(func() error { _, err := sweep(context.Background(), worker); return err })
		g.Go(func() error {
			err := s.try(func(ctx context.Context, tx *tenant.Tx) error { return s.f.Confirm(ctx, tx, order) })
			if f := fault.As(err); f != nil && f.Code == "reservation_expired" {
				return nil
			}
			confirmed.Add(1)
			return err
		})
		if err := g.Wait(); err != nil {
			t.Fatal(err)
		}
	}
	n := int(confirmed.Load())
	s.wantLevel(a, s.main, state{1000, n, 0})
	s.wantLevel(b, s.main, state{1000, n, 0})
	s.check()
}

// TestRandomWalk drives everything at once; whatever was refused, the levels
// agree with their ledgers at the end, and all is free once all orders are.
func TestRandomWalk(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	worker := s.data.OpenWorker(t)
	ctx := context.Background()
	locations := []id.ID{s.main, s.second, s.location("third", 1)}
	variants := make([]id.ID, 5)
	for i := range variants {
		variants[i] = s.stocked(20, 20)
	}
	orders := make([]id.ID, 24)
	for i := range orders {
		orders[i] = id.New()
	}
	const lockOrder = `select pg_advisory_xact_lock(hashtextextended($1::text, 1))` // as the feature of orders does by its row
	step := func(r *rand.Rand, db *tenant.DB) error {
		v, w, order, at := variants[r.IntN(5)], variants[r.IntN(5)], orders[r.IntN(len(orders))], locations[r.IntN(3)]
		wants := []commerce.Demand{want(v, 1+r.IntN(4)), want(w, 1+r.IntN(4))}
		tx := func(fn func(tx *tenant.Tx) error) error { return db.Write(ctx, s.scope, fn) }
		ofOrder := func(fn func(tx *tenant.Tx) error) error {
			return tx(func(tx *tenant.Tx) error {
				if _, err := tenant.Exec(ctx, tx, lockOrder, order); err != nil {
					return err
				}
				return fn(tx)
			})
		}
		switch r.IntN(12) {
		case 0, 1, 2:
			var until *time.Time
			if r.IntN(2) == 0 {
				soon := time.Now().Add(time.Duration(r.IntN(50)) * time.Millisecond)
				until = &soon
			}
			return ofOrder(func(tx *tenant.Tx) error { return s.f.Reserve(ctx, tx, order, wants, until) })
		case 3:
			return ofOrder(func(tx *tenant.Tx) error { return s.f.Confirm(ctx, tx, order) })
		case 4:
			return ofOrder(func(tx *tenant.Tx) error { return s.f.Release(ctx, tx, order, wants[:1]) })
		case 5:
			return ofOrder(func(tx *tenant.Tx) error { return s.f.Release(ctx, tx, order, nil) })
		case 6:
			return ofOrder(func(tx *tenant.Tx) error { return s.f.Ship(ctx, tx, order, at, wants) })
		case 7:
			return ofOrder(func(tx *tenant.Tx) error { return s.f.Restock(ctx, tx, order, at, wants) })
		case 8:
			_, err := s.move(v, at, r.IntN(21)-8, "adjusted")
			return err
		case 9:
			in := &transferInput{}
			in.Body.VariantID, in.Body.FromLocationID, in.Body.ToLocationID, in.Body.Quantity = v, at, locations[r.IntN(3)], 1+r.IntN(6)
			return tx(func(tx *tenant.Tx) error { _, err := transfer(ctx, tx, in); return err })
		case 10:
			in := &countInput{}
			in.Body.LocationID, in.Body.Lines = at, []countLine{{v, r.IntN(25)}}
			if v != w {
				in.Body.Lines = append(in.Body.Lines, countLine{w, r.IntN(25)})
			}
			return tx(func(tx *tenant.Tx) error { _, err := count(ctx, tx, in); return err })
		}
		if r.IntN(2) == 0 {
			_, err := s.limits(v, at, r.IntN(4), new(int))
			return err
		}
		_, err := sweep(ctx, worker)
		return err
	}
	var g errgroup.Group
	var done, refused atomic.Int64
	for c := range 8 {
		r, db := rand.New(rand.NewPCG(uint64(c), rand.Uint64())), []*tenant.DB{s.db, s.db2}[c%2]
		g.Go(func() error {
			for range 80 {
				err := step(r, db)
				if f := fault.As(err); err != nil && (f == nil || f.Kind != fault.Conflict && f.Kind != fault.Invalid) {
					return err
				}
				if done.Add(1); err != nil {
					refused.Add(1)
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	s.check()
	for _, order := range orders {
		s.do(func(ctx context.Context, tx *tenant.Tx) error { return s.f.Release(ctx, tx, order, nil) })
	}
	s.check()
	left, err := tenant.Value[int](ctx, s.db.View(s.scope), `select coalesce(sum(reserved + shortfall), 0) from stock_levels where tenant_id = $1`, s.scope.Organization)
	if err != nil || left != 0 {
		t.Errorf("%d are still promised when no order is left, %v", left, err)
	}
	deadlocks, err := tenant.Value[int](ctx, s.db.View(s.scope), `select deadlocks from pg_stat_database where datname = current_database()`)
	if err != nil || deadlocks != 0 {
		t.Errorf("%d deadlocks, %v", deadlocks, err)
	}
	t.Logf("%d steps, %d refused", done.Load(), refused.Load())
}
