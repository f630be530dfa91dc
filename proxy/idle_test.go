package proxy

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/sallyport/sallyport/internal/fault"
)

func TestIdleWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ended atomic.Bool
		w := &idleWatch{limit: time.Minute, end: func() { ended.Store(true) }}
		for range 5 { // moves in time
			w.begin()
			time.Sleep(50 * time.Second)
			w.done()
		}
		time.Sleep(time.Hour) // nothing waits
		w.begin()
		time.Sleep(59 * time.Second)
		if ended.Load() {
			t.Error("it ended before its time")
		}
		time.Sleep(2 * time.Second)
		if !ended.Load() {
			t.Error("it did not end")
		}
		stopped := &idleWatch{limit: time.Minute, end: func() { t.Error("a stopped one ended") }}
		stopped.begin()
		stopped.stop()
		stopped.begin()
		time.Sleep(time.Hour)
	})
}

// RE-03: an upload that stands still is given up and told, on both protocols.
func TestUploadThatStandsStill(t *testing.T) {
	r := newRig(t, echo, func(r *rig) { r.idle = 1500 * time.Millisecond })
	for _, h2 := range []bool{false, true} {
		body, end := io.Pipe()
		go func() { _, _ = io.WriteString(end, "part") }()
		req, _ := http.NewRequest(http.MethodPost, r.url("/"), body)
		req.ContentLength = 100
		start := time.Now()
		wantFault(t, fmt.Sprintf("RE-03 h2=%v", h2), r.do(r.client(h2), req), fault.Timeout)
		if took := time.Since(start); took > 20*time.Second {
			t.Errorf("RE-03 h2=%v: it took %v", h2, took)
		}
		_ = end.Close()
	}
}

// RE-03: an answer that stands still looks cut.
func TestAnswerThatStandsStill(t *testing.T) {
	r := newRig(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "part")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}, func(r *rig) { r.idle = 1500 * time.Millisecond })
	for _, h2 := range []bool{false, true} {
		resp, err := r.client(h2).Get(r.url("/"))
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err == nil || string(b) != "part" {
			t.Errorf("RE-03 h2=%v: %q, %v", h2, b, err)
		}
	}
}

// RE-03: a runner that does not read its answer is not waited for, and neither
// is the upstream kept.
func TestRunnerThatDoesNotRead(t *testing.T) {
	gone := make(chan struct{})
	r := newRig(t, func(w http.ResponseWriter, r *http.Request) {
		defer close(gone)
		_, _ = io.Copy(w, io.LimitReader(blank{}, 1<<30))
	}, func(r *rig) { r.idle = 1500 * time.Millisecond })
	w := r.dial()
	w.send("GET http://%s/ HTTP/1.1\r\nHost: x\r\nProxy-Authorization: Basic %s\r\n\r\n", r.upstream.authority, auth64)
	select {
	case <-gone:
	case <-time.After(time.Minute):
		t.Error("RE-03: the download goes on")
	}
}

// SM-14: an early answer reaches a runner that has not sent its body yet.
func TestEarlyAnswer(t *testing.T) {
	for _, status := range []int{413, 401} {
		for _, scheme := range []string{"http", "tunnel"} {
			t.Run(fmt.Sprintf("SM-14 %d %s", status, scheme), func(t *testing.T) {
				t.Parallel()
				testEarlyAnswer(t, status, scheme)
			})
		}
	}
}

func testEarlyAnswer(t *testing.T, status int, scheme string) {
	r := newRig(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		fmt.Fprint(w, "no")
	})
	w, target := r.dial(), "http://"+r.upstream.authority
	if scheme == "tunnel" {
		w, target = r.tunnel(r.upstream.authority, "example.com"), ""
	}
	w.send("POST %s/ HTTP/1.1\r\nHost: %s\r\nProxy-Authorization: Basic %s\r\nContent-Length: 100\r\n\r\nabc", target, r.upstream.authority, auth64)
	_ = w.SetDeadline(time.Now().Add(30 * time.Second))
	resp, err := http.ReadResponse(w.r, nil)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(resp.Body); resp.StatusCode != status || string(b) != "no" || err != nil {
		t.Errorf("%d %q %v", resp.StatusCode, b, err)
	}
	if _, err := w.r.ReadByte(); !errors.Is(err, io.EOF) {
		t.Errorf("the connection is not closed: %v", err)
	}
}

// A runner that sends a long body before it reads gets its refusal.
func TestRefusalOfALongBody(t *testing.T) {
	r := newRig(t, echo)
	const size = 8 << 20
	for range 5 {
		w := r.dial()
		w.send("POST http://%s/ HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", r.upstream.authority, size)
		if _, err := io.CopyN(w.Conn, blank{}, size); err != nil {
			t.Fatalf("the upload is cut: %v", err)
		}
		wantFault(t, "SM-14", w.answer("POST"), fault.ProxyAuthRequired)
	}
}

