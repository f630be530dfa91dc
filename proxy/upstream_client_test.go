package proxy

import (
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/netip"
	"testing"
	"time"
)

// A request of a Client that says Close never goes over a connection that was
// used before, and its answer may come later than the time of upstreams.
func TestClientOfItsOwnConnection(t *testing.T) {
	const limit = time.Second
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			time.Sleep(2 * limit)
		}
	}))
	defer server.Close()
	u := NewUpstream(UpstreamOptions{AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Timeout: limit})
	defer u.CloseIdle()
	c := u.Client(nil)
	send := func(method string, closes bool) (reused bool, err error) {
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) { reused = i.Reused }})
		req, err := http.NewRequestWithContext(ctx, method, server.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Close = closes
		resp, err := c.Do(req)
		if err == nil {
			_ = resp.Body.Close()
		}
		return reused, err
	}
	for range 2 {
		if _, err := send(http.MethodGet, false); err != nil {
			t.Fatal(err)
		}
		if reused, err := send(http.MethodPost, true); err != nil || reused {
			t.Errorf("OA-01, RT-04: a late answer over a connection of its own: reused %v, %v", reused, err)
		}
	}
	if _, err := send(http.MethodPost, false); err == nil {
		t.Error("a request that is no exchange has no time limit")
	}
}
