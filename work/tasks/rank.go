package tasks

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// A rank is a place in the order of a project's tasks: a string of digits in
// base 62 that is read like a fraction and compared byte by byte. No rank ends
// with the lowest digit, so there is always one between two others.
//
// Places at the end are slots: the project's counter in hexadecimal and a
// middle digit. A slot is greater than everything before it, whatever was
// inserted there, so appending needs no look at the last row.

const (
	digits     = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	suffixLen  = 3  // random digits that keep two inserts at one place apart
	longRank   = 60 // from here on a project's ranks are made short again
	slotFormat = "%08xV"
)

// slot returns the n-th place at the end; SQL makes the same of the counter.
func slot(n int64) string { return fmt.Sprintf(slotFormat, n) }

// between returns a rank after low and before high; "" stands for the very
// beginning. high must be a rank: what goes to the end takes a slot.
func between(low, high string) string {
	var b strings.Builder
	i := 0
	for ; digitAt(low, i) == digitAt(high, i); i++ {
		b.WriteByte(high[i])
	}
	lo, hi := digitAt(low, i), digitAt(high, i)
	// Neighbouring digits leave no room: take the lower one, then anything that
	// is greater than the rest of low.
	for hi-lo < 2 {
		b.WriteByte(digits[lo])
		i++
		lo, hi = digitAt(low, i), len(digits)
	}
	b.WriteByte(digits[(lo+hi)/2])
	for range suffixLen - 1 {
		b.WriteByte(digits[rand.IntN(len(digits))])
	}
	b.WriteByte(digits[1+rand.IntN(len(digits)-1)])
	return b.String()
}

// digitAt reads a rank as if zeros without end followed it.
func digitAt(rank string, i int) int {
	if i >= len(rank) {
		return 0
	}
	return strings.IndexByte(digits, rank[i])
}
