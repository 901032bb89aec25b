package work

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/guildhall-dev/guildhall/event"
	"github.com/guildhall-dev/guildhall/internal/id"
)

// Settled is longer than the transaction of any request: after it, what was under
// way when somebody lost sight of something has come to its end.
const Settled = time.Minute

// SightEvents are the types of events after which members of an organisation may
// not see its open projects any more.
func SightEvents() []string { return []string{"member.role_changed", "role.updated"} }

// SightLost says of whom such an event is: the person whose role it is, or all
// who have the role. It is neither where nobody can have lost sight of anything:
// where a role changed and is none of guests.
func SightLost(e event.Event) (user *id.ID, role string, err error) {
	if e.Type == "member.role_changed" {
		return e.Subject.ID, "", nil
	}
	var now struct {
		Key   string `json:"key"`
		Guest bool   `json:"guest"`
	}
	if err := json.Unmarshal(e.Data, &now); err != nil {
		return nil, "", fmt.Errorf("work.SightLost: event %s: %w", e.ID, err)
	}
	if !now.Guest {
		return nil, "", nil
	}
	return nil, now.Key, nil
}
