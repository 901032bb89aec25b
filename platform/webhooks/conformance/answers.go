package conformance

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// answer is what the receiver does to one request. It returns whether the
// connection stays open for another.
type answer func(*exchange) bool

// status answers with an empty body and keeps the connection.
func status(code int, headers ...string) answer {
	return func(x *exchange) bool {
		length := "Content-Length: 0\r\n"
		if code == http.StatusNoContent || code == http.StatusNotModified || code < 200 {
			length = ""
		}
		return send(x, fmt.Sprintf("HTTP/1.1 %03d Some Words\r\n%s%s\r\n", code, length, lines(headers)))
	}
}

func lines(headers []string) string {
	if len(headers) == 0 {
		return ""
	}
	return strings.Join(headers, "\r\n") + "\r\n"
}

// ok is what every script ends with.
func ok(x *exchange) bool { return status(200)(x) }

// send writes and keeps the connection.
func send(x *exchange, s string) bool {
	_, err := io.WriteString(x.conn, s)
	return err == nil
}

// keep answers with these bytes and takes the next request on the same connection.
func keep(s string) answer { return func(x *exchange) bool { return send(x, s) } }

// end answers with these bytes and closes the connection.
func end(s string) answer {
	return func(x *exchange) bool {
		send(x, s)
		return false
	}
}

// halfEnd answers with these bytes, says that no more come, and leaves the rest to the sender.
func halfEnd(s string) answer {
	return func(x *exchange) bool {
		send(x, s)
		x.raw.(*net.TCPConn).CloseWrite()
		x.gone()
		return false
	}
}

// crash answers with these bytes and resets the connection.
func crash(s string) answer {
	return func(x *exchange) bool {
		send(x, s)
		x.reset()
		return false
	}
}

// hang answers with these bytes and says no more.
func hang(s string) answer {
	return func(x *exchange) bool {
		send(x, s)
		x.gone()
		return false
	}
}

// drip answers with these bytes, and then with a byte at a time for as long as
// the sender listens.
func drip(first, then string) answer {
	return func(x *exchange) bool {
		send(x, first)
		x.pour(then, x.profile.Timeout/20, 0)
		return false
	}
}

// flood answers with these bytes and then with more, without an end, and
// complains where the sender takes more than most of it.
func flood(first, then string, most int) answer {
	return func(x *exchange) bool {
		send(x, first)
		x.pour(strings.Repeat(then, 1+4096/len(then)), 0, most)
		return false
	}
}

// pour writes again and again until the sender has enough.
func (x *exchange) pour(what string, every time.Duration, most int) {
	start, sent := time.Now(), 0
	tick := time.NewTicker(max(every, time.Microsecond))
	defer tick.Stop()
	for {
		n, err := io.WriteString(x.conn, what)
		if sent += n; err != nil {
			return
		}
		switch held := time.Since(start); {
		case held > x.profile.Timeout+x.profile.Slack+2*time.Second:
			x.complain("it listened for %v, and its limit is %v", held, x.profile.Timeout)
			return
		case most > 0 && sent > most:
			x.complain("it took %d bytes", sent)
			return
		}
		select {
		case <-tick.C:
		case <-x.done:
			return
		}
	}
}

// chunked is a body in chunks.
func chunked(parts ...string) string {
	var b strings.Builder
	b.WriteString("Transfer-Encoding: chunked\r\n\r\n")
	for _, p := range parts {
		fmt.Fprintf(&b, "%x\r\n%s\r\n", len(p), p)
	}
	return b.String()
}

const lastChunk = "0\r\n\r\n"

// sized is a whole answer with a body of n bytes.
func sized(code, n int, headers ...string) string {
	return fmt.Sprintf("HTTP/1.1 %d Some Words\r\nContent-Length: %d\r\n%s\r\n%s", code, n, lines(headers), bytes.Repeat([]byte("x"), n))
}
