package events

import (
	"encoding/json"
	"strings"
	"testing"
)

const created = `{"id": "0198c1f2-7b1e-7c3a-9d52-3f4b8a6e1c07", "type": "role.created", "timestamp": "2026-03-01T09:30:00Z",
	"organization_id": "0198c1f2-7b1e-7c3a-9d52-3f4b8a6e1c08", "sequence": 1, "subject": {"type": "role", "id": "0198c1f2-7b1e-7c3a-9d52-3f4b8a6e1c09"},
	"actor": {"type": "system", "id": null}, "schema_version": 1, "data": DATA}`

// roleData is a row with everything that the published schema asks for.
func roleData(t *testing.T) map[string]any {
	t.Helper()
	raw, err := Schema("role.created", 1)
	if err != nil {
		t.Fatal(err)
	}
	var s struct {
		Defs map[string]struct {
			Required   []string
			Properties map[string]map[string]any
		} `json:"$defs"`
	}
	if err := json.Unmarshal(raw, &s); err != nil {
		t.Fatal(err)
	}
	data := map[string]any{}
	for _, name := range s.Defs["Role"].Required {
		switch p := s.Defs["Role"].Properties[name]; {
		case p["format"] == "uuid":
			data[name] = "0198c1f2-7b1e-7c3a-9d52-3f4b8a6e1c09"
		case p["format"] == "date-time":
			data[name] = "2026-03-01T09:30:00Z"
		case p["type"] == "integer":
			data[name] = 1
		case p["type"] == "boolean":
			data[name] = false
		case p["type"] == "array":
			data[name] = []string{}
		default:
			data[name] = "auditor"
		}
	}
	return data
}

func TestCheck(t *testing.T) {
	t.Parallel()
	check := func(data map[string]any, from, to string) error {
		raw, err := json.Marshal(data)
		if err != nil {
			t.Fatal(err)
		}
		return Check([]byte(strings.Replace(strings.Replace(created, "DATA", string(raw), 1), from, to, 1)))
	}
	if err := check(roleData(t), "", ""); err != nil {
		t.Fatal(err)
	}
	more := roleData(t)
	more["later"] = "a member that came later"
	if err := check(more, "", ""); err != nil {
		t.Errorf("a member that came later: %v", err)
	}
	bad := roleData(t)
	bad["id"] = 7
	if err := check(bad, "", ""); err == nil || !strings.Contains(err.Error(), "/data/id") {
		t.Errorf("a number for an id: %v", err)
	}
	for from, to := range map[string]string{
		`"role.created"`: `"role.vanished"`, `"schema_version": 1`: `"schema_version": 99`, `"sequence": 1`: `"sequence": null`, `{"id"`: `["id"`,
	} {
		if err := check(roleData(t), from, to); err == nil {
			t.Errorf("%s for %s was accepted", to, from)
		}
	}
	if !Published("role.created") || Published("role.vanished") || Published("api_key.created") {
		t.Error("Published is wrong about a type")
	}
}
