package conformance

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"strings"
)

// zipped is n zeros, compressed.
func zipped(n int) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	w.Write(make([]byte, n))
	w.Close()
	return b.String()
}

const (
	okLine   = "HTTP/1.1 200 OK\r\n"
	failLine = "HTTP/1.1 500 No\r\n"
	closing  = failLine + "Connection: close\r\nContent-Length: 0\r\n\r\n"
	mebibyte = 1 << 20
)

func bodyCases() []testCase {
	small, bomb := zipped(100), zipped(32*mebibyte)
	gz := func(line, body string) string {
		return fmt.Sprintf("%sContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s", line, len(body), body)
	}
	return []testCase{
		delivered("a body is a delivery", keep(sized(200, 100))),
		delivered("a body of 16 KiB is a delivery", keep(sized(200, 16<<10))),
		delivered("a body of 1 MiB is a delivery", keep(sized(200, mebibyte))),
		failed("a body of 1 MiB on a failure", keep(sized(500, mebibyte))),
		delivered("a body without an end is a delivery once enough came", flood(okLine+"Connection: close\r\n\r\n", "x", 64*mebibyte)),
		delivered("chunks without an end are a delivery once enough came", flood(okLine+"Transfer-Encoding: chunked\r\n\r\n", "1\r\nx\r\n", 64*mebibyte)),
		failed("a body without an end on a failure", flood(failLine+"Connection: close\r\n\r\n", "x", 64*mebibyte)),
		delivered("chunks", keep(okLine+chunked("one", "two")+lastChunk)),
		delivered("chunks with extensions and trailers", keep(okLine+"Trailer: X-A\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\none\r\n0\r\nX-A: b\r\n\r\n")),
		delivered("an empty body in chunks", keep(okLine+chunked()+lastChunk)),
		failed("chunks on a failure", keep(failLine+chunked("one")+lastChunk)),
		failed("chunks that break off", end(okLine+chunked("one"))),
		failed("chunks that break off within one", end(okLine+"Transfer-Encoding: chunked\r\n\r\nff\r\nabc")),
		failed("a chunk of no size", end(okLine+"Transfer-Encoding: chunked\r\n\r\nxyz\r\nabc\r\n0\r\n\r\n")),
		failed("a chunk of a negative size", end(okLine+"Transfer-Encoding: chunked\r\n\r\n-1\r\nabc\r\n0\r\n\r\n")),
		failed("a chunk longer than it says", end(okLine+"Transfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n0\r\n\r\n")),
		failed("a body shorter than it says", end(okLine+"Content-Length: 100\r\n\r\nabc")),
		failed("no body where one is promised", end(okLine+"Content-Length: 1\r\n\r\n")),
		failed("a body that is reset", crash(okLine+"Content-Length: 100\r\n\r\nabc")),
		failed("a body that never comes", hang(okLine+"Content-Length: 100\r\n\r\n")),
		failed("a body that stops", hang(okLine+"Content-Length: 100\r\n\r\nabc")),
		failed("a body in drips", drip(okLine+"Content-Length: 10000\r\n\r\n", "x")),
		failed("chunks in drips", drip(okLine+"Transfer-Encoding: chunked\r\n\r\n", "1\r\nx\r\n")),
		delivered("a body until the connection closes", end(okLine+"\r\nabc")),
		delivered("204 with a body", end("HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\nabc")),
		delivered("205 with a body", keep("HTTP/1.1 205 Reset Content\r\nContent-Length: 3\r\n\r\nabc")),
		delivered("gzip", keep(gz(okLine, small))),
		failed("gzip on a failure", keep(gz(failLine, small))),
		delivered("gzip that is none", keep(gz(okLine, "this is no gzip"))),
		delivered("a bomb of gzip", keep(gz(okLine, bomb))),
		delivered("an encoding that nobody knows", keep(okLine+"Content-Encoding: x-unknown\r\nContent-Length: 3\r\n\r\nabc")),
		delivered("bytes that are no text", keep(okLine+"Content-Type: text/plain\r\nContent-Length: 6\r\n\r\n\x00\xff\xfe\x80\xc0\x00")),
		// What is sent too much is not the answer to the next attempt.
		failed("a second answer that nobody asked for", keep(failLine+"Content-Length: 0\r\n\r\n"+okLine+"Content-Length: 0\r\n\r\n")),
		failed("more body than it says on a failure", keep(failLine+"Content-Length: 1\r\n\r\nabc"+okLine+"Content-Length: 0\r\n\r\n")),
	}
}

