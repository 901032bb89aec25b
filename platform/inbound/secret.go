package inbound

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
)

const (
	standardPrefix = "whsec_"
	generatedSize  = 32 // bytes of a secret that is made here

	// Standard Webhooks 1.0 bounds its secrets; what other senders call a secret
	// is text of their own making.
	standardMin, standardMax = 24, 64

	decoyPlace = "decoy/inbound_secrets/secret"
)

// place is where a sealed secret belongs.
func place(organization, source, secret id.ID) string {
	return fmt.Sprintf("%s/inbound_secrets/secret/%s/%s", organization, source, secret)
}

// settleSecret turns what a caller named, "" for nothing, into the bytes that
// signatures are made with. Shown is the secret that was made here, if one was;
// no bytes mean that the source waits for its secret.
func settleSecret(kind, named string, mayWait bool) (key []byte, shown *string, err error) {
	switch {
	case named != "" && kind == kindStandard:
		key, err = parseStandard(named)
		return key, nil, err
	case named != "":
		return []byte(named), nil, nil
	case kind == kindStandard:
		key = make([]byte, generatedSize)
		rand.Read(key) // never fails: the process ends instead
		text := standardPrefix + base64.StdEncoding.EncodeToString(key)
		return key, &text, nil
	case mayWait && kind == kindStripe:
		return nil, nil, nil
	case kind == kindStripe:
		return nil, nil, fault.Invalidf("/secret", "name the signing secret that Stripe shows with the endpoint; it begins with whsec_")
	}
	return nil, nil, fault.Invalidf("/secret", "name the secret that the sender signs with")
}

// parseStandard reads a secret of Standard Webhooks.
func parseStandard(text string) ([]byte, error) {
	key, err := decodeBase64(strings.TrimPrefix(text, standardPrefix))
	if err != nil || len(key) < standardMin || len(key) > standardMax {
		return nil, fault.Invalidf("/secret", "a secret of Standard Webhooks is whsec_ and %d to %d bytes in base64", standardMin, standardMax)
	}
	return key, nil
}

// decodeBase64 reads either alphabet, with or without padding.
func decodeBase64(s string) ([]byte, error) {
	s = strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(s, "="))
	return base64.RawStdEncoding.DecodeString(s)
}
