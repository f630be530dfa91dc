package proxy

import (
	"bytes"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// frames speaks HTTP/2 by hand inside a tunnel.
type frames struct {
	*wire
	*http2.Framer
	settings *http2.SettingsFrame // the server's
}

// frames opens a tunnel and exchanges the first settings.
func (r *rig) frames(own ...http2.Setting) *frames {
	r.t.Helper()
	w := r.tunnelOf(r.upstream.authority, "example.com", "h2")
	w.send("%s", http2.ClientPreface)
	f := &frames{wire: w, Framer: http2.NewFramer(w.Conn, w.r)}
	f.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	if err := f.WriteSettings(own...); err != nil {
		r.t.Fatal(err)
	}
	first, err := f.ReadFrame()
	if err != nil {
		r.t.Fatal(err)
	}
	f.settings, _ = first.(*http2.SettingsFrame)
	return f
}

// request sends a request without a body: pairs of names and values behind the
// method, the scheme and the path.
func (f *frames) request(stream uint32, path string, pairs ...string) error {
	var b bytes.Buffer
	enc := hpack.NewEncoder(&b)
	for i, pairs := 0, append([]string{":method", "GET", ":scheme", "https", ":path", path}, pairs...); i < len(pairs); i += 2 {
		_ = enc.WriteField(hpack.HeaderField{Name: pairs[i], Value: pairs[i+1]}) // a Buffer does not fail
	}
	return f.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: b.Bytes(), EndStream: true, EndHeaders: true})
}

// answer reads until the stream is answered: a status, or how it or the whole
// connection ended.
func (f *frames) answer(stream uint32) string {
	for {
		frame, err := f.ReadFrame()
		switch frame := frame.(type) {
		case nil:
			f.t.Logf("stream %d: %v", stream, err)
			return "closed"
		case *http2.MetaHeadersFrame:
			if frame.StreamID == stream {
				return frame.PseudoValue("status")
			}
		case *http2.RSTStreamFrame:
			if frame.StreamID == stream {
				return frame.ErrCode.String()
			}
		case *http2.GoAwayFrame:
			if frame.ErrCode != http2.ErrCodeNo {
				return frame.ErrCode.String()
			}
		}
	}
}

// HM-19: a request names one authority. Where :authority and Host differ, or one
// of them comes twice, nobody guesses.
func TestOneAuthorityOverHTTP2(t *testing.T) {
	r := newRig(t, echo)
	a := r.upstream.authority
	for id, c := range map[string]struct {
		pairs []string
		want  string
	}{
		"alike":              {[]string{":authority", a, "host", a}, "200"},
		"Host alone":         {[]string{"host", a}, "200"},
		"Host of another":    {[]string{":authority", a, "host", "evil.test"}, "400"},
		"Host without port":  {[]string{":authority", a, "host", "example.com"}, "400"},
		"Host in upper case": {[]string{":authority", a, "host", strings.ToUpper(a)}, "400"},
		"empty Host":         {[]string{":authority", a, "host", ""}, "400"},
		"two Hosts":          {[]string{":authority", a, "host", a, "host", "evil.test"}, "400"},
		"two Hosts alike":    {[]string{":authority", a, "host", a, "host", a}, "400"},
		"two Hosts alone":    {[]string{"host", a, "host", "evil.test"}, "400"},
		"two authorities":    {[]string{":authority", a, ":authority", "evil.test"}, "PROTOCOL_ERROR"},
		"another authority":  {[]string{":authority", "evil.test", "host", a}, "400"},
		"another in both":    {[]string{":authority", "evil.test", "host", "evil.test"}, "421"},
	} {
		before := len(r.upstream.seen())
		f := r.frames()
		if err := f.request(1, "/", c.pairs...); err != nil {
			t.Fatal(err)
		}
		if got := f.answer(1); got != c.want {
			t.Errorf("HM-19 %s: answered %s, want %s", id, got, c.want)
		}
		seen := r.upstream.seen()[before:]
		if (len(seen) == 1) != (c.want == "200") || len(seen) == 1 && seen[0].Host != a {
			t.Errorf("HM-19 %s: %d requests left", id, len(seen))
		}
	}
}

