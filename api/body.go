package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"

	"github.com/guildhall-dev/guildhall/internal/fault"
)

const (
	defaultMaxBody = 1 << 20
	maxDepth       = 32
)

// bodyContext hands Huma a body that was read and checked already.
type bodyContext struct {
	inner
	body []byte
}

// inner is huma.Context under a name that does not hide its Context method.
type inner huma.Context

// BodyReader implements huma.Context.
func (c *bodyContext) BodyReader() io.Reader { return bytes.NewReader(c.body) }

// Unwrap lets adapters find the request below.
func (c *bodyContext) Unwrap() huma.Context { return c.inner }

// bodyForm is how an operation takes its body. Its zero value takes none.
type bodyForm struct {
	schema *huma.Schema // of the JSON value; nil without one
	raw    bool         // the bytes as they were sent, of any type
	timed  bool         // the JSON value may hold times or dates
}

func (f bodyForm) expected() bool { return f.raw || f.schema != nil }

// read returns the body, held to what its form allows before anything else
// looks at it.
func (f bodyForm) read(hc huma.Context, limit int64, all huma.Registry) ([]byte, error) {
	if !f.expected() {
		return nil, nil
	}
	if f.raw {
		return readBytes(hc, limit)
	}
	body, err := readBody(hc, limit)
	if err != nil {
		return nil, err
	}
	if err := refuseNulls(body, f.schema, all, ""); err != nil || !f.timed {
		return body, err
	}
	return body, refuseTimes(body, f.schema, all, "")
}

// readBytes reads at most limit bytes.
func readBytes(hc huma.Context, limit int64) ([]byte, error) {
	if limit == 0 {
		limit = defaultMaxBody
	}
	body, err := io.ReadAll(io.LimitReader(hc.BodyReader(), limit+1))
	if err != nil {
		return nil, fault.New(fault.BadRequest, "bad_request", "The body could not be read to its end.").Because(err)
	}
	if int64(len(body)) > limit {
		return nil, fault.New(fault.TooLarge, "too_large", "The body is larger than %d bytes.", limit)
	}
	return body, nil
}

// readBody reads JSON and refuses what two parsers could read in two ways.
func readBody(hc huma.Context, limit int64) ([]byte, error) {
	if err := checkContentType(hc); err != nil {
		return nil, err
	}
	body, err := readBytes(hc, limit)
	if err != nil {
		return nil, err
	}
	if len(bytes.TrimSpace(body)) == 0 {
		return body, nil
	}
	if problem := checkJSON(body); problem != "" {
		return nil, fault.New(fault.BadRequest, "bad_request", "The body is not acceptable JSON: %s.", problem)
	}
	return body, nil
}

func checkContentType(hc huma.Context) error {
	raw := hc.Header("Content-Type")
	if raw == "" {
		return nil
	}
	mt, params, err := mime.ParseMediaType(raw)
	charset := params["charset"]
	if err == nil && (charset == "" || strings.EqualFold(charset, "utf-8")) {
		if mt == "application/json" || hc.Method() == http.MethodPatch && mt == "application/merge-patch+json" {
			return nil
		}
	}
	return fault.New(fault.Unsupported, "unsupported_media_type", "Send the body as application/json.")
}

// loneSurrogate finds \ud800-\udfff escapes; pairs are taken out first.
var (
	surrogatePair = regexp.MustCompile(`\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}`)
	loneSurrogate = regexp.MustCompile(`\\u[dD][89a-fA-F][0-9a-fA-F]{2}`)
)

// checkJSON says why a body is refused, or "". Go's decoder takes the last of
// two equal keys and Postgres cannot store NUL, so neither gets further.
func checkJSON(body []byte) string {
	if !utf8.Valid(body) {
		return "it is not UTF-8"
	}
	if bytes.Contains(body, []byte(`\u`)) {
		// What is taken out leaves a mark: what stood apart must not come together.
		plain := bytes.ReplaceAll(body, []byte(`\\`), []byte("."))
		if loneSurrogate.Match(surrogatePair.ReplaceAll(plain, []byte("."))) {
			return "it holds half of a surrogate pair"
		}
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	type level struct {
		keys map[string]bool // nil in an array
		key  bool            // the next token is a key
	}
	var stack []level
	for {
		tok, err := dec.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return "syntax error near byte " + strconv.FormatInt(dec.InputOffset(), 10)
		}
		var top *level
		if len(stack) > 0 {
			top = &stack[len(stack)-1]
		}
		switch t := tok.(type) {
		case json.Delim:
			if t == '{' || t == '[' {
				if top != nil && top.keys != nil {
					top.key = true
				}
				if len(stack) == maxDepth {
					return "it is nested more than " + strconv.Itoa(maxDepth) + " levels deep"
				}
				l := level{}
				if t == '{' {
					l = level{keys: map[string]bool{}, key: true}
				}
				stack = append(stack, l)
			} else {
				stack = stack[:len(stack)-1]
			}
			continue
		case string:
			if strings.ContainsRune(t, 0) {
				return "it holds a NUL character"
			}
			if top != nil && top.keys != nil && top.key {
				if top.keys[t] {
					return "the key " + strconv.Quote(clip(t, 60)) + " stands twice in one object"
				}
				top.keys[t] = true
				top.key = false
				continue
			}
		}
		if top != nil && top.keys != nil {
			top.key = true
		}
	}
	if len(stack) != 0 {
		return "it ends too early"
	}
	if dec2 := json.NewDecoder(bytes.NewReader(body)); dec2.Decode(new(json.RawMessage)) == nil {
		if rest, _ := io.ReadAll(dec2.Buffered()); len(bytes.TrimSpace(rest)) > 0 {
			return "something follows the first value"
		}
	}
	return ""
}

// refuseNulls refuses null where the schema does not allow it. Huma takes null
// for absent in optional fields; in a merge patch the two differ, so a null
// that would be ignored is an error.
func refuseNulls(body []byte, s *huma.Schema, all huma.Registry, at string) error {
	if !bytes.Contains(body, []byte("null")) {
		return nil
	}
	if s.Ref != "" {
		s = all.SchemaFromRef(s.Ref)
	}
	var members map[string]json.RawMessage
	if s == nil || json.Unmarshal(body, &members) != nil {
		return nil // another check says what is wrong
	}
	for name, raw := range members {
		p := s.Properties[name]
		if p == nil {
			continue
		}
		if !bytes.Equal(raw, []byte("null")) {
			if err := refuseNulls(raw, p, all, at+"/"+name); err != nil {
				return err
			}
			continue
		}
		if p.Ref != "" {
			p = all.SchemaFromRef(p.Ref)
		}
		if !p.Nullable {
			return fault.Invalidf(at+"/"+name, "null is not allowed here; leave the field out")
		}
	}
	return nil
}
