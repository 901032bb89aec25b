package commerce

// TaxRate is one rate of tax in parts per million: 190,000 is 19 %.
type TaxRate struct {
	Name string
	PPM  int64
}

// TaxSettings say how an organisation reckons tax.
type TaxSettings struct {
	Inclusive     bool   // prices contain the tax
	HalfEven      bool   // rounding; else half up
	Scope         string // of rounding: unit, line or order; "" is line
	ShippingClass string // of shipping whose option names none
}
