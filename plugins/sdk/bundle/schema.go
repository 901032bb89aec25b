package bundle

import (
	"bytes"
	"cmp"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
)

//go:embed manifest.schema.json
var manifestSchema string

// ManifestSchema is the JSON Schema (2020-12) of manifest.json, for editors. It
// holds every manifest; ParseManifest checks a few things more that no schema
// can say.
func ManifestSchema() []byte { return []byte(manifestSchema) }

var compiledManifest = sync.OnceValues(func() (*jsonschema.Schema, error) { return compile([]byte(manifestSchema)) })

// noLoader keeps schemas from naming files and addresses.
type noLoader struct{}

func (noLoader) Load(url string) (any, error) {
	return nil, fmt.Errorf("%s is outside of the schema", url)
}

func compile(raw []byte) (*jsonschema.Schema, error) {
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.UseLoader(noLoader{})
	c.AssertFormat()
	const where = "mem:///schema.json"
	if err := c.AddResource(where, value); err != nil {
		return nil, err
	}
	return c.Compile(where)
}

// mostErrors bounds what is told about one document.
const mostErrors = 100

// hold returns what is wrong with a JSON document.
func hold(s *jsonschema.Schema, raw []byte) []FieldError {
	if bad := wellFormed(raw); bad != nil {
		return bad
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		return []FieldError{{"", "is not JSON: " + err.Error()}}
	}
	var invalid *jsonschema.ValidationError
	switch err := s.Validate(value); {
	case err == nil:
		return nil
	case errors.As(err, &invalid):
		return tidy(explain(nil, invalid))
	default:
		return []FieldError{{"", err.Error()}}
	}
}

// tidy sorts errors by pointer and keeps one of each.
func tidy(all []FieldError) []FieldError {
	slices.SortFunc(all, func(a, b FieldError) int {
		return cmp.Or(strings.Compare(a.Pointer, b.Pointer), strings.Compare(a.Message, b.Message))
	})
	all = slices.Compact(all)
	return all[:min(len(all), mostErrors)]
}

func pointer(parts ...string) string {
	var b strings.Builder
	for _, p := range parts {
		b.WriteString("/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(p))
	}
	return b.String()
}

// explain puts an error of the validator, and those below it, into words
// without what the value is: it may be a secret.
func explain(out []FieldError, e *jsonschema.ValidationError) []FieldError {
	at := pointer(e.InstanceLocation...)
	say := func(format string, args ...any) []FieldError {
		return append(out, FieldError{at, fmt.Sprintf(format, args...)})
	}
	switch k := e.ErrorKind.(type) {
	case *kind.Required:
		for _, name := range k.Missing {
			out = append(out, FieldError{at + pointer(name), "is missing"})
		}
		return out
	case *kind.DependentRequired:
		for _, name := range k.Missing {
			out = append(out, FieldError{at + pointer(name), "is missing: " + k.Prop + " needs it"})
		}
		return out
	case *kind.AdditionalProperties:
		for _, name := range k.Properties {
			out = append(out, FieldError{at + pointer(clip(name)), unknownWords(at)})
		}
		return out
	case *kind.PropertyNames: // its location is not to be relied on
		return append(out, FieldError{"", fmt.Sprintf("has a field %q, a name that is not allowed there", clip(k.Property))})
	case *kind.OneOf:
		return say("%s", choiceWords(at))
	case *kind.AnyOf, *kind.Not:
		return say("is none of what is allowed here")
	case *kind.FalseSchema:
		return say("is not allowed here")
	case *kind.Type:
		return say("is of type %s, expected %s", k.Got, strings.Join(k.Want, " or "))
	case *kind.Enum:
		return say("is none of %s", list(k.Want))
	case *kind.Const:
		return say("is not %s", list([]any{k.Want}))
	case *kind.Format:
		return say("is not of the format %s", k.Want)
	case *kind.Pattern:
		return say("%s", patternWords(k.Want))
	case *kind.MinLength:
		return say("is too short: %d of at least %d characters", k.Got, k.Want)
	case *kind.MaxLength:
		return say("is too long: %d of at most %d characters", k.Got, k.Want)
	case *kind.MinItems:
		return say("has too few entries: %d of at least %d", k.Got, k.Want)
	case *kind.MaxItems:
		return say("has too many entries: %d of at most %d", k.Got, k.Want)
	case *kind.Minimum:
		return say("is less than %s", k.Want.RatString())
	case *kind.Maximum:
		return say("is more than %s", k.Want.RatString())
	}
	if len(e.Causes) == 0 {
		return say("does not fit the schema (%s)", strings.Join(e.ErrorKind.KeywordPath(), " "))
	}
	for _, c := range e.Causes {
		out = explain(out, c)
	}
	return out
}

func list(values []any) string {
	words := make([]string, 0, len(values))
	for _, v := range values {
		raw, err := json.Marshal(v)
		if err != nil {
			continue
		}
		words = append(words, string(raw))
	}
	return strings.Join(words, ", ")
}

func clip(s string) string {
	if len(s) > 60 {
		return strings.ToValidUTF8(s[:60], "") + "…"
	}
	return s
}

// patternWords says what the patterns of the manifest mean.
func patternWords(pattern string) string {
	switch pattern {
	case `^[a-z][a-z_]{1,38}[a-z]$`:
		return "is not 3 to 40 of a-z and _, with a letter at both ends"
	case `^[a-z][a-z0-9_]{0,49}$`:
		return "is not 1 to 50 of a-z, 0-9 and _, beginning with a letter"
	case `^https?://[^\s]+$`:
		return "is not an address such as https://example.com/"
	case `^[a-z][a-z0-9_]*\.will_[a-z][a-z0-9_]*$`:
		return "is not the name of a hook, such as task.will_create"
	}
	return "does not match " + pattern
}

func unknownWords(at string) string {
	if at == "/runtime/binaries" {
		return "is not a platform: linux, darwin, windows or freebsd, then _amd64 or _arm64"
	}
	return "is not a known field"
}

// choiceWords says between what the manifest lets choose.
func choiceWords(at string) string {
	switch {
	case at == "/runtime":
		return "has to name either binaries, or interpreter and main"
	case strings.HasPrefix(at, "/hosts/"):
		return "has to name either host or setting"
	}
	return "has to fit exactly one of the alternatives of its schema"
}
