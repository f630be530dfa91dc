package proxy

import (
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
)

// junk would make lines of its own in a log that wrote it as it is, or colours.
const junk = "x\nlevel=ERROR msg=forged\r\n\x1b[31m\x00\u202e"

// RE-14: what a runner writes into its handshake and its request makes no line of
// the log, and ends none.
func TestNobodyWritesTheLog(t *testing.T) {
	r := newRig(t, echo)
	a := r.upstream.authority
	connected := func() *wire {
		w := r.dial()
		w.send("CONNECT %s HTTP/1.1\r\nHost: x\r\nProxy-Authorization: Basic %s\r\n\r\n", a, auth64)
		w.answer("CONNECT")
		return w
	}
	failures := 0
	for id, hello := range map[string][]byte{
		"ALPN":                   clientHello(extension(16, vector(2, vector(1, []byte(junk))))),
		"compressed certificate": clientHello(extension(27, vector(1, []byte(junk))), extension(16, vector(2, vector(1, []byte(junk))))),
		"server name":            clientHello(extension(0, vector(2, append([]byte{0}, vector(2, []byte(junk))...))), extension(16, vector(2, vector(1, []byte("h3"))))),
		"broken ALPN":            clientHello(extension(16, []byte(junk))),
	} {
		w := connected()
		_, _ = w.Write(hello)
		if b, err := io.ReadAll(w.r); err != nil || !strings.HasPrefix(string(b), "\x15") {
			t.Errorf("RE-14 %s: answered %q, %v; want an alert", id, b, err)
		}
		failures++
		waitFor(t, func() bool {
			return strings.Count(r.log.String(), "TLS handshake inside its tunnel failed") == failures
		})
	}
	named := tls.Client(connected().Conn, &tls.Config{ServerName: junk, RootCAs: r.roots, InsecureSkipVerify: true})
	fmt.Fprintf(named, "GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", a)
	if b, _ := io.ReadAll(named); !strings.HasPrefix(string(b), "HTTP/1.1 421") {
		t.Errorf("RE-14 SNI: answered %.100q", b)
	}
	w := r.tunnel(a, "example.com")
	w.send("GET /%%0aforged%%1b%%E2%%80%%AE HTTP/1.1\r\nHost: %s\r\nSallyport-Credential: \u202e\r\nConnection: close\r\n\r\n", a)
	w.answer("GET")
	waitFor(t, func() bool { return strings.Contains(r.log.String(), "forged%1b") })
	for line := range strings.Lines(r.log.String()) {
		if !strings.HasPrefix(line, "time=") || strings.ContainsFunc(strings.TrimSuffix(line, "\n"), func(c rune) bool { return c < ' ' || c == '\u202e' }) {
			t.Errorf("RE-14: the log has the line %q", line)
		}
	}
}

// clientHello is the first record of TLS 1.2.
func clientHello(extensions ...[]byte) []byte {
	extensions = append(extensions, extension(10, vector(2, []byte{0, 29})), extension(13, vector(2, []byte{4, 3})))
	body := slices.Concat([]byte{3, 3}, make([]byte, 32), vector(1, nil), vector(2, []byte{0xc0, 0x2b}), vector(1, []byte{0}), vector(2, slices.Concat(extensions...)))
	return slices.Concat([]byte{recordHandshake, 3, 1}, vector(2, append([]byte{1}, vector(3, body)...)))
}

func extension(kind uint16, data []byte) []byte {
	return append(binary.BigEndian.AppendUint16(nil, kind), vector(2, data)...)
}

// vector puts the length of data before it, in so many bytes.
func vector(size int, data []byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(data)))[4-size:], data...)
}
