package audit

import (
	"context"
	"slices"
	"strings"

	"github.com/guildhall-dev/guildhall/api"
)

// also names the subjects whose events go with a permission that is not named
// after them.
var also = map[string][]string{
	"members.manage":    {"invitation"}, // as GET /v1/invitations: it holds addresses of strangers
	"tasks.read":        {"label"},
	"orders.read":       {"fulfilment"},
	"plugins.read":      {"plugin_installation"},
	"products.read":     {"category", "price_list", "collection"},
	"webhooks.read":     {"webhook_endpoint", "webhook_key"},
	"storefront.manage": {"storefront_key"},
	"inventory.read":    {"stock", "stock_location", "stock_movement"},
}

// subjects lists the kinds of subjects about which the caller may be told:
// tasks.read is the right to know of a "task".
func subjects(ctx context.Context) []string {
	return subjectsOf(api.Held(ctx), api.CallerOf(ctx).Scope.OpenRole == "")
}

// subjectsOf does the same for the permissions held. Guests do not see all
// members, so they are told of none unless they manage them.
func subjectsOf(held []string, guest bool) []string {
	out := []string{}
	for _, key := range held {
		if plural, ok := strings.CutSuffix(key, ".read"); ok {
			out = append(out, singular(plural))
		}
		out = append(out, also[key]...)
	}
	if guest && !slices.Contains(held, "members.manage") {
		out = slices.DeleteFunc(out, func(s string) bool { return s == "member" })
	}
	slices.Sort(out)
	return out
}

func singular(plural string) string {
	if stem, ok := strings.CutSuffix(plural, "ies"); ok {
		return stem + "y"
	}
	return strings.TrimSuffix(plural, "s")
}

// wanted is a filter of event types: exact names and whole subjects, both empty
// for every type.
type wanted struct {
	types    []string // "task.created"
	subjects []string // "task" of "task.*"
}

// parseTypes reads the repeated or comma-separated values of a type parameter,
// whose form its pattern has checked.
func parseTypes(values []string) wanted {
	w := wanted{types: []string{}, subjects: []string{}}
	for _, v := range values {
		for name := range strings.SplitSeq(v, ",") {
			if name == "*" {
				return wanted{types: []string{}, subjects: []string{}}
			}
			if subject, all := strings.CutSuffix(name, ".*"); all && !strings.Contains(subject, ".") {
				w.subjects = append(w.subjects, subject)
			} else {
				w.types = append(w.types, name)
			}
		}
	}
	return w
}
