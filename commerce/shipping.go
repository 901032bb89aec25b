package commerce

import "github.com/guildhall-dev/guildhall/internal/id"

// ShippingOption is a way in which a basket can be sent, priced for it.
type ShippingOption struct {
	ID       id.ID  // of the shipping method
	Name     string // as the buyer sees it
	Amount   int64  // in minor units of the basket's currency
	TaxClass string // "" for the organisation's class for shipping
}