func headerCases() []testCase {
	return []testCase{
		delivered("many headers", keep(okLine+strings.Repeat("X-A: b\r\n", 500)+"Content-Length: 0\r\n\r\n")),
		delivered("a long header", keep(okLine+"X-A: "+strings.Repeat("b", 8000)+"\r\nContent-Length: 0\r\n\r\n")),
		failed("headers without an end", flood(okLine, "X-A: bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\r\n", 64*mebibyte)),
		failed("a header without an end", flood(okLine+"X-A: ", "b", 64*mebibyte)),
		failed("a status line without an end", flood("HTTP/1.1 200 ", "b", 64*mebibyte)),
		failed("headers that stop", hang(okLine+"X-A: b\r\n")),
		failed("headers in drips", drip(okLine, "X-A: b\r\n")),
		failed("a header in drips", drip(okLine+"X-A: ", "b")),
		failed("no answer at all", hang("")),
		failed("half a status line", hang("HTTP/1.1 2")),
		delivered("continue, and then an answer", keep("HTTP/1.1 100 Continue\r\n\r\n"+okLine+"Content-Length: 0\r\n\r\n")),
		delivered("processing, early hints, and then an answer", keep("HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n"+okLine+"Content-Length: 0\r\n\r\n")),
		failed("continue, and then a failure", keep("HTTP/1.1 100 Continue\r\n\r\n"+failLine+"Content-Length: 0\r\n\r\n")),
		failed("continue, and then nothing", hang("HTTP/1.1 100 Continue\r\n\r\n")),
		failed("continue without an end", flood("", "HTTP/1.1 100 Continue\r\n\r\n", 64*mebibyte)),
		failed("another protocol", hang("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")),
		delivered("no reason behind the status", keep("HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n")),
		delivered("an empty reason behind the status", keep("HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n")),
		delivered("header names in any case", keep(okLine+"cONTENT-lENGTH: 0\r\n\r\n")),
		delivered("Content-Length twice and the same", keep(okLine+"Content-Length: 0\r\nContent-Length: 0\r\n\r\n")),
		delivered("HTTP/1.0", end("HTTP/1.0 200 OK\r\n\r\nabc")),
		delivered("HTTP/1.0 that keeps the connection", keep("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n")),
		failed("HTTP/1.0 on a failure", end("HTTP/1.0 500 No\r\n\r\nabc")),
	}
}

func connectionCases() []testCase {
	refuse := func(x *exchange) bool { x.reset(); return false }
	leave := func(*exchange) bool { return false }
	silent := func(x *exchange) bool { x.gone(); return false }
	atFirst := func(name string, meet func(*exchange) bool) testCase {
		c := delivered(name, ok)
		c.connections, c.hidden, c.connect = 2, true, []func(*exchange) bool{meet, nil}
		return c
	}
	refused := delivered("a port that is closed is tried again", ok)
	refused.closed, refused.hidden, refused.later = true, true, (*receiver).listen
	return []testCase{
		refused,
		atFirst("a reset before the request", refuse),
		atFirst("an end before the request", leave),
		failed("a receiver that takes the request and says nothing", silent),
		failed("a reset before the headers", crash("")),
		failed("a reset amid the status line", crash("HTTP/1.1 20")),
		failed("a reset amid the headers", crash(okLine+"X-A: b\r\n")),
		failed("an end before the headers", end("")),
		failed("an end amid the status line", end("HTTP/1.1 20")),
		failed("an end amid the headers", end(okLine+"X-A: b\r\n")),
		failed("a half end before the headers", halfEnd("")),
		failed("a half end amid the body", halfEnd(okLine+"Content-Length: 100\r\n\r\nabc")),
		delivered("a half end after the answer", halfEnd(okLine+"Content-Length: 3\r\n\r\nabc")),
		delivered("an answer that closes the connection", end(okLine+"Connection: close\r\nContent-Length: 0\r\n\r\n")),
		failed("a failure that closes the connection", end(closing)),
		failed("a failure on a connection that closes without a word", end(failLine+"Content-Length: 0\r\n\r\n")),
		failed("a failure on a connection that is reset afterwards", crash(failLine+"Content-Length: 0\r\n\r\n")),
		{name: "a connection that is kept is used or not, both are right", attempts: wholePlan, answers: []answer{status(500)}},
	}
}

func malformedCases() (out []testCase) {
	for name, bytes := range map[string]string{
		"nothing but an empty line": "\r\n\r\n", "a banner of another protocol": "220 mail.example ESMTP\r\n\r\n", "bytes that are no text": "\x00\x01\x02\xff\xfe\r\n\r\n",
		"a status of letters": "HTTP/1.1 OK 200\r\nContent-Length: 0\r\n\r\n", "a status of two digits": "HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n", "a status of four digits": "HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n",
		"a negative status": "HTTP/1.1 -20 OK\r\nContent-Length: 0\r\n\r\n", "no status": "HTTP/1.1\r\nContent-Length: 0\r\n\r\n", "another name of the protocol": "HTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
		"a shout of a protocol": "ICY 200 OK\r\n\r\n", "a body without headers": "<html>200 OK</html>", "a version that is none": "HTTP/x.y 200 OK\r\nContent-Length: 0\r\n\r\n",
		"a header without a colon": okLine + "this is no header\r\nContent-Length: 0\r\n\r\n", "a header without a name": okLine + ": b\r\nContent-Length: 0\r\n\r\n",
		"a Content-Length of letters": okLine + "Content-Length: ten\r\n\r\n", "a negative Content-Length": okLine + "Content-Length: -1\r\n\r\n", "two Content-Lengths": okLine + "Content-Length: 0\r\nContent-Length: 5\r\n\r\nabcde",
		"an endless Content-Length": okLine + "Content-Length: 99999999999999999999999\r\n\r\n", "a transfer coding that nobody knows": okLine + "Transfer-Encoding: x-unknown\r\n\r\nabc",
		"a TLS alert": "\x15\x03\x01\x00\x02\x02\x28", "the preface of HTTP/2": "\x00\x00\x00\x04\x00\x00\x00\x00\x00",
	} {
		out = append(out, failed("malformed: "+name, end(bytes)))
	}
	return out
}
