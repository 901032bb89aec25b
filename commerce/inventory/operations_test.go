package inventory

import (
	"context"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/tenant"
)

func TestMovementsRefuse(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	v := s.stocked(5, 0)
	if err := s.reserve(id.New(), want(v, 3)); err != nil {
		t.Fatal(err)
	}
	_, err := s.move(v, s.main, -6, "damaged")
	if f := s.wantCode(err, "stock_not_negative"); f.Members["on_hand"] != 5 {
		t.Errorf("says %v", f.Members)
	}
	_, err = s.move(v, s.main, -3, "damaged")
	s.wantCode(err, "insufficient_stock")
	for _, bad := range []struct {
		v, at  id.ID
		n      int
		reason string
	}{{v, s.main, 0, "adjusted"}, {v, s.main, 1, "damaged"}, {v, s.main, -1, "received"}, {id.New(), s.main, 1, "received"}, {v, id.New(), 1, "received"}} {
		_, err := s.move(bad.v, bad.at, bad.n, bad.reason)
		s.wantCode(err, "validation_failed")
	}
	s.wantLevel(v, s.main, state{5, 3, 0})
	s.check()
}

func TestCountLeavesAShortfall(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	v, w, order := s.stocked(10, 0), s.stocked(4, 0), id.New()
	if err := s.reserve(order, want(v, 8)); err != nil {
		t.Fatal(err)
	}
	c, err := s.count(s.main, countLine{v, 5}, countLine{w, 4})
	if err != nil {
		t.Fatal(err)
	}
	if c.Lines[0] != (countedLine{v, 5, -5, 3}) || c.Lines[1] != (countedLine{w, 4, 0, 0}) {
		t.Errorf("counted %+v", c.Lines)
	}
	s.wantLevel(v, s.main, state{5, 8, 3})
	if n := s.told("stock.shortfall"); n != 1 {
		t.Errorf("%d shortfalls were told of", n)
	}
	s.wantCode(s.reserve(id.New(), want(v, 1)), "insufficient_stock")
	s.book(v, s.main, 1, "received")
	s.wantLevel(v, s.main, state{6, 8, 2})
	s.do(func(ctx context.Context, tx *tenant.Tx) error { return s.f.Release(ctx, tx, order, nil) })
	s.wantLevel(v, s.main, state{6, 0, 0})
	_, err = s.count(s.main, countLine{v, 5}, countLine{v, 6})
	s.wantCode(err, "validation_failed")
	s.check()
}

func TestLowIsToldOnce(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	v, five := s.stocked(10, 0), 5
	if _, err := s.limits(v, s.main, 0, &five); err != nil {
		t.Fatal(err)
	}
	steps := []struct{ n, told int }{{-4, 0}, {-1, 1}, {-2, 1}, {2, 1}, {1, 1}, {-1, 2}, {-5, 2}}
	for _, st := range steps {
		reason := "adjusted"
		s.book(v, s.main, st.n, reason)
		if got := s.told("stock.low"); got != st.told {
			t.Errorf("after %+d it was told %d times, want %d", st.n, got, st.told)
		}
	}
	s.book(v, s.main, 10, "received")
	if err := s.reserve(id.New(), want(v, 6)); err != nil {
		t.Fatal(err)
	}
	if got := s.told("stock.low"); got != 3 {
		t.Errorf("after a reservation it was told %d times, want 3", got)
	}
}

func TestOneDefaultLocation(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	others := []id.ID{s.second, s.location("third", 1), s.location("fourth", 2)}
	var g errgroup.Group
	for range 4 {
		for _, l := range others {
			g.Go(func() error {
				in := &updateLocationInput{StockLocationID: l}
				in.Body.IsDefault.Present, in.Body.IsDefault.Value = true, true
				_, err := run(s, updateLocation, in)
				return err
			})
		}
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	if n, err := tenant.Value[int](context.Background(), s.db.View(s.scope), `select count(*) from stock_locations where is_default`); err != nil || n != 1 {
		t.Errorf("%d default locations, %v", n, err)
	}
}
