package commerce

// TaxRate is one tax on a class of goods: 19 % is 190000 parts per million.
// Several may apply at once; they add up and do not compound.
type TaxRate struct {
	Name string `json:"name"`
	PPM  int64  `json:"ppm"`
}

// TaxSettings says how an organisation reckons taxes.
type TaxSettings struct {
	Inclusive     bool   // prices hold the tax already
	HalfEven      bool   // ties are rounded to the even neighbour, else away from zero
	Scope         string // what is rounded: ScopeUnit, ScopeLine or ScopeOrder
	ShippingClass string // the class of taxes on shipping that names none of its own; "" for none
}

// The scopes of rounding.
const (
	ScopeUnit  = "unit"
	ScopeLine  = "line"
	ScopeOrder = "order"
)
