package bundle

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strconv"
	"unicode/utf8"
)

// deepest is how deep a document may nest.
const deepest = 32

// wellFormed refuses what two readers of JSON could understand differently:
// invalid UTF-8, fields that come twice, anything after the value; and what
// nests too deep.
func wellFormed(raw []byte) []FieldError {
	if !utf8.Valid(raw) {
		return []FieldError{{"", "is not UTF-8"}}
	}
	if !json.Valid(raw) { // for its better message
		var v any
		err := json.Unmarshal(raw, &v)
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			line := 1 + bytes.Count(raw[:min(int(syntax.Offset), len(raw))], []byte("\n"))
			return []FieldError{{"", "is not JSON: line " + strconv.Itoa(line) + ": " + err.Error()}}
		}
		return []FieldError{{"", "is not JSON"}}
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	w := walker{d: d}
	if err := w.value("", 0); err != nil && !errors.Is(err, io.EOF) {
		return []FieldError{{"", err.Error()}}
	}
	return tidy(w.bad)
}

type walker struct {
	d   *json.Decoder
	bad []FieldError
}

func (w *walker) value(at string, depth int) error {
	if depth > deepest {
		return errors.New("nests deeper than " + strconv.Itoa(deepest) + " levels")
	}
	t, err := w.d.Token()
	if err != nil {
		return err
	}
	switch t {
	case json.Delim('{'):
		seen := map[string]bool{}
		for w.d.More() {
			name, err := w.d.Token()
			if err != nil {
				return err
			}
			key, _ := name.(string)
			here := at + pointer(clip(key))
			if seen[key] && len(w.bad) < mostErrors {
				w.bad = append(w.bad, FieldError{here, "comes twice"})
			}
			seen[key] = true
			if err := w.value(here, depth+1); err != nil {
				return err
			}
		}
		_, err = w.d.Token()
	case json.Delim('['):
		for i := 0; w.d.More(); i++ {
			if err := w.value(at+pointer(strconv.Itoa(i)), depth+1); err != nil {
				return err
			}
		}
		_, err = w.d.Token()
	}
	return err
}
