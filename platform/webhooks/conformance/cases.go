package conformance

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"time"
)

// wholePlan is as many attempts as the sender's plan has.
const wholePlan = -1

// testCase is one way to behave, and what a sender must do about it.
type testCase struct {
	name     string
	attempts int      // that arrive, wholePlan for all of them
	answers  []answer // to one request after the other; the last one stays

	connections int                    // at least, where attempts fail before there is a request
	hidden      bool                   // attempts fail where the receiver cannot see them
	resent      bool                   // an attempt may come twice: over a dead connection, and at once over another
	gap         time.Duration          // between the first two attempts, at least
	asked       time.Duration          // what Retry-After adds to the plan
	longer      time.Duration          // to wait before what did not come will not come
	connect     []func(*exchange) bool // before TLS and requests, by connection; false ends it
	tls         *tls.Config
	https       bool               // in the URL, where there is no TLS
	http2       []http.HandlerFunc // instead of answers
	host        string             // in the URL, instead of the address
	closed      bool               // the port is closed at first
	later       func(*receiver) error
}

// delivered is a case in which the first attempt must count as delivered.
func delivered(name string, a answer) testCase {
	return testCase{name: name, attempts: 1, answers: []answer{a, ok}}
}

// failed is a case in which the first attempt must fail, and the second is delivered.
func failed(name string, a answer) testCase {
	return testCase{name: name, attempts: 2, answers: []answer{a, ok}}
}

// cases lists every case that the profile allows.
func cases(p Profile) []testCase {
	var out []testCase
	for _, more := range [][]testCase{statusCases(), planCases(), retryAfterCases(), redirectCases(), bodyCases(), headerCases(), connectionCases(), malformedCases(), tlsCases(p), http2Cases(p), nameCases(p)} {
		out = append(out, more...)
	}
	return out
}

func statusCases() (out []testCase) {
	for _, code := range []int{200, 201, 202, 203, 204, 205, 206, 207, 208, 226, 250, 299} {
		out = append(out, delivered(fmt.Sprintf("status %d is a delivery", code), status(code)))
	}
	for _, code := range []int{
		300, 304, 305, 306, 310, 399,
		400, 401, 402, 403, 404, 405, 406, 407, 408, 409, 411, 412, 413, 414, 415, 416, 417, 418, 419, 421, 422, 423, 424, 425, 426, 428, 429, 431, 451, 499,
		500, 501, 502, 503, 504, 505, 506, 507, 508, 510, 511, 520, 521, 522, 523, 524, 525, 526, 527, 530, 598, 599, 600, 999,
	} {
		out = append(out, failed(fmt.Sprintf("status %d is a failure", code), status(code)))
	}
	return out
}

func planCases() []testCase {
	challenge := failed("credentials that are asked for are not given", status(401, `WWW-Authenticate: Basic realm="x"`))
	cookie := failed("a cookie is not brought back", status(500, "Set-Cookie: a=b; Path=/"))
	return []testCase{
		{name: "a receiver that always fails gets the whole plan", attempts: wholePlan, answers: []answer{status(500)}},
		{name: "a receiver that never answers well gets the whole plan", attempts: wholePlan, answers: []answer{end(closing), crash(""), end("nonsense\r\n\r\n"), status(302, "Location: /x"), status(503)}},
		{name: "two failures and a delivery", attempts: 3, answers: []answer{status(500), status(500), ok}},
		{name: "a failure of another kind each time", attempts: 3, answers: []answer{crash(""), status(429), ok}},
		{name: "a kept connection that dies with the second attempt", attempts: 3, resent: true, answers: []answer{status(500), crash(""), ok}},
		{name: "410 ends it", attempts: 1, answers: []answer{status(410), ok}},
		{name: "410 with a body ends it", attempts: 1, answers: []answer{keep(sized(410, 100)), ok}},
		{name: "410 with Retry-After ends it", attempts: 1, answers: []answer{status(410, "Retry-After: 1"), ok}, longer: time.Second},
		{name: "410 after failures ends it", attempts: 2, answers: []answer{status(500), status(410), ok}},
		challenge, cookie,
	}
}

