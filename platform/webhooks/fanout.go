package webhooks

import (
	"context"

	"github.com/guildhall-dev/guildhall/event"
	"github.com/guildhall-dev/guildhall/jobs"
	"github.com/guildhall-dev/guildhall/tenant"
)

func (f *Feature) fanOut(ctx context.Context, tx *tenant.Tx, events []event.Event) error { return nil }

func (f *Feature) jobs() []jobs.Definition { return nil }
