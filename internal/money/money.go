// Package money holds amounts as they are agreed and stored: whole minor units
// of an ISO 4217 currency, never a float. What has to be divided is divided by
// largest remainder, so that the parts always sum to the whole.
package money

import (
	"fmt"

	"github.com/bojanz/currency"
)

// Max is the largest amount that the product takes for one price, in minor
// units. A line of 9,999 of them still fits an int64 with room to spare.
const Max = 1_000_000_000_000

// MaxTotal is the largest amount of a whole cart or order, in minor units. With
// any tax on it, it is still a number that JSON carries exactly everywhere.
const MaxTotal = 1_000_000_000_000_000

// Money is an amount in minor units: {1999, "EUR"} is 19.99 euros, {1999, "JPY"}
// is 1,999 yen, {1999, "KWD"} is 1.999 dinars.
type Money struct {
	Amount   int64  `json:"amount" example:"1999" doc:"In minor units of the currency: cents for EUR, yen for JPY."`
	Currency string `json:"currency" pattern:"^[A-Z]{3}$" example:"EUR" doc:"ISO 4217 code."`
}

// Known reports whether the code is a currency of ISO 4217.
func Known(code string) bool { return code != "" && currency.IsValid(code) }

// Digits returns how many digits of a currency stand behind the point: 2 for
// EUR, 0 for JPY, 3 for KWD. Unknown codes have 2.
func Digits(code string) int {
	d, ok := currency.GetDigits(code)
	if !ok {
		return 2
	}
	return int(d)
}

// String gives the amount in major units with a point, and the code: "19.99 EUR".
func (m Money) String() string {
	digits := Digits(m.Currency)
	sign, abs := "", uint64(m.Amount)
	if m.Amount < 0 {
		sign, abs = "-", -uint64(m.Amount)
	}
	if digits == 0 {
		return fmt.Sprintf("%s%d %s", sign, abs, m.Currency)
	}
	unit := uint64(1)
	for range digits {
		unit *= 10
	}
	return fmt.Sprintf("%s%d.%0*d %s", sign, abs/unit, digits, abs%unit, m.Currency)
}