// RE-07: misuse of HTTP/2 costs a runner its connection, or itself only: no more
// of its requests are under way than its streams may be, and nothing of it stays.
func TestHTTP2IsNotMisused(t *testing.T) {
	var now, most atomic.Int64
	r := newRig(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/fine" {
			return
		}
		if n := now.Add(1); n > most.Load() {
			most.Store(n)
		}
		defer now.Add(-1)
		select {
		case <-r.Context().Done():
		case <-time.After(10 * time.Second):
		}
	})
	authority := []string{":authority", r.upstream.authority}
	header := http2.HeadersFrameParam{StreamID: 1} // without an end
	fields := bytes.Repeat([]byte("\x00\x01x\x01y"), 3000)
	c := r.client(true)
	fine := func(id string) {
		if got := r.get(c, r.url("/fine")); got.StatusCode != 200 {
			t.Errorf("RE-07 %s: the next runner is answered %d", id, got.StatusCode)
		}
	}
	fine("before")
	r.proxy = r.narrow()
	calm := runtime.NumGoroutine()
	for _, misuse := range []struct {
		id    string
		own   []http2.Setting
		times uint32
		send  func(f *frames, n uint32) error // for the n-th time
		then  string                          // what comes of the next request
	}{
		{"rapid reset", nil, 8 * maxStreams, func(f *frames, n uint32) error {
			_ = f.request(2*n+1, "/", authority...)
			return f.WriteRSTStream(2*n+1, http2.ErrCodeCancel)
		}, "200 ENHANCE_YOUR_CALM"},
		{"too many streams", nil, maxStreams, func(f *frames, n uint32) error {
			return f.request(2*n+1, "/", authority...)
		}, "REFUSED_STREAM"},
		{"endless header", nil, 2000, func(f *frames, n uint32) error {
			if n == 0 {
				return f.WriteHeaders(header)
			}
			return f.WriteContinuation(1, false, fields)
		}, "PROTOCOL_ERROR ENHANCE_YOUR_CALM closed"},
		{"pings", nil, 2 << 20, func(f *frames, _ uint32) error { return f.WritePing(false, [8]byte{}) }, "ENHANCE_YOUR_CALM closed"},
		{"settings", nil, 3000, func(f *frames, _ uint32) error { return f.WriteSettings() }, "200 ENHANCE_YOUR_CALM closed"},
		{"frames of no size", []http2.Setting{{ID: http2.SettingMaxFrameSize, Val: 0}}, 0, nil, "PROTOCOL_ERROR"},
	} {
		f := r.frames(misuse.own...)
		if v, ok := f.settings.Value(http2.SettingMaxConcurrentStreams); !ok || v != maxStreams {
			t.Errorf("RE-07: %d streams are allowed", v)
		}
		n, err := uint32(0), error(nil)
		for ; n < misuse.times && err == nil; n++ {
			err = misuse.send(f, n)
		}
		_ = f.request(2*n+1, "/fine", authority...) // the connection may be gone
		if got := f.answer(2*n + 1); !strings.Contains(misuse.then, got) {
			t.Errorf("RE-07 %s: after %d times (%v) the next request ends as %s, want %s", misuse.id, n, err, got, misuse.then)
		}
		_ = f.Close()
		waitFor(t, func() bool { return now.Load() == 0 })
		fine(misuse.id)
	}
	if n := most.Load(); n > maxStreams {
		t.Errorf("RE-07: %d requests were under way at once", n)
	}
	start := time.Now()
	waitFor(t, func() bool { return runtime.NumGoroutine() <= calm+5 && idleCPU(t) })
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("RE-07: calm came after %v", took)
	}
}

// narrow has the proxy listen at an address whose connections buffer little of
// what their runner does not read.
func (r *rig) narrow() string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		r.t.Fatal(err)
	}
	go func() { _ = r.srv.Serve(narrowListener{ln}, "") }() // ends with the rig
	return ln.Addr().String()
}

type narrowListener struct{ net.Listener }

// Accept implements net.Listener.
func (l narrowListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		err = c.(*net.TCPConn).SetWriteBuffer(4 << 10)
	}
	return c, err
}

// idleCPU reports whether the process does next to nothing for a while.
func idleCPU(t *testing.T) bool {
	spent := func() time.Duration {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			t.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	before := spent()
	time.Sleep(100 * time.Millisecond)
	return spent()-before < 30*time.Millisecond
}
