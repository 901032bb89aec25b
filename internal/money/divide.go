package money

import (
	"math/bits"
	"slices"
)

// Rounding says what becomes of a half of a minor unit.
type Rounding int

// The two that tax laws and book-keepers know. Amounts are not negative here, so
// half up is half away from zero.
const (
	HalfUp Rounding = iota
	HalfEven
)

// Million is the denominator of a rate in parts per million: 190,000 is 19 %.
const Million = 1_000_000

// MulPPM returns the share of an amount that a rate in parts per million is,
// rounded once.
func MulPPM(amount, ppm int64, r Rounding) int64 { return MulDiv(amount, ppm, Million, r) }

// MulDiv returns a*b/c rounded, over 128 bits. It is for what is not negative,
// with c above zero, and panics where the result does not fit an int64: amounts
// are bounded long before (Max, MaxTotal), so that is a defect.
func MulDiv(a, b, c int64, r Rounding) int64 {
	if a < 0 || b < 0 || c <= 0 {
		panic("money.MulDiv: negative")
	}
	hi, lo := bits.Mul64(uint64(a), uint64(b))
	if hi >= uint64(c) {
		panic("money.MulDiv: too large")
	}
	q, rest := bits.Div64(hi, lo, uint64(c))
	// rest < c < 2^63, so twice of it fits.
	switch twice := 2 * rest; {
	case twice > uint64(c), twice == uint64(c) && (r == HalfUp || q%2 == 1):
		q++
	}
	if q > 1<<63-1 {
		panic("money.MulDiv: too large")
	}
	return int64(q)
}

// Allocate divides total in proportion to the weights by largest remainder: the
// parts sum to the total, each differs from its exact share by less than one
// minor unit, and among equal remainders the earlier part gets the unit. Without
// any weight the parts are equal. A negative total is divided as its opposite.
// Weights are not negative, and their sum fits 64 bits; else it panics.
func Allocate(total int64, weights []int64) []int64 {
	parts := make([]int64, len(weights))
	if len(weights) == 0 {
		if total != 0 {
			panic("money.Allocate: nothing to divide among")
		}
		return parts
	}
	var sum uint64
	for _, w := range weights {
		s, carry := bits.Add64(sum, uint64(w), 0)
		if w < 0 || carry != 0 {
			panic("money.Allocate: weights are negative or too large")
		}
		sum = s
	}
	if sum == 0 {
		weights = slices.Repeat([]int64{1}, len(weights))
		sum = uint64(len(weights))
	}
	whole := uint64(total)
	if total < 0 {
		whole = -whole
	}
	rests := make([]uint64, len(weights))
	left := whole
	for i, w := range weights {
		hi, lo := bits.Mul64(whole, uint64(w)) // w <= sum, so hi < sum
		q, rest := bits.Div64(hi, lo, sum)
		parts[i], rests[i] = int64(q), rest
		left -= q
	}
	order := make([]int, len(weights))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		switch {
		case rests[a] > rests[b]:
			return -1
		case rests[a] < rests[b]:
			return 1
		}
		return 0
	})
	for _, i := range order[:left] {
		parts[i]++
	}
	if total < 0 {
		for i := range parts {
			parts[i] = -parts[i]
		}
	}
	return parts
}
