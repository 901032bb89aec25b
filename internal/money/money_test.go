package money

import (
	"math"
	"math/big"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestAllocateByLargestRemainder(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		total   int64
		weights []int64
		want    []int64
	}{
		{100, []int64{1, 1, 1}, []int64{34, 33, 33}},
		{100, []int64{3, 3, 1}, []int64{43, 43, 14}},
		{5, []int64{0, 0}, []int64{3, 2}},
		{0, []int64{7, 9}, []int64{0, 0}},
		{-100, []int64{1, 1, 1}, []int64{-34, -33, -33}},
		{1, []int64{1, 2, 1}, []int64{0, 1, 0}},
		{10, []int64{0, 5, 0}, []int64{0, 10, 0}},
		{math.MaxInt64, []int64{math.MaxInt64, math.MaxInt64}, []int64{1 << 62, 1<<62 - 1}},
		{math.MinInt64, []int64{math.MaxInt64}, []int64{math.MinInt64}},
		{0, nil, []int64{}},
	} {
		if got := Allocate(c.total, c.weights); !slices.Equal(got, c.want) {
			t.Errorf("Allocate(%d, %v) = %v, want %v", c.total, c.weights, got, c.want)
		}
	}
}

func TestAllocateIsExact(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 40).Draw(t, "n")
		total := rapid.Int64().Draw(t, "total")
		// Of any size, as long as all of them fit 64 bits.
		weights := rapid.SliceOfN(rapid.Int64Range(0, math.MaxInt64/int64(n)), n, n).Draw(t, "weights")
		parts := Allocate(total, weights)
		sum, weight := new(big.Int), new(big.Int)
		for i := range parts {
			sum.Add(sum, big.NewInt(parts[i]))
			weight.Add(weight, big.NewInt(weights[i]))
		}
		if sum.Cmp(big.NewInt(total)) != 0 {
			t.Fatalf("the parts sum to %s", sum)
		}
		if !slices.Equal(parts, Allocate(total, weights)) {
			t.Fatal("twice is not the same")
		}
		if weight.Sign() == 0 {
			return
		}
		for i := range parts {
			// |part*weight - total*w| < weight: less than one unit from the exact share.
			diff := new(big.Int).Mul(big.NewInt(parts[i]), weight)
			diff.Sub(diff, new(big.Int).Mul(big.NewInt(total), big.NewInt(weights[i])))
			if diff.CmpAbs(weight) >= 0 {
				t.Fatalf("part %d is %d", i, parts[i])
			}
		}
	})
}

func TestMulPPM(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		amount, ppm  int64
		up, halfEven int64
	}{
		{1000, 190_000, 190, 190},
		{50, 10_000, 1, 0},  // 0.5
		{150, 10_000, 2, 2}, // 1.5
		{250, 10_000, 3, 2}, // 2.5
		{249, 10_000, 2, 2},
		{251, 10_000, 3, 3},
		{0, 190_000, 0, 0},
		{999, 0, 0, 0},
		{math.MaxInt64, Million, math.MaxInt64, math.MaxInt64},
	} {
		if up, even := MulPPM(c.amount, c.ppm, HalfUp), MulPPM(c.amount, c.ppm, HalfEven); up != c.up || even != c.halfEven {
			t.Errorf("MulPPM(%d, %d) = %d, %d; want %d, %d", c.amount, c.ppm, up, even, c.up, c.halfEven)
		}
	}
}

func TestMulDivIsNeverOffByMoreThanHalf(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		a := rapid.Int64Range(0, math.MaxInt64).Draw(t, "a")
		c := rapid.Int64Range(1, math.MaxInt64).Draw(t, "c")
		b := rapid.Int64Range(0, c).Draw(t, "b")
		r := Rounding(rapid.IntRange(0, 1).Draw(t, "rounding"))
		got := MulDiv(a, b, c, r)
		// 2*|got*c - a*b| <= c
		diff := new(big.Int).Mul(big.NewInt(got), big.NewInt(c))
		diff.Sub(diff, new(big.Int).Mul(big.NewInt(a), big.NewInt(b)))
		diff.Lsh(diff, 1)
		switch half := diff.CmpAbs(big.NewInt(c)); {
		case half > 0:
			t.Fatalf("%d*%d/%d = %d", a, b, c, got)
		case half == 0 && r == HalfUp && diff.Sign() < 0, half == 0 && r == HalfEven && got%2 != 0:
			t.Fatalf("%d*%d/%d = %d, the half went the wrong way", a, b, c, got)
		}
	})
}

func TestMoneyReads(t *testing.T) {
	t.Parallel()
	for want, m := range map[string]Money{
		"19.99 EUR": {1999, "EUR"}, "1999 JPY": {1999, "JPY"}, "1.999 KWD": {1999, "KWD"}, "0.05 EUR": {5, "EUR"},
		"-0.05 EUR": {-5, "EUR"}, "-92233720368547758.08 EUR": {math.MinInt64, "EUR"},
	} {
		if m.String() != want {
			t.Errorf("%+v reads %s, not %s", m, m, want)
		}
	}
	for code, known := range map[string]bool{"EUR": true, "KWD": true, "XXZ": false, "": false, "eur": false} {
		if Known(code) != known {
			t.Errorf("Known(%q) is not %t", code, known)
		}
	}
}
