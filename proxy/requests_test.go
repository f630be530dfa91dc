package proxy

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/fault"
)

// passed puts a request through the memory alone.
func (s *Server) passed(id, path, outcome string) {
	x := &exchange{id: id, method: "GET", host: "api.test:443", path: path, start: time.Now()}
	s.remember(&http.Request{Method: "GET"}, x, 200, outcome, time.Millisecond)
}

func idsOf(all []Request) (ids []string) {
	for _, r := range all {
		ids = append(ids, r.ID)
	}
	return ids
}

func TestFailuresOutliveGoodRequests(t *testing.T) {
	var s Server
	for i := range 3 {
		s.passed("bad"+strconv.Itoa(i), "/x", "upstream_5xx")
	}
	for i := range 10_000 {
		s.passed("good"+strconv.Itoa(i), "/x", "ok")
	}
	all := s.Requests()
	if len(all) != keptRequests+3 {
		t.Fatalf("%d requests are kept, want %d and 3 failures", len(all), keptRequests)
	}
	if all[0].ID != "good9999" || all[keptRequests-1].ID != "good"+strconv.Itoa(10_000-keptRequests) {
		t.Errorf("the good ones are %s to %s", all[0].ID, all[keptRequests-1].ID)
	}
	if got := strings.Join(idsOf(all[keptRequests:]), " "); got != "bad2 bad1 bad0" {
		t.Errorf("after 10,000 good requests the failures are %q", got)
	}
	for i := range 10_000 {
		s.passed("bad"+strconv.Itoa(i), "/x", "timeout")
	}
	if all = s.Requests(); len(all) != 2*keptRequests || all[0].ID != "bad9999" || all[len(all)-1].ID != "good"+strconv.Itoa(10_000-keptRequests) {
		t.Errorf("after 10,000 failures: %d, %s to %s", len(all), all[0].ID, all[len(all)-1].ID)
	}
}

func TestTextsOfRunnersAreBounded(t *testing.T) {
	var s Server
	x := &exchange{method: strings.Repeat("M", 1<<12), host: strings.Repeat("h", 1<<16), path: "/" + strings.Repeat("p", 1<<15)}
	s.remember(&http.Request{Method: x.method}, x, 400, "invalid_request", 0)
	r := s.Requests()[0]
	for _, c := range []struct {
		got, whole string
		limit      int
	}{{r.Method, x.method, maxMethod}, {r.Host, x.host, maxHostText}, {r.Path, x.path, maxPathText}} {
		if want := c.whole[:c.limit-3] + "..."; c.got != want {
			t.Errorf("%d bytes are kept as %q", len(c.whole), c.got)
		}
	}
	s.passed("exact", "/"+strings.Repeat("p", maxPathText-1), "ok")
	if r := s.Requests()[0]; len(r.Path) != maxPathText || strings.HasSuffix(r.Path, "...") {
		t.Errorf("a path of %d bytes is kept as %q", maxPathText, r.Path)
	}
}

// Writers and readers share the rings without a lock: each request is whole.
func TestRequestsAreWholeWhileOthersWrite(t *testing.T) {
	var s Server
	var writers, readers sync.WaitGroup
	ctx, stop := context.WithCancel(t.Context())
	for w := range 4 {
		writers.Go(func() {
			for i := range 3 * keptRequests {
				id := fmt.Sprintf("%d-%d", w, i)
				s.passed(id, "/"+strings.Repeat(id, 1+i%7), []string{"ok", "timeout"}[i%2])
			}
		})
	}
	for range 2 {
		readers.Go(func() {
			for ctx.Err() == nil {
				before := ^uint64(0)
				for _, r := range s.Requests() {
					if r.Seq >= before {
						t.Errorf("%d stands behind %d", r.Seq, before)
					}
					before = r.Seq
					if !strings.HasPrefix(r.Path, "/"+r.ID) || strings.Trim(strings.ReplaceAll(r.Path, r.ID, ""), "/") != "" || r.Host != "api.test:443" {
						t.Errorf("the request %s has the host %s and the path %s", r.ID, r.Host, r.Path)
					}
				}
			}
		})
	}
	writers.Wait()
	stop()
	readers.Wait()
	if got := len(s.Requests()); got != 2*keptRequests {
		t.Errorf("%d requests are kept, want %d", got, 2*keptRequests)
	}
}

