package sdk

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/guildhall-dev/guildhall/plugins/sdk/pluginpb"
)

// HTTP is a client for the hosts that the manifest names and the organisation
// granted; a plugin has no network of its own. Bodies have at most 1 MiB each way,
// a request takes 30 s at most (10 s without a deadline), and redirects are
// answers like others.
func (c *Call) HTTP() *http.Client {
	return &http.Client{
		Transport:     transport{c},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// ErrTruncated is what reading a longer answer than 1 MiB ends with.
var ErrTruncated = errors.New("the answer is longer than 1 MiB")

type transport struct{ c *Call }

// RoundTrip sends a request through the host.
func (t transport) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		var err error
		body, err = io.ReadAll(r.Body)
		_ = r.Body.Close()
		if err != nil {
			return nil, err
		}
	}
	ask := &pluginpb.FetchRequest{Method: r.Method, Url: r.URL.String(), Headers: headers(r.Header), Body: body}
	if deadline, ok := r.Context().Deadline(); ok {
		left := time.Until(deadline)
		ask.TimeoutSeconds = int32(min(30, max(1, (left+time.Second-1)/time.Second)))
	}
	a, err := t.c.host.Fetch(t.c.granted(r.Context()), ask)
	if err != nil {
		return nil, hostError("sdk.HTTP", err)
	}
	var content io.Reader = bytes.NewReader(a.GetBody())
	length := int64(len(a.GetBody()))
	if a.GetTruncated() {
		content, length = io.MultiReader(content, failing{ErrTruncated}), -1
	}
	return &http.Response{
		Status: fmt.Sprintf("%d %s", a.GetStatus(), http.StatusText(int(a.GetStatus()))), StatusCode: int(a.GetStatus()),
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: header(a.GetHeaders()), Body: io.NopCloser(content), ContentLength: length, Request: r,
	}, nil
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }
