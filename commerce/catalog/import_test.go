package catalog

import (
	"bytes"
	"context"
	"encoding/csv"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/money"
	"github.com/guildhall-dev/guildhall/tenant"
)

// read takes a file in and says what became of it.
func (s *shop) read(source string, dry bool) (map[string]int, []LineError) {
	s.t.Helper()
	bundles, err := readBundles([]byte(source))
	if err != nil {
		s.t.Fatal(err)
	}
	outcomes, wrong := map[string]int{}, []LineError{}
	err = s.db.Write(context.Background(), s.scope, func(tx *tenant.Tx) error {
		for _, b := range bundles {
			outcome, errs, err := s.f.importOne(context.Background(), tx, b, dry)
			if err != nil {
				return err
			}
			outcomes[outcome]++
			wrong = append(wrong, errs...)
		}
		return nil
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return outcomes, wrong
}

func (s *shop) written() string {
	s.t.Helper()
	var out bytes.Buffer
	if err := s.f.export(context.Background(), s.db.View(s.scope), &exportProducts{Bounds: Bounds{PriceMax: money.Max}}, &out); err != nil {
		s.t.Fatal(err)
	}
	return out.String()
}

// TestWhatIsWrittenChangesNothing reads an export in again, into the shop that
// it is of and into an empty one.
func TestWhatIsWrittenChangesNothing(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.category("Shirts", nil)
	later := time.Date(2030, 1, 2, 3, 4, 5, 678_000, time.UTC)
	s.product("=cmd|' /C calc'!A0", 1999, 0, func(b *productBody) {
		b.Description, b.Brand, b.Tags, b.SKU = "Two\r\nlines, \"quoted\"; '=x", "'Tis", []string{"a", "-b"}, api.Some("+49")
		b.ImageURLs, b.Attributes = []string{"https://example.com/a.jpg?x=1,2", "https://example.com/b.jpg"}, Attributes{"color": "red", "weight": 1.5, "organic": false}
		b.PublishAt, b.UnpublishAt, b.Category = &later, nil, "shirts"
	})
	s.product("No SKU", 0, 0)
	s.product("Yen", 0, 0, func(b *productBody) { b.Currency, b.Price = "JPY", api.Some(Price{1999, "JPY"}) })
	dinar := Price{1999, "KWD"}
	before, cost := Price{2500, "KWD"}, Price{1, "KWD"}
	image := "https://example.com/m.jpg"
	s.product("Shirt", 0, 0, func(b *productBody) {
		b.Price = api.Optional[Price]{}
		b.Currency, b.Options = "KWD", []Option{{"Size", []string{"S", "M", "unused"}}, {"Colour", []string{"Red", "Blue"}}}
		b.Variants = []listedVariant{
			{Price: dinar, Options: Choice{"Size": "S", "Colour": "Red"}, CompareAtPrice: &before, Cost: &cost, WeightGrams: 7, TrackStock: api.Some(false)},
			{Price: dinar, Options: Choice{"Size": "M", "Colour": "Blue"}, Title: "Special", ImageURL: &image, RequiresShipping: api.Some(false)},
		}
	})
	file := s.written()
	if outcomes, wrong := s.read(file, false); !maps.Equal(outcomes, map[string]int{"unchanged": 4}) || len(wrong) > 0 {
		t.Errorf("read in again: %v, %v\n%s", outcomes, wrong, file)
	}
	if again := s.written(); again != file {
		t.Errorf("was\n%s\nis\n%s", file, again)
	}
	if !strings.Contains(file, "'=cmd") || !strings.Contains(file, ",1.999,2.500,0.001,") || !strings.Contains(file, ",1999,,,") {
		t.Errorf("written is\n%s", file)
	}
	other := s.another()
	other.category("Shirts", nil)
	if outcomes, wrong := other.read(file, true); !maps.Equal(outcomes, map[string]int{"created": 4}) || len(wrong) > 0 || strings.Count(other.written(), "\n") != 1 {
		t.Errorf("a dry run: %v, %v, and then there is %s", outcomes, wrong, other.written())
	}
	if outcomes, wrong := other.read(file, false); !maps.Equal(outcomes, map[string]int{"created": 4}) || len(wrong) > 0 {
		t.Errorf("elsewhere: %v, %v", outcomes, wrong)
	}
	if copied := other.written(); copied != strings.ReplaceAll(file, "\r\n", "\n") {
		t.Errorf("was\n%s\nelsewhere it is\n%s", file, copied)
	}
}

func TestWhatIsReadIn(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.product("Tea", 500, 0, func(b *productBody) { b.SKU, b.Brand = api.Some("TEA"), "Acme" })
	s.product("Cup", 500, 0, func(b *productBody) { b.SKU = api.Some("CUP") })
	for _, c := range []struct {
		file     string
		outcomes map[string]int
		wrong    string // line column
	}{
		{"sku,price\ntea,5.50\n", map[string]int{"updated": 1}, ""},
		{"SKU, Price\ntea,5.5\n", map[string]int{"unchanged": 1}, ""},
		{"sku,price\nTEA,5.555\n", map[string]int{"failed": 1}, "2 price"},
		{"sku,price\nTEA,\"5,50\"\n", map[string]int{"failed": 1}, "2 price"},
		{"name,price,sku\nNew,1,N\nTea,1,CUP\n\nOther,1,N\n", map[string]int{"created": 1, "updated": 2}, ""},
		{"name,price\nNameless,\n", map[string]int{"failed": 1}, "2 price"},
		{"sku,price\nunknown,1\n", map[string]int{"failed": 1}, "2 name"},
		{"product,sku\ntea,CUP\n", map[string]int{"failed": 1}, "2 sku"},
		{"product,sku,price\ntea,TEA,1\ncup,tea,1\n", map[string]int{"updated": 1, "failed": 1}, "3 sku"},
		{"product,name,sku,price\nx,X,A,1\nx,Y,B,1\n", map[string]int{"failed": 1}, "3 name"},
		{"product,name,option1_name,option1_value,price\nx,X,Size,S,1\nx,,,s,1\n", map[string]int{"failed": 1}, "3 option1_value"},
		{"product,name,option1_name,option1_value,price,initial_stock\nx,X,Size,S,1,5\nx,,,M,2,6\n", map[string]int{"created": 1}, ""},
		{"product,option1_value,price\nx,M,3\nx,L,4\n", map[string]int{"updated": 1}, ""},
		{"product,option1_name,price\nx,Colour,3\n", map[string]int{"failed": 1}, "2 option1_name"},
		{"product,category\nx,nowhere\n", map[string]int{"failed": 1}, "2 category"},
		{"product,status\nx,sold\n", map[string]int{"failed": 1}, "2 status"},
		{"product,currency\nx,USD\n", map[string]int{"failed": 1}, "2 currency"},
		{"product,attributes\nx,red\n", map[string]int{"failed": 1}, "2 attributes"},
		{"product,name,price\nNot a slug,x,1\n", map[string]int{"failed": 1}, "2 product"},
		{"product,image_urls\nx,ftp://example.com\n", map[string]int{"failed": 1}, "2 image_urls"},
		{"product,publish_at\nx,tomorrow\n", map[string]int{"failed": 1}, "2 publish_at"},
		{"product,status,seo_title\nx,active,For you\n", map[string]int{"updated": 1}, ""},
		{"product,track_stock\nx,maybe\n", map[string]int{"failed": 1}, "2 track_stock"},
	} {
		outcomes, wrong := s.read(c.file, false)
		at := ""
		for _, w := range wrong {
			at = fmt.Sprintf("%d %s", w.Line, w.Column)
		}
		if !maps.Equal(outcomes, c.outcomes) || at != c.wrong {
			t.Errorf("%q: %v, %+v; want %v, %q", c.file, outcomes, wrong, c.outcomes, c.wrong)
		}
	}
	p, err := tenant.List[Product](context.Background(), s.db.View(s.scope), `select `+productCols+` from products p`+productJoins+`where p.slug = 'x'`)
	if err != nil || len(p) != 1 || p[0].StockQuantity != 11 || len(p[0].Variants) != 3 || p[0].Variants[1].Price.Amount != 300 || p[0].Variants[2].Title != "L" {
		t.Errorf("x is %+v, %v", p, err)
	}
	for _, file := range []string{"", "colour\nred\n", "sku,SKU\na,b\n", "price\n1\n", "sku,price\na\n", "sku\n\"a\n", "sku\n\xff\n", "sku\na\x00\n", "sku\n" + strings.Repeat("a\n", maxImportRows+1)} {
		if _, err := readBundles([]byte(file)); !fault.Is(err, fault.Invalid) {
			t.Errorf("%.20q: %v", file, err)
		}
	}
}

func TestAmountsComeBack(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m := money.Money{Amount: rapid.Int64Range(0, money.Max).Draw(t, "amount"), Currency: rapid.SampledFrom([]string{"EUR", "JPY", "KWD"}).Draw(t, "currency")}
		if got, err := readAmount(writeAmount(m), m.Currency); err != nil || got != m {
			t.Fatalf("%v came back as %v, %v", m, got, err)
		}
	})
	for _, bad := range []string{"", "-1", "1.999", "1,99", "1e3", ".5", "1.", " ", "10000000000.01", "99999999999999", "٣"} {
		if m, err := readAmount(bad, "EUR"); err == nil {
			t.Errorf("%q was read as %v", bad, m)
		}
	}
}

