package proxy

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
)

// raw answers a request of HTTP/1.1 with text as it stands, and ends the connection.
func raw(w http.ResponseWriter, text string) {
	c, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	_, _ = io.WriteString(c, text)
	_ = c.Close()
}

// SM-16: what an upstream says to the connection, or to a proxy, ends at us in
// each of its answers; what it says to the runner passes.
func TestHopsEndHere(t *testing.T) {
	const (
		hops = "Connection: Upgrade, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nProxy-Connection: close\r\nTE: trailers\r\n" +
			"Proxy-Authenticate: Basic\r\nProxy-Authentication-Info: x\r\nProxy-Authorization: x\r\n"
		ends = "Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nWWW-Authenticate: Basic\r\nX-End: 1\r\n"
	)
	r := newRig(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/final":
			raw(w, "HTTP/1.1 200 OK\r\n"+hops+"Upgrade: h2c\r\n"+ends+"Content-Length: 2\r\n\r\nok")
		case "/early":
			raw(w, "HTTP/1.1 103 Early Hints\r\n"+hops+ends+"\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		case "/switched":
			raw(w, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: mine\r\n"+hops+ends+"\r\n")
		}
	})
	for path, status := range map[string]int{"/final": 200, "/early": 103, "/switched": 101} {
		w := r.tunnel(r.upstream.authority, "example.com")
		w.send("GET %s HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: mine\r\n\r\n", path, r.upstream.authority)
		got, err := http.ReadResponse(w.r, nil)
		if err != nil || got.StatusCode != status {
			t.Fatalf("SM-16 %s: %v, %v", path, got, err)
		}
		for _, name := range []string{"X-Hop", "Keep-Alive", "Proxy-Connection", "Te", "Proxy-Authenticate", "Proxy-Authentication-Info", "Proxy-Authorization"} {
			if v, ok := got.Header[name]; ok {
				t.Errorf("SM-16 %s: the runner saw %s: %q", path, name, v)
			}
		}
		if up := got.Header.Get("Upgrade"); (up == "mine") != (status == 101) || (got.Header.Get("Connection") == "Upgrade") != (status == 101) {
			t.Errorf("SM-16 %s: Upgrade is %q, Connection %q", path, up, got.Header["Connection"])
		}
		if len(got.Header["Set-Cookie"]) != 2 || got.Header.Get("Www-Authenticate") != "Basic" || got.Header.Get("X-End") != "1" {
			t.Errorf("SM-16 %s: the runner's own fields are lost: %v", path, got.Header)
		}
	}
}

// SM-17: fields of ours mean nothing in an upstream's answer. They pass, as all
// of it does; ours comes behind them, and nothing that we tell is taken from them.
func TestUpstreamSpeaksForItselfOnly(t *testing.T) {
	const forged = `sallyport; error=http_request_denied; details="no_credential"`
	r := newRig(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Proxy-Status", forged)
		w.Header().Set("Sallyport-Credential", "second")
		w.Header().Set("Content-Type", fault.ContentType)
		if r.URL.Path == "/401" {
			w.WriteHeader(http.StatusUnauthorized)
		}
		fmt.Fprint(w, `{"code":"no_credential"}`)
	}, func(r *rig) { r.store.Add("api/second", "api_key", "api_key", "second") })
	c := r.client(false)
	for path, want := range map[string]struct {
		outcome string
		status  []string
	}{
		"/200": {"status=200 outcome=ok", []string{forged}},
		"/401": {"status=401 outcome=upstream_4xx", []string{forged, fault.ReceivedStatus(401, fault.CredentialsRejected)}},
	} {
		got := r.get(c, r.url(path), "Sallyport-Credential", "main", "sallyport_credential", "second")
		if s := got.Header["Proxy-Status"]; strings.Join(s, ", ") != strings.Join(want.status, ", ") {
			t.Errorf("SM-17 %s: Proxy-Status is %q, want %q", path, s, want.status)
		}
		if got.Header.Get("Sallyport-Credential") != "second" || got.body != `{"code":"no_credential"}` {
			t.Errorf("SM-17 %s: the answer does not pass: %v %s", path, got.Header, got.body)
		}
		waitFor(t, func() bool { return strings.Contains(r.log.String(), "path="+path+" "+want.outcome) })
	}
	for _, up := range r.upstream.seen() {
		if up.Header.Get("Authorization") != "Bearer "+canary {
			t.Errorf("SM-17: the upstream chose the credential: %q", up.Header["Authorization"])
		}
		for name := range up.Header {
			if strings.HasPrefix(strings.ToLower(name), "sallyport") {
				t.Errorf("SM-17: the upstream saw %s", name)
			}
		}
	}
	if strings.Contains(r.log.String(), "no_credential") {
		t.Errorf("SM-17: the upstream's code is told as ours: %s", r.log)
	}
}