// A refusal does not cost the runner its connection where the body is short and here.
func TestRefusalKeepsTheConnection(t *testing.T) {
	r := newRig(t, echo)
	w := r.tunnel(r.upstream.authority, "example.com")
	for range 2 {
		w.send("POST / HTTP/1.1\r\nHost: %s\r\nSallyport-Credential: no\r\nContent-Length: 5\r\n\r\nhello", r.upstream.authority)
		got := w.answer("POST")
		wantFault(t, "refused", got, fault.CredentialNotFound)
		if got.Close {
			t.Error("the connection is closed")
		}
	}
	w.send("POST / HTTP/1.1\r\nHost: %s\r\nSallyport-Credential: no\r\nContent-Length: 50\r\n\r\nhello", r.upstream.authority)
	got := w.answer("POST")
	wantFault(t, "half a body", got, fault.CredentialNotFound)
	if !got.Close || !w.closed() {
		t.Error("the rest of a body could be taken for a request")
	}
	w = r.tunnel(r.upstream.authority, "example.com")
	w.send("POST / HTTP/1.1\r\nHost: %s\r\nSallyport-Credential: no\r\nContent-Length: 50\r\nExpect: 100-continue\r\n\r\n", r.upstream.authority)
	wantFault(t, "SM-13", w.answer("POST"), fault.CredentialNotFound) // and no 100 before it
}

// A token that is refused before the runner has sent its body is refreshed, and
// the body goes to the second try.
func TestEarlyRefusalIsReplayed(t *testing.T) {
	var want atomic.Value
	want.Store("at-2")
	early := make(chan struct{}, 10)
	r, _ := oauthRig(t, &want, nil, func(w http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("Authorization") == "Bearer at-2" {
			return false
		}
		_ = http.NewResponseController(w).EnableFullDuplex()
		w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
		w.WriteHeader(http.StatusUnauthorized)
		_ = http.NewResponseController(w).Flush()
		early <- struct{}{}
		return true
	})
	for _, h2 := range []bool{false, true} {
		want.Store("at-2")
		body, end := io.Pipe()
		go func() {
			_, _ = io.WriteString(end, "first ")
			select {
			case <-early:
				time.Sleep(200 * time.Millisecond)
			case <-time.After(time.Second): // the second round has the new token at once
			}
			_, _ = io.WriteString(end, "second")
			_ = end.Close()
		}()
		req, _ := http.NewRequest(http.MethodPost, r.url("/"), body)
		if got := r.do(r.client(h2), req); got.StatusCode != 200 || got.body != "12 bytes" {
			t.Errorf("RS-08 h2=%v: %d %q", h2, got.StatusCode, got.body)
		}
	}
}

// A body that the runner breaks off or garbles is the runner's fault.
func TestBrokenBody(t *testing.T) {
	r := newRig(t, echo)
	w := r.tunnel(r.upstream.authority, "example.com")
	w.send("POST / HTTP/1.1\r\nHost: %s\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n", r.upstream.authority)
	got := w.answer("POST")
	wantFault(t, "SM-05", got, fault.InvalidRequest)
	if !got.Close || !w.closed() {
		t.Error("SM-05: what follows a broken body could be taken for a request")
	}
}

// What a 1xx answer brings does not change the final one.
func TestEarlyHints(t *testing.T) {
	r := newRig(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", "</x>")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Del("Link")
		w.Header()["Date"], w.Header()["Content-Type"] = nil, nil
		_, _ = io.WriteString(w, "<html>")
	})
	got := r.get(r.client(false), r.url("/"))
	if got.body != "<html>" || got.Header.Get("Content-Type") != "" || got.Header.Get("Date") != "" || got.Header.Get("Link") != "" {
		t.Errorf("%q %v", got.body, got.Header)
	}
}

// RE-12: an upgraded connection is logged as what it is, ends when it is idle,
// and is drained like a tunnel.
func TestUpgradedConnections(t *testing.T) {
	h := func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer c.CloseNow()
		for {
			typ, b, err := c.Read(r.Context())
			if err != nil || c.Write(r.Context(), typ, b) != nil {
				return
			}
		}
	}
	dial := func(r *rig, scheme string) *websocket.Conn {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		c, _, err := websocket.Dial(ctx, scheme+"://"+r.upstream.authority+"/ws", &websocket.DialOptions{HTTPClient: r.client(false)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.CloseNow() })
		if err := c.Write(ctx, websocket.MessageText, []byte("hi")); err != nil {
			t.Fatal(err)
		}
		if _, b, err := c.Read(ctx); err != nil || string(b) != "hi" {
			t.Fatalf("%q, %v", b, err)
		}
		return c
	}
	ends := func(c *websocket.Conn, id string) {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if _, _, err := c.Read(ctx); err == nil || ctx.Err() != nil {
			t.Errorf("%s: the connection stays open: %v", id, err)
		}
	}
	for _, scheme := range []string{"ws", "wss"} {
		r := newRig(t, h, func(r *rig) { r.idle = 1500 * time.Millisecond })
		ends(dial(r, scheme), "RE-12 idle "+scheme)
		waitFor(t, func() bool { return strings.Contains(r.log.String(), "status=101 outcome=ok") })

		r = newRig(t, h)
		c := dial(r, scheme)
		drained := make(chan error, 1)
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			drained <- r.srv.Drain(ctx)
		}()
		ends(c, "GP-21 drain "+scheme)
		if err := <-drained; err != nil {
			t.Errorf("GP-21 drain %s: %v", scheme, err)
		}
		if n := r.srv.tunnels.open.Load(); n != 0 {
			t.Errorf("GP-21 drain %s: %d tunnels are counted as open", scheme, n)
		}
	}
}