func retryAfterCases() (out []testCase) {
	honoured := func(name string, code int, value func() string, gap, asked time.Duration) {
		c := failed(name, func(x *exchange) bool { return status(code, "Retry-After: "+value())(x) })
		c.gap, c.asked = gap, asked
		out = append(out, c)
	}
	const margin = 50 * time.Millisecond // between an answer that left and its arrival in the record
	for _, code := range []int{429, 503, 500} {
		honoured(fmt.Sprintf("Retry-After in seconds is waited for on %d", code), code, func() string { return "2" }, 2*time.Second-margin, 2*time.Second)
	}
	for name, layout := range map[string]string{"IMF-fixdate": http.TimeFormat, "RFC 850": "Monday, 02-Jan-06 15:04:05 GMT", "asctime": time.ANSIC} {
		// A date has whole seconds, so up to one is lost.
		honoured("Retry-After as "+name+" is waited for", 503, func() string { return time.Now().Add(3 * time.Second).UTC().Format(layout) }, 2*time.Second-margin, 3*time.Second)
	}
	for name, value := range map[string]string{
		"of zero": "0", "negative": "-100", "in the past": "Mon, 01 Jan 2001 00:00:00 GMT", "with a fraction": "1000.5", "with a unit": "1000s",
		"in words": "later", "empty": "", "in another date format": "2099-01-01T00:00:00Z", "with an impossible date": "Mon, 45 Jan 2099 00:00:00 GMT", "signed": "+1000",
	} {
		out = append(out, failed("Retry-After "+name+" does not delay", status(503, "Retry-After: "+value)))
	}
	for name, value := range map[string]string{"of an hour": "3600", "of a year": "31536000", "beyond any number": "99999999999999999999", "in a year": time.Now().AddDate(1, 0, 0).UTC().Format(http.TimeFormat)} {
		out = append(out, testCase{name: "Retry-After " + name + " is waited for", attempts: 1, answers: []answer{status(503, "Retry-After: "+value), ok}, longer: time.Second})
	}
	return out
}

func redirectCases() (out []testCase) {
	away := func(code int, location func(*exchange) string) answer {
		return func(x *exchange) bool { return status(code, "Location: "+location(x))(x) }
	}
	other := func(x *exchange) string { return "http://" + x.other.Addr().String() + "/" }
	for _, code := range []int{300, 301, 302, 303, 305, 307, 308} {
		out = append(out, failed(fmt.Sprintf("redirect %d is not followed", code), away(code, other)))
	}
	for name, location := range map[string]string{
		"to itself": path, "without an address": "", "to a path": "elsewhere", "to a file": "file:///etc/passwd", "to nonsense": "http://[::1", "to the metadata service": "http://169.254.169.254/latest/meta-data/", "to a script": "javascript:alert(1)",
	} {
		out = append(out, failed("redirect "+name+" is not followed", status(302, "Location: "+location)))
	}
	out = append(out,
		testCase{name: "a chain of redirects is failures", attempts: wholePlan, answers: []answer{away(301, other), away(302, other), away(307, other), away(308, other)}},
		failed("a redirect without Location is a failure", status(302)),
		delivered("Location on a delivery is not followed", away(201, other)),
		delivered("Refresh on a delivery is not followed", func(x *exchange) bool { return status(200, "Refresh: 0; url="+other(x))(x) }),
		failed("Content-Location on a failure is not followed", func(x *exchange) bool { return status(500, "Content-Location: "+other(x))(x) }),
		failed("Alt-Svc is not followed to another server", func(x *exchange) bool {
			return status(500, fmt.Sprintf(`Alt-Svc: http/1.1="%s"`, x.other.Addr()))(x)
		}),
	)
	return out
}
