package webhooks

import "github.com/guildhall-dev/guildhall/api"

func (f *Feature) deliveryOperations(r *api.Router) {}