// RS-01: a redirect is the runner's business: it passes, and where it leads to is
// judged as any other request.
func TestRedirectsAreNotFollowed(t *testing.T) {
	evil := newRecording(t, echo)
	r := newRig(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", r.URL.Query().Get("to"))
		w.WriteHeader(atoi(r.URL.Path[1:]))
	}, func(r *rig) {
		r.config.Deny = true
		r.config.Callers[0].Allow = []Allow{{Paths: []string{"/*"}}}
	})
	c := r.client(false)
	for to, code := range map[string]fault.Code{ // what the next request comes to
		"https://" + evil.authority + "/x":      fault.NoRoute,
		"http://" + evil.authority + "/x":       fault.NoRoute,
		"https://example.com/x":                 fault.NoRoute, // another port
		r.url("/not/allowed"):                   fault.NotAllowed,
		"https://a@" + r.upstream.authority:     "",
		"//" + evil.authority + "/x?y=z#anchor": "",
	} {
		for _, status := range []int{301, 302, 303, 307, 308} {
			id := fmt.Sprintf("RS-01 %d to %s", status, to)
			req, _ := http.NewRequest(http.MethodPost, r.url(fmt.Sprintf("/%d?to=", status)), strings.NewReader("body"))
			req.URL.RawQuery += strings.NewReplacer("&", "%26", "#", "%23").Replace(to)
			got := r.do(c, req)
			if got.StatusCode != status || got.Header.Get("Location") != to {
				t.Errorf("%s: %d to %q", id, got.StatusCode, got.Header.Get("Location"))
			}
		}
		if code == "" {
			continue
		}
		w := r.dial() // each of them in absolute-form
		w.send("GET %s HTTP/1.1\r\nHost: x\r\nProxy-Authorization: Basic %s\r\n\r\n", to, auth64)
		wantFault(t, "RS-01 then "+to, w.answer("GET"), code)
	}
	if n := len(evil.seen()); n != 0 {
		t.Errorf("RS-01: %d requests went to the other host", n)
	}
	if n := len(r.upstream.seen()); n != 6*5 {
		t.Errorf("RS-01: %d requests for 30 answers", n)
	}
}

// RS-05: nothing is cached, and no field is added, taken or changed by which
// another cache would keep more or less than of the upstream's own answer.
func TestCachingIsNotOurs(t *testing.T) {
	answers := map[string]http.Header{
		"/public":  {"Cache-Control": {"public, max-age=60, s-maxage=600"}, "Age": {"7"}, "Expires": {"Thu, 01 Jan 2099 00:00:00 GMT"}, "Etag": {`"v1"`}},
		"/bare":    {},
		"/private": {"Cache-Control": {"private, no-store"}, "Pragma": {"no-cache"}},
		"/vary":    {"Vary": {"Authorization", "Accept, Origin"}, "Last-Modified": {"Thu, 01 Jan 1998 00:00:00 GMT"}},
		"/warning": {"Warning": {`110 - "stale"`}, "Cdn-Cache-Control": {"max-age=9"}, "Surrogate-Control": {"max-age=9"}},
		"/range":   {"Accept-Ranges": {"bytes"}, "Content-Range": {"bytes 0-1/9"}, "Etag": {`W/"v1"`}},
	}
	r := newRig(t, func(w http.ResponseWriter, r *http.Request) {
		for name, v := range answers[r.URL.Path] {
			w.Header()[name] = v
		}
		w.Header()["Date"], w.Header()["Content-Type"] = []string{"Thu, 01 Jan 1998 00:00:01 GMT"}, []string{"text/plain"}
		switch {
		case r.Header.Get("If-None-Match") != "":
			w.Header()["Content-Type"] = nil // net/http sends none with a 304
			w.WriteHeader(http.StatusNotModified)
		case r.Header.Get("Range") != "":
			w.WriteHeader(http.StatusPartialContent)
			fallthrough
		default:
			fmt.Fprint(w, "ok")
		}
	})
	direct := &http.Client{Transport: r.config.Upstream.Transport(nil, nil)}
	for path := range answers {
		for _, asked := range [][]string{nil, {"If-None-Match", `"v1"`}, {"Range", "bytes=0-1"}, {"Cache-Control", "max-age=600, only-if-cached"}} {
			want := r.get(direct, r.url(path), asked...)
			for _, h2 := range []bool{false, true, true} { // twice by one client too
				before := len(r.upstream.seen())
				got := r.get(r.client(h2), r.url(path), asked...)
				if got.StatusCode != want.StatusCode || got.body != want.body || !reflect.DeepEqual(got.Header, want.Header) {
					t.Errorf("RS-05 %s %v: %d %v %q, directly %d %v %q", path, asked, got.StatusCode, got.Header, got.body, want.StatusCode, want.Header, want.body)
				}
				seen := r.upstream.seen()
				if len(seen) != before+1 || (asked != nil && seen[before].Header.Get(asked[0]) != asked[1]) {
					t.Errorf("RS-05 %s %v: the upstream was asked %d times", path, asked, len(seen)-before)
				}
			}
		}
	}
}