// TestCellsComeBack: whatever stands in a cell, it is read as it was, and no
// spreadsheet computes it.
func TestCellsComeBack(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		cell := rapid.StringMatching(`['=+\-@]{0,4}[a-z "',\n]{0,5}`).Draw(t, "cell")
		written := guard(cell)
		if unguard(written) != cell {
			t.Fatalf("%q was written %q and read %q", cell, written, unguard(written))
		}
		if written != "" && strings.ContainsRune("=+-@", rune(written[0])) {
			t.Fatalf("%q was written %q", cell, written)
		}
		var out bytes.Buffer
		w := csv.NewWriter(&out)
		_ = w.WriteAll([][]string{{"x", written}})
		rows, err := csv.NewReader(&out).ReadAll()
		if err != nil || !slices.Equal(rows[0], []string{"x", written}) {
			t.Fatalf("%q came back as %q, %v", written, rows, err)
		}
	})
}

// TestSlugs: whatever the name, a slug has the form that the table asks for.
func TestSlugs(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		slug := slugOf(rapid.String().Draw(t, "name"), 20)
		if slug != "" && !slugForm.MatchString(slug) || len(slug) > 20 {
			t.Fatalf("%q", slug)
		}
	})
	for name, want := range map[string]string{"Linen  shirt!": "linen-shirt", "Größe Ä/Ö": "grosse-a-o", "Men's": "mens", "日本": "", "--a--": "a", "Łódź & Co.": "lodz-co"} {
		if got := slugOf(name, 100); got != want {
			t.Errorf("%q became %q, want %q", name, got, want)
		}
	}
}

