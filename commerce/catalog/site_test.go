package catalog

import (
	"context"
	"encoding/json"
	"log/slog"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/commerce"
	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/jobs"
	"github.com/guildhall-dev/guildhall/tenant"
	"github.com/guildhall-dev/guildhall/tenant/tenanttest"
)

// shop is an organisation and the feature on it, without HTTP.
type shop struct {
	t     testing.TB
	data  tenanttest.Database
	db    *tenant.DB
	f     *Feature
	org   id.ID
	scope tenant.Scope
}

const (
	seedOrganization = `insert into organizations (tenant_id, slug, name) values ($1, $2, 'O')`
	seedLocation     = `insert into stock_locations (tenant_id, id, code, name, is_default) values ($1, $2, 'main', 'Main', true) on conflict do nothing`
	seedLevel        = `insert into stock_levels (tenant_id, variant_id, location_id, on_hand)
select $1, $2, l.id, $3 from stock_locations l where l.is_default
on conflict on constraint stock_levels_pkey do update set on_hand = stock_levels.on_hand + excluded.on_hand`
)

// shelf keeps stock as commerce/inventory does, without its ledger.
type shelf struct{}

func (shelf) Initial(ctx context.Context, tx *tenant.Tx, wants []commerce.Demand) error {
	org := tx.Scope().Organization
	if _, err := tenant.Exec(ctx, tx, seedLocation, org, id.New()); err != nil {
		return err
	}
	for _, w := range wants {
		if _, err := tenant.Exec(ctx, tx, seedLevel, org, w.VariantID, w.Quantity); err != nil {
			return err
		}
	}
	return nil
}

func newShop(t testing.TB) *shop {
	t.Helper()
	data := tenanttest.New(t)
	s := &shop{t: t, data: data, db: data.Open(t)}
	queue, err := jobs.NewQueue(s.db, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	s.f = New(Deps{Queue: queue, Stock: shelf{}})
	return s.another()
}

// another returns the same with one more organisation.
func (s *shop) another() *shop {
	s.t.Helper()
	o := *s
	o.org = id.New()
	o.scope = tenant.ForSystem(o.org)
	o.must(seedOrganization, o.org, "o-"+o.org.String())
	return &o
}

func (s *shop) must(sql string, args ...any) {
	s.t.Helper()
	err := s.db.Write(context.Background(), s.scope, func(tx *tenant.Tx) error {
		_, err := tenant.Exec(context.Background(), tx, sql, args...)
		return err
	})
	if err != nil {
		s.t.Fatalf("%s: %v", sql, err)
	}
}

// run calls a handler in a transaction of the organisation.
func run[In, Out any](s *shop, fn func(context.Context, *tenant.Tx, *In) (Out, error), in *In) (out Out, err error) {
	err = s.db.Write(context.Background(), s.scope, func(tx *tenant.Tx) error {
		out, err = fn(context.Background(), tx, in)
		return err
	})
	return out, err
}

func eur(n int64) Price { return Price{n, "EUR"} }

// product makes an active product of one variant.
func (s *shop) product(name string, price int64, stock int, more ...func(*productBody)) Product {
	s.t.Helper()
	in := &createProduct{Body: productBody{Name: name, Status: active, Price: api.Some(eur(price)), InitialStock: stock}}
	for _, fn := range more {
		fn(&in.Body)
	}
	p, err := run(s, s.f.create, in)
	if err != nil {
		s.t.Fatal(err)
	}
	return p
}

func (s *shop) category(name string, parent *id.ID) Category {
	s.t.Helper()
	in := &createCategory{}
	in.Body.Name, in.Body.ParentID = name, parent
	c, err := run(s, s.f.createCategory, in)
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

// analyze lets the planner know what the tables hold, as its owner may.
func (s *shop) analyze() {
	s.t.Helper()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, s.data.SuperURL)
	if err != nil {
		s.t.Fatal(err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, `analyze guildhall.products, guildhall.product_variants, guildhall.stock_levels, guildhall.categories, guildhall.price_list_prices`); err != nil {
		s.t.Fatal(err)
	}
}

// pages is how many pages of the database a statement looks at.
func (s *shop) pages(sql string, args ...any) int {
	s.t.Helper()
	lines, err := tenant.Values[[]byte](context.Background(), s.db.View(s.scope), `explain (analyze, buffers, timing off, format json) `+sql, args...)
	if err != nil || len(lines) != 1 {
		s.t.Fatalf("%s: %v", sql, err)
	}
	var out []struct {
		Plan struct {
			Hit  int `json:"Shared Hit Blocks"`
			Read int `json:"Shared Read Blocks"`
		}
	}
	if err := json.Unmarshal(lines[0], &out); err != nil || len(out) != 1 {
		s.t.Fatalf("%s: %v", lines[0], err)
	}
	return out[0].Plan.Hit + out[0].Plan.Read
}
