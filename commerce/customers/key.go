package customers

import (
	"math/big"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/guildhall-dev/guildhall/event"
	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
)

// StorefrontKey is what a shop names itself with.
type StorefrontKey struct {
	ID             id.ID          `db:"id" json:"id" doc:"Names the key in the API."`
	Key            string         `db:"-" json:"key" maxLength:"50" pattern:"^ghp_[0-9A-Za-z]{43}$" doc:"The publishable key. It is no secret: pages carry it." example:"ghp_00Bw2kPq7Lx0R9sT4uV6yZ1aB3cD5eF7gH9iJ1kL3mN"`
	Name           string         `db:"name" json:"name" minLength:"1" maxLength:"100" doc:"What the key is for." example:"Web shop"`
	AllowedOrigins []string       `db:"allowed_origins" json:"allowed_origins" nullable:"false" maxItems:"50" maxLength:"300" doc:"The origins whose pages may use the key." example:"[\"https://shop.example.com\"]"`
	CreatedBy      event.ActorRef `db:"created_by" json:"created_by" doc:"Who made it."`
	Version        int64          `db:"version" json:"version" minimum:"1" maximum:"9007199254740991" doc:"Counts changes; also the ETag." example:"1"`
	CreatedAt      time.Time      `db:"created_at" json:"created_at" doc:"When it was made."`
}

// RowVersion implements api.Versioned.
func (k StorefrontKey) RowVersion() int64 { return k.Version }

// Location implements api.Located.
func (k StorefrontKey) Location() string { return "/v1/storefront-keys/" + k.ID.String() }

// EventSubject implements event.Subjected.
func (k StorefrontKey) EventSubject() event.Subject { return event.Subject{ID: k.ID} }

// The form of a key: prefix, then the ids of the organisation and of the key as
// one number in base 62, so that a double click selects all of it.
const (
	keyPrefix  = "ghp_"
	bodyLength = 43 // 32 bytes in base 62
)

func formatKey(organization, key id.ID) string {
	text := new(big.Int).SetBytes(append(organization[:], key[:]...)).Text(62)
	return keyPrefix + strings.Repeat("0", bodyLength-len(text)) + text
}

// parseKey returns what a well-formed key says. It says nothing of whether the
// key exists.
func parseKey(text string) (organization, key id.ID, ok bool) {
	body, found := strings.CutPrefix(text, keyPrefix)
	if !found || len(body) != bodyLength || strings.ContainsFunc(body, func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	}) {
		return id.Nil, id.Nil, false
	}
	n, ok := new(big.Int).SetString(body, 62)
	if !ok || n.BitLen() > 256 {
		return id.Nil, id.Nil, false
	}
	raw := n.FillBytes(make([]byte, 32))
	organization, key = id.ID(raw[:16]), id.ID(raw[16:])
	return organization, key, !organization.IsZero() && !key.IsZero()
}

// cleanOrigins brings origins into the form in which browsers send them, each
// once.
func cleanOrigins(origins []string) ([]string, error) {
	out := []string{}
	for i, text := range origins {
		origin, ok := cleanOrigin(text)
		if !ok {
			return nil, fault.Invalidf("/allowed_origins/"+strconv.Itoa(i),
				"expected an origin such as https://shop.example.com, without a path; on this machine the port may be left open: http://localhost:*")
		}
		if !slices.Contains(out, origin) {
			out = append(out, origin)
		}
	}
	return out, nil
}

func cleanOrigin(text string) (string, bool) {
	text = strings.ToLower(strings.TrimSpace(text))
	for _, host := range []string{"http://localhost", "http://127.0.0.1"} {
		if text == host+":*" {
			return text, true
		}
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" || u.User != nil || u.Opaque != "" ||
		u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "" || strings.ContainsAny(text, "*?#\\ ,") {
		return "", false
	}
	if strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", false // browsers send the ASCII form of a name
	}
	return originOf(u)
}

// originOf is the origin of an address as browsers write it: in lower case,
// without the port that goes without saying.
func originOf(u *url.URL) (string, bool) {
	scheme, host, port := strings.ToLower(u.Scheme), strings.ToLower(u.Hostname()), u.Port()
	if port != "" {
		if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 || strconv.Itoa(n) != port {
			return "", false
		}
	} else if strings.HasSuffix(u.Host, ":") {
		return "", false
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if scheme == "https" && port == "443" || scheme == "http" && port == "80" {
		port = ""
	}
	if port != "" {
		port = ":" + port
	}
	return scheme + "://" + host + port, true
}