// A tunnel in which one side only speaks, and little, is not idle.
func TestTunnelOfFewBytes(t *testing.T) {
	tunnels := newTunnels()
	tunnels.limit = 2 * time.Second
	runner, near := tcpPair(t)
	far, upstream := tcpPair(t)
	done := make(chan int64, 1)
	go func() { done <- tunnels.relay(near, far) }()
	in := bufio.NewReader(runner)
	_ = runner.SetDeadline(time.Now().Add(time.Minute))
	for i := range 8 { // longer than the limit, all together
		time.Sleep(300 * time.Millisecond)
		_, _ = io.WriteString(upstream, "x\n")
		if _, err := in.ReadString('\n'); err != nil {
			t.Fatalf("message %d: %v", i, err)
		}
	}
	start := time.Now()
	if _, err := in.ReadString('\n'); err == nil || time.Since(start) > 20*time.Second {
		t.Errorf("an idle tunnel: %v after %v", err, time.Since(start))
	}
	if n := <-done; n != 16 {
		t.Errorf("%d bytes counted", n)
	}
}

// RE-10: a runner that has sent all still gets the rest.
func TestTunnelHalfClosed(t *testing.T) {
	tunnels := newTunnels()
	runner, near := tcpPair(t)
	far, upstream := tcpPair(t)
	go tunnels.relay(near, far)
	_, _ = io.WriteString(runner, "all")
	_ = runner.(*net.TCPConn).CloseWrite()
	_ = upstream.SetDeadline(time.Now().Add(30 * time.Second))
	if b, err := io.ReadAll(upstream); err != nil || string(b) != "all" {
		t.Fatalf("%q, %v", b, err)
	}
	_, _ = io.WriteString(upstream, "answer")
	_ = upstream.Close()
	_ = runner.SetDeadline(time.Now().Add(30 * time.Second))
	if b, err := io.ReadAll(runner); err != nil || string(b) != "answer" {
		t.Errorf("%q, %v", b, err)
	}
	waitFor(t, func() bool { return tunnels.open.Load() == 0 })
}

func tcpPair(t *testing.T) (net.Conn, net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	a, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	b, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = a.Close(), b.Close() })
	return a, b
}

// A call that speaks both ways at once, as gRPC does: each message passes as it
// comes, and the trailers of both sides arrive.
func TestTwoWayStream(t *testing.T) {
	r := newRig(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/grpc")
		w.Header().Set("Trailer", "Grpc-Status")
		_ = http.NewResponseController(w).Flush()
		in := bufio.NewReader(r.Body)
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				break
			}
			_, _ = io.WriteString(w, "echo "+line)
			_ = http.NewResponseController(w).Flush()
		}
		w.Header().Set("Grpc-Status", r.Trailer.Get("X-Sum"))
	})
	body, out := io.Pipe()
	req, _ := http.NewRequest(http.MethodPost, r.url("/svc/Call"), body)
	req.Header.Set("Te", "trailers")
	req.Trailer = http.Header{"X-Sum": nil}
	resp, err := r.client(true).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	in := bufio.NewReader(resp.Body)
	for _, word := range []string{"one\n", "two\n"} {
		_, _ = io.WriteString(out, word)
		if line, err := in.ReadString('\n'); err != nil || line != "echo "+word {
			t.Fatalf("%q, %v", line, err)
		}
	}
	req.Trailer.Set("X-Sum", "7")
	_ = out.Close()
	if rest, err := io.ReadAll(in); err != nil || len(rest) > 0 || resp.Trailer.Get("Grpc-Status") != "7" {
		t.Errorf("%q, %v, trailers %v", rest, err, resp.Trailer)
	}
	if up := r.upstream.seen()[0]; up.Header.Get("Te") != "trailers" || up.Header.Get("Authorization") != "Bearer "+canary {
		t.Errorf("the upstream saw %v", up.Header)
	}
}