// TestTidyIsDone: what is tidy stays as it is, and the rules hold of it.
func TestTidyIsDone(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		sizes := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"S", "s", " M", "L", "XL"}), 1, 4, rapid.ID).Draw(t, "sizes")
		p := Product{Name: " Shirt ", Currency: "EUR", Options: []Option{{"Size", sizes}}}
		for range rapid.IntRange(0, 5).Draw(t, "n") {
			p.Variants = append(p.Variants, Variant{Options: Choice{"size": rapid.SampledFrom(sizes).Draw(t, "size")}, Price: money.Money{Amount: rapid.Int64Range(-1, 10).Draw(t, "price"), Currency: "EUR"},
				Position: rapid.IntRange(0, 3).Draw(t, "position")})
		}
		if p.tidy() != nil {
			return
		}
		again := p.clone()
		if err := again.tidy(); err != nil || !again.Variants[0].sameAs(p.Variants[0]) {
			t.Fatalf("%+v became %+v, %v", p, again, err)
		}
		keys, last := map[string]bool{}, 0
		for _, v := range p.Variants {
			if keys[v.optionKey()] || v.Position <= last || v.Price.Amount < p.Price.Amount {
				t.Fatalf("%+v", p)
			}
			keys[v.optionKey()], last = true, v.Position
		}
	})
}
