package sdk

import (
	"encoding/json"
	"time"
)

// Event is something that happened, as the event feed shows it.
type Event struct {
	ID             string          `json:"id"`
	Type           string          `json:"type"` // "task.created"
	Timestamp      time.Time       `json:"timestamp"`
	OrganizationID string          `json:"organization_id"`
	Sequence       int64           `json:"sequence"` // number in the organisation's log, without gaps
	Subject        Reference       `json:"subject"`  // what it happened to
	Actor          Reference       `json:"actor"`    // who did it: user, key, plugin, system
	SchemaVersion  int             `json:"schema_version"`
	Data           json.RawMessage `json:"data"`     // the thing as it is since
	Previous       json.RawMessage `json:"previous"` // the old values of the fields that changed
}

// Reference names a thing or a person. ID is empty where there is none.
type Reference struct {
	Type string `json:"type"`
	ID   string `json:"id"`
}

// Decode decodes Data.
func (e Event) Decode(v any) error { return json.Unmarshal(e.Data, v) }

// Changed says whether a field changed, by its name in JSON.
func (e Event) Changed(field string) bool {
	var fields map[string]json.RawMessage
	if json.Unmarshal(e.Previous, &fields) != nil {
		return false
	}
	_, ok := fields[field]
	return ok
}

// Change is what is about to happen.
type Change struct {
	Hook    string
	Subject json.RawMessage // what it is about; each hook documents its shape
	Draft   json.RawMessage // what would be stored
}

// Decode decodes Draft.
func (c Change) Decode(v any) error { return json.Unmarshal(c.Draft, v) }

// DecodeSubject decodes Subject.
func (c Change) DecodeSubject(v any) error { return json.Unmarshal(c.Subject, v) }

// Decision is what a Hook says: Allow, Refuse or Amend.
type Decision struct {
	refusal string
	amend   map[string]any
}

// Allow lets the change happen as it is.
func Allow() Decision { return Decision{} }

// Refuse forbids the change, with a text for the person who tried.
func Refuse(text string) Decision {
	if text == "" {
		text = "A plugin refuses this."
	}
	return Decision{refusal: text}
}

// Amend lets the change happen with other values for these fields of the draft,
// which the hook must let be amended. A nil value clears one.
func Amend(fields map[string]any) Decision { return Decision{amend: fields} }
