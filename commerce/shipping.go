package commerce

import "github.com/guildhall-dev/guildhall/internal/id"

// ShippingOption is a way to send a cart, and what it costs.
type ShippingOption struct {
	ID       id.ID
	Name     string
	Amount   int64
	TaxClass string
}
