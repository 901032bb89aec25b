// Package events holds the published schema of every version of every public
// event, as receivers may have kept it. The file of a current version is a
// golden file of the document; that of an earlier one is all that is left of
// it, and stays. It is a leaf, so that any test can hold the events in its
// database against what was published.
package events

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

//go:embed *.json
var files embed.FS

// File is the name of the file that holds the schema of a version: "task.created.v1.json".
func File(eventType string, version int) string {
	return fmt.Sprintf("%s.v%d.json", eventType, version)
}

// Schema returns the JSON Schema (2020-12) of a version of an event.
func Schema(eventType string, version int) (json.RawMessage, error) {
	raw, err := files.ReadFile(File(eventType, version))
	if err != nil {
		return nil, fmt.Errorf("the schema of version %d of the event %s: %w", version, eventType, err)
	}
	return raw, nil
}

// Published reports whether any version of a type is.
func Published(eventType string) bool {
	_, err := Schema(eventType, 1)
	return err == nil
}

var compiled = sync.OnceValues(func() (map[string]*jsonschema.Schema, error) {
	entries, err := files.ReadDir(".")
	if err != nil {
		return nil, err
	}
	out := map[string]*jsonschema.Schema{}
	for _, e := range entries {
		raw, err := files.ReadFile(e.Name())
		if err != nil {
			return nil, err
		}
		parsed, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", e.Name(), err)
		}
		c := jsonschema.NewCompiler()
		c.AssertFormat()
		where := "mem:///" + e.Name()
		if err := c.AddResource(where, parsed); err != nil {
			return nil, fmt.Errorf("%s: %w", e.Name(), err)
		}
		if out[e.Name()], err = c.Compile(where); err != nil {
			return nil, fmt.Errorf("%s: %w", e.Name(), err)
		}
	}
	return out, nil
})

// Check holds an event, as the API shows it, against the schema of its type and
// version. The error has the pointer of what is wrong.
func Check(event []byte) error {
	var e struct {
		Type    string `json:"type"`
		Version int    `json:"schema_version"`
	}
	if err := json.Unmarshal(event, &e); err != nil {
		return fmt.Errorf("the event is not JSON: %w", err)
	}
	schemas, err := compiled()
	if err != nil {
		return err
	}
	s := schemas[File(e.Type, e.Version)]
	if s == nil {
		return fmt.Errorf("there is no published schema of version %d of the event %q", e.Version, e.Type)
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(event))
	if err != nil {
		return fmt.Errorf("the event is not JSON: %w", err)
	}
	if err := s.Validate(value); err != nil {
		return fmt.Errorf("the event %s is not what was published of its version %d: %w", e.Type, e.Version, err)
	}
	return nil
}
