package webhooks

import "github.com/guildhall-dev/guildhall/api"

func (f *Feature) endpointOperations(r *api.Router) {}
