package webhooks

import "testing"

func TestEventsOfEndpointsKeepTheAddressSecret(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]string{
		"https://example.com":                   "https://example.com",
		"https://example.com/":                  "https://example.com/",
		"https://example.com:8443/hooks/s3cret": "https://example.com:8443/...",
		"https://example.com?token=s3cret":      "https://example.com/...",
		"https://example.com/?token=s3cret":     "https://example.com/...",
		"http://[2606:4700::1111]:80/a%2Fb?c=d": "http://[2606:4700::1111]:80/...",
		"https://example.com//s3cret":           "https://example.com/...",
		"https://example.com/%":                 "",
	} {
		e := Endpoint{URL: url}
		if got := e.told().URL; got != want {
			t.Errorf("%s is told as %q, want %q", url, got, want)
		}
		if e.URL != url {
			t.Errorf("the endpoint itself was changed: %s", e.URL)
		}
	}
}
