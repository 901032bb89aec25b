package bundle

import (
	"fmt"
	"slices"
	"strings"
)

// Ask is one thing that an organisation grants.
type Ask struct {
	Key      string `json:"key"`  // what is stored: "tasks.read", "host:hooks.slack.com"
	Kind     string `json:"kind"` // which kind of thing it is
	Why      string `json:"why"`  // in the author's words; empty where the key says all
	Optional bool   `json:"optional"`
}

// The kinds of asks. The key of a permission is the permission, that of
// private projects is the kind; all others are "<kind>:<what>". What makes one of
// these weigh more has a key of its own behind it: "<kind>:<what>:<how>".
const (
	AskPermission      = "permission"
	AskEvent           = "event"
	AskHook            = "hook"
	AskHost            = "host"
	AskHostSetting     = "host-setting"
	AskInbound         = "inbound"
	AskPrivateProjects = "private_projects"
	AskProvide         = "provide"
	AskAction          = "action"
	AskSchedule        = "schedule"
)

// What stands behind the key of a hook or an action.
const (
	howRefuses = "refuse" // without an answer of the hook nothing is changed
	howSlow    = "slow"   // the hook may take longer than usualDeadline
	howAnybody = "anybody"

	usualDeadline = 200 // milliseconds
)

// Asks lists what an organisation's admin has to grant, sorted by key. An
// upgrade needs consent if it has a key here that was not granted.
func (m *Manifest) Asks() []Ask {
	var out []Ask
	add := func(kind, what, why string, optional bool) {
		out = append(out, Ask{Key: kind + ":" + what, Kind: kind, Why: why, Optional: optional})
	}
	for _, p := range m.Permissions {
		out = append(out, Ask{Key: p.Permission, Kind: AskPermission, Why: p.Why, Optional: p.Optional})
	}
	for _, e := range m.Events {
		add(AskEvent, e, "", false)
	}
	for _, h := range m.Hooks {
		add(AskHook, h.Hook, h.Why, false)
		if h.OnFailure == OnFailureRefuse {
			add(AskHook, h.Hook+":"+howRefuses, "While the plugin does not answer, these changes are refused.", false)
		}
		if h.DeadlineMS > usualDeadline {
			add(AskHook, h.Hook+":"+howSlow, fmt.Sprintf("Each of these changes may wait for its answer: %d ms now, and never more than 2000.", h.DeadlineMS), false)
		}
	}
	for _, h := range m.Hosts {
		if h.Setting != "" {
			add(AskHostSetting, h.Setting, h.Why, h.Optional)
		} else {
			add(AskHost, h.Host, h.Why, h.Optional)
		}
	}
	for _, i := range m.Inbound {
		add(AskInbound, i.Name, i.Description, false)
	}
	if p := m.PrivateProjects; p != nil {
		out = append(out, Ask{Key: AskPrivateProjects, Kind: AskPrivateProjects, Why: p.Why, Optional: p.Optional})
	}
	for _, p := range m.Provides {
		add(AskProvide, p.Point+"/"+p.Name, p.Title, false)
	}
	for _, a := range m.Actions {
		add(AskAction, a.Name, a.Description, false)
		if a.Permission != "" {
			add(AskAction, a.Name+":"+a.Permission, "Who may run actions and holds "+a.Permission+" can run it.", false)
		} else {
			add(AskAction, a.Name+":"+howAnybody, "Everybody who may run actions can run it.", false)
		}
	}
	for _, s := range m.Schedules {
		add(AskSchedule, s.Name, "Runs every "+s.Every+".", false)
	}
	slices.SortFunc(out, func(a, b Ask) int { return strings.Compare(a.Key, b.Key) })
	return slices.CompactFunc(out, func(a, b Ask) bool { return a.Key == b.Key })
}