func TestRememberingAllocatesNothing(t *testing.T) {
	var s Server
	for range keptRequests {
		s.passed("id", "/some/path", "ok")
	}
	x := &exchange{id: "id", method: "GET", host: "api.test:443", path: "/some/path", start: time.Now()}
	r := &http.Request{Method: "GET"}
	if n := testing.AllocsPerRun(1000, func() { s.remember(r, x, 200, "ok", time.Millisecond) }); n != 0 {
		t.Errorf("%v allocations a request", n)
	}
}

// What is told of requests of each sort, by what became of them.
func TestRequestsTellWhatBecameOfThem(t *testing.T) {
	r := newRig(t, func(w http.ResponseWriter, req *http.Request) {
		if status, err := strconv.Atoi(req.URL.Query().Get("status")); err == nil {
			w.Header().Set("WWW-Authenticate", `Bearer error="insufficient_scope"`)
			w.WriteHeader(status)
		}
		echo(w, req)
	})
	authority := r.upstream.authority
	c := r.client(false)
	r.get(c, r.url("/a%2Fb?secret="+canary))
	r.get(c, r.url("/scope?status=403"))
	r.get(c, r.url("/none"), "Sallyport-Credential", "nobody")
	r.get(r.client(true), r.url("/h2"))
	r.get(c, "http://127.0.0.1:1/away?x="+canary)
	w := r.dial()
	w.send("GET http://user:%s@%s/u HTTP/1.1\r\nHost: %s\r\nProxy-Authorization: Basic %s\r\n\r\n", canary, authority, authority, auth64)
	w.answer("GET")
	w = r.dial()
	w.send("GET http://%s/asked HTTP/1.1\r\nHost: %s\r\n\r\n", authority, authority)
	w.answer("GET")
	w = r.dial()
	w.send("CONNECT 127.0.0.1:1 HTTP/1.1\r\nHost: 127.0.0.1:1\r\nProxy-Authorization: Basic %s\r\n\r\n", auth64)
	w.answer("CONNECT")
	wants := []Request{
		{Method: "GET", Scheme: "https", Host: authority, Path: "/a%2Fb", Provider: "api", Credential: "default/production/api/main", Status: 200, Outcome: "ok", Tries: 1},
		{Method: "GET", Scheme: "https", Host: authority, Path: "/scope", Provider: "api", Credential: "default/production/api/main", Status: 403, Outcome: "upstream_4xx", Code: fault.InsufficientScope, Tries: 1},
		{Method: "GET", Scheme: "https", Host: authority, Path: "/none", Provider: "api", Status: 404, Outcome: "credential_not_found", Code: fault.CredentialNotFound, Refused: true},
		{Method: "GET", Scheme: "https", Host: authority, Path: "/h2", Provider: "api", Credential: "default/production/api/main", Status: 200, Outcome: "ok", Tries: 1},
		{Method: "GET", Scheme: "http", Host: "127.0.0.1:1", Path: "/away", Status: 502, Outcome: "connection_refused", Code: fault.ConnectionRefused, Refused: true, Tries: 1},
		{Method: "GET", Scheme: "http", Host: authority, Path: "/u", Status: 400, Outcome: "invalid_request", Code: fault.InvalidRequest, Refused: true},
		{Method: "GET", Scheme: "http", Host: authority, Path: "/asked", Status: 407, Outcome: "proxy_auth_required", Code: fault.ProxyAuthRequired, Refused: true},
		{Method: "CONNECT", Host: "127.0.0.1:1", Status: 502, Outcome: "connection_refused", Code: fault.ConnectionRefused, Refused: true},
	}
	all := r.remembered(len(wants))
	for i, want := range wants {
		got := all[len(wants)-1-i]
		if got.ID == "" || got.Time.IsZero() || (got.Caller != "orders") != (want.Code == fault.ProxyAuthRequired) || got.Took <= 0 || (got.Upstream > 0) != (got.Tries > 0) {
			t.Errorf("%s %s: %+v", want.Method, want.Path, got)
		}
		if want.Outcome == "connection_refused" { // as often as the budget for retries allows
			want.Tries = got.Tries
		}
		want.Failed = want.Outcome != "ok"
		want.Seq, want.ID, want.Time, want.Caller, want.Took, want.Upstream = got.Seq, got.ID, got.Time, got.Caller, got.Took, got.Upstream
		if got != want {
			t.Errorf("%s %s:\ngot  %+v\nwant %+v", want.Method, want.Path, got, want)
		}
	}
	r.noCanary("LK-02", fmt.Sprintf("%+v", all))
}

