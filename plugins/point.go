package plugins

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"

	"github.com/danielgtaylor/huma/v2"
)

// Kind is what sort of question a point asks.
type Kind string

// The kinds of points that features declare.
const (
	KindHook    Kind = "hook"    // before a change
	KindService Kind = "service" // to do something
)

// Point is a place at which plugins extend a feature. DefineHook and
// DefineService make it, and the feature lists it in its module.
type Point struct {
	Name      string // "task.will_create", "notification.send"
	Kind      Kind
	Doc       string
	Amendable []string     // fields of a hook's draft that a plugin may change
	Input     reflect.Type // a hook's draft, a service's input
	Context   reflect.Type // a hook's subject; nil for services
	Output    reflect.Type // of a service; nil for hooks
}

// shape validates JSON against the tags of a Go type, as the API does with
// bodies.
type shape struct {
	registry huma.Registry
	schema   *huma.Schema
}

func shapeOf(t reflect.Type) shape {
	r := huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer)
	return shape{r, huma.SchemaFromType(r, t)}
}

// decode reads what a plugin sent into dst, strictly.
func (s shape) decode(raw []byte, dst any) error {
	var v any
	if err := json.Unmarshal(raw, &v); err != nil {
		return fmt.Errorf("is not JSON: %w", err)
	}
	if bytes.Contains(raw, []byte(`\u0000`)) {
		return errors.New("holds a NUL character")
	}
	res := &huma.ValidateResult{}
	huma.Validate(s.registry, s.schema, huma.NewPathBuffer(nil, 0), huma.ModeWriteToServer, v, res)
	if len(res.Errors) > 0 {
		return res.Errors[0]
	}
	return json.Unmarshal(raw, dst)
}
