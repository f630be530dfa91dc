package proxy

import (
	"context"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/sallyport/sallyport/internal/provider"
)

// HM-18: a connection that a request has authenticated as a whole, and not itself
// alone, serves no other request.
func TestConnectionsOfOneIdentity(t *testing.T) {
	for _, c := range []struct {
		name         string
		secure, ours bool
	}{{"a provider's, https", true, true}, {"a provider's, http", false, true}, {"nobody's", false, false}} {
		up := identifying(t, c.secure)
		r := newRig(t, echo, func(r *rig) {
			if !c.ours {
				return
			}
			p := &provider.Provider{
				Name: "open", Hosts: []string{up.Listener.Addr().String()}, BaseURL: up.URL, Type: "bearer", Configured: true,
				Anonymous: true, AllowCleartext: true, Fingerprint: "1", Roots: x509.NewCertPool(),
			}
			if c.secure {
				p.Roots.AddCert(up.Certificate())
			}
			r.providers(p)
		})
		one, other := r.client(false), r.client(false)
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			for authorization, who := range map[string]string{"NTLM somebody": "somebody", "negotiate somebody": "somebody", "Bearer somebody": "nobody"} {
				for i, client := range []*http.Client{other, one, other, one} {
					req, _ := http.NewRequest(method, up.URL, nil)
					want := "nobody"
					if i == 1 {
						req.Header.Set("Authorization", authorization)
						want = who
					}
					if got := r.do(client, req); got.StatusCode != 200 || got.body != want {
						t.Errorf("HM-18 %s %s %s: request %d is answered %d as %s, want %s", c.name, method, authorization, i, got.StatusCode, got.body, want)
					}
				}
			}
		}
	}
}

// identifying is a server of HTTP/1.1 that takes whoever a connection was
// authenticated for as the author of all that comes over it, and names him.
func identifying(t *testing.T, secure bool) *httptest.Server {
	t.Helper()
	type key struct{}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who := r.Context().Value(key{}).(*atomic.Value)
		if scheme, name, _ := strings.Cut(r.Header.Get("Authorization"), " "); name != "" && scheme != "Bearer" {
			who.Store(name)
		}
		_, _ = fmt.Fprint(w, who.Load())
	}))
	s.Config.ConnContext = func(ctx context.Context, _ net.Conn) context.Context {
		who := new(atomic.Value)
		who.Store("nobody")
		return context.WithValue(ctx, key{}, who)
	}
	if secure {
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	return s
}