// remembered waits for that many requests: they are told of after their answer.
func (r *rig) remembered(n int) []Request {
	r.t.Helper()
	var all []Request
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); {
		if all = r.srv.Requests(); len(all) >= n {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if len(all) != n {
		r.t.Fatalf("%d requests are told of, want %d: %+v", len(all), n, all)
	}
	return all
}

// A tunnel that passes untouched is told of when it has ended; of one that is
// intercepted the CONNECT is told of only if its runner would not have the
// local CA's certificate.
func TestTunnelsAmongTheRequests(t *testing.T) {
	r := newRig(t, echo)
	other := newRecording(t, echo)
	u, err := url.Parse("http://orders:tok@" + r.proxy)
	if err != nil {
		t.Fatal(err)
	}
	untouched := "127.0.0.1:" + port(other.Listener.Addr())
	tr := &http.Transport{Proxy: http.ProxyURL(u), TLSClientConfig: &tls.Config{RootCAs: rootsOf(other)}}
	resp, err := (&http.Client{Transport: tr}).Get("https://" + untouched + "/hidden")
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	if all := r.srv.Requests(); len(all) != 0 {
		t.Errorf("an open tunnel is told of: %+v", all)
	}
	tr.CloseIdleConnections()
	all := r.remembered(1)
	if got := all[0]; got.Method != "CONNECT" || got.Host != untouched || got.Path != "" || got.Status != 200 || got.Outcome != "ok" || got.Caller != "orders" || got.Failed {
		t.Errorf("a tunnel: %+v", got)
	}
	distrust := &http.Transport{Proxy: http.ProxyURL(u), TLSClientConfig: &tls.Config{RootCAs: x509.NewCertPool()}}
	if _, err := (&http.Client{Transport: distrust}).Get(r.url("/x")); err == nil {
		t.Fatal("the client took a certificate that it does not trust")
	}
	if got := r.remembered(2)[0]; got.Method != "CONNECT" || got.Host != r.upstream.authority || got.Outcome != "canceled" || !got.Failed || got.Provider != "api" {
		t.Errorf("a tunnel whose runner does not trust the CA: %+v", got)
	}
}

// Clients that send no token until they are asked do not push failures out.
func TestAskingForATokenIsNoFailureToKeep(t *testing.T) {
	var s Server
	s.passed("bad", "/x", "timeout")
	for _, header := range []http.Header{{}, {"Proxy-Authorization": {"Basic wrong"}}} {
		x := &exchange{id: fmt.Sprint(len(header)), fault: fault.New(fault.ProxyAuthRequired, "", nil)}
		s.remember(&http.Request{Method: "GET", Header: header}, x, 407, "proxy_auth_required", 0)
	}
	for i := range keptRequests {
		s.passed(strconv.Itoa(i), "/x", "ok")
	}
	if got := strings.Join(idsOf(s.Requests()[keptRequests:]), " "); got != "1 bad" {
		t.Errorf("kept for longer are %q, want the wrong token and the time-out", got)
	}
}

func BenchmarkRemember(b *testing.B) {
	var s Server
	r := &http.Request{Method: "GET"}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		x := &exchange{id: "id", method: "GET", host: "api.test:443", path: "/some/path", start: time.Now()}
		for pb.Next() {
			s.remember(r, x, 200, "ok", time.Millisecond)
		}
	})
}