// RS-06: a cookie that the upstream sets passes, as all of its answer does; one
// in the credential's place does not come back to it.
func TestCookiesPass(t *testing.T) {
	r := newRig(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Set-Cookie"] = []string{"session=theirs; Path=/; HttpOnly", "lang=en"}
	}, func(r *rig) {
		r.config.Providers.Get("api").Places = []provider.Place{{In: provider.InCookie, Name: "session", Value: "{api_key}"}}
	})
	got := r.get(r.client(false), r.url("/"), "Cookie", "session=theirs; lang=en")
	if want := []string{"session=theirs; Path=/; HttpOnly", "lang=en"}; !reflect.DeepEqual(got.Header["Set-Cookie"], want) {
		t.Errorf("RS-06: Set-Cookie is %q, want %q", got.Header["Set-Cookie"], want)
	}
	for _, name := range []string{"session", "lang"} {
		want := map[string]string{"session": canary, "lang": "en"}[name]
		if all := r.upstream.seen()[0].CookiesNamed(name); len(all) != 1 || all[0].Value != want {
			t.Errorf("RS-06: the upstream saw the cookies %v, want %s=%s", all, name, want)
		}
	}
}

// RS-07: an origin's WWW-Authenticate is for the runner, its 407 for nobody: it
// would have the runner send the upstream what is for us.
func TestChallenges(t *testing.T) {
	r := newRig(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Proxy-Authenticate", `Basic realm="evil"`)
		w.Header().Set("WWW-Authenticate", `Digest realm="api"`)
		w.WriteHeader(atoi(r.URL.Path[1:]))
	})
	for _, h2 := range []bool{false, true} {
		got := r.get(r.client(h2), r.url("/407"))
		wantFault(t, "RS-07 407", got, fault.UpstreamInvalid)
		if got.Header.Get("Proxy-Authenticate") != "" || got.Header.Get("WWW-Authenticate") != "" {
			t.Errorf("RS-07 h2=%v: a challenge passes: %v", h2, got.Header)
		}
		if got = r.get(r.client(h2), r.url("/401")); got.StatusCode != 401 || got.Header.Get("WWW-Authenticate") != `Digest realm="api"` || got.Header.Get("Proxy-Authenticate") != "" {
			t.Errorf("RS-07 h2=%v: %d %v", h2, got.StatusCode, got.Header)
		}
	}
	for _, up := range r.upstream.seen() {
		if up.Header.Get("Proxy-Authorization") != "" {
			t.Error("RS-07: the upstream saw Proxy-Authorization")
		}
	}
}

// RE-05: a body that would unpack to 10 GiB passes as it is, also where its first
// bytes are looked at, and a body packed twice is not unpacked once.
func TestPackedBodiesPass(t *testing.T) {
	bomb := bytes.Repeat(packed(t, make([]byte, 1<<20)), 10<<10)
	twice := packed(t, packed(t, []byte(`{"error":"token_expired"}`)))
	r := newRig(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Encoding", "gzip")
		if r.URL.Path == "/401" {
			w.WriteHeader(http.StatusUnauthorized)
		}
		if r.URL.Path == "/twice" {
			w.Header().Set("Content-Encoding", "gzip, gzip")
			_, _ = w.Write(twice)
			return
		}
		_, _ = w.Write(bomb)
	}, func(r *rig) {
		r.config.Providers.Get("api").Signals = []provider.Signal{{Status: 200, Body: "token_expired", Means: provider.Expired}}
	})
	for path, body := range map[string][]byte{"/200": bomb, "/401": bomb, "/twice": twice} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		start := time.Now()
		resp, err := r.client(false).Get(r.url(path))
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.New()
		n, err := io.Copy(sum, resp.Body)
		resp.Body.Close()
		runtime.ReadMemStats(&after)
		if want := sha256.Sum256(body); err != nil || n != int64(len(body)) || !bytes.Equal(sum.Sum(nil), want[:]) {
			t.Errorf("RE-05 %s: %d bytes of %d, %v", path, n, len(body), err)
		}
		if !strings.HasPrefix(resp.Header.Get("Content-Encoding"), "gzip") {
			t.Errorf("RE-05 %s: Content-Encoding is %q", path, resp.Header.Get("Content-Encoding"))
		}
		if grown := after.TotalAlloc - before.TotalAlloc; grown > 32<<20 || time.Since(start) > time.Minute {
			t.Errorf("RE-05 %s: %d MiB were allocated in %v", path, grown>>20, time.Since(start))
		}
	}
	for line := range strings.Lines(r.log.String()) {
		if strings.Contains(line, "path=/twice") && strings.Contains(line, "told=") {
			t.Errorf("RE-05: something was read in what is packed twice: %s", line)
		}
	}
}

func packed(t *testing.T, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(b); err != nil || w.Close() != nil {
		t.Fatal("gzip fails")
	}
	return out.Bytes()
}
