package admin

import (
	"crypto/subtle"
	"net/http"
	"net/netip"
	"strings"

	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
	"github.com/sallyport/sallyport/internal/secret"
)

// guarded lets requests through that no web page of another origin has sent: a
// page can make a browser connect to loopback, and even under a name of the
// page's own, but it cannot choose Host, Origin and Sec-Fetch-Site.
func (s *Server) guarded(h handler) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if !s.ownHost(r.Host) {
			return fault.New(fault.Misdirected, "Host is neither loopback nor among hosts of [admin]", nil)
		}
		if !sameOrigin(r) && (r.URL.Path != callbackPath || !navigated(r)) {
			return fault.New(fault.OriginRefused, "", nil)
		}
		return h(w, r)
	}
}

// ownHost does not look at the port: whoever forwards one has another.
func (s *Server) ownHost(host string) bool {
	a, err := provider.ParseAuthority(host, 80)
	if err != nil {
		return false
	}
	addr, err := netip.ParseAddr(a.Host)
	return a.Host == "localhost" || err == nil && addr.IsLoopback() || s.hosts[a.Host]
}

// sameOrigin passes requests of no browser, and of pages that this server gave.
func sameOrigin(r *http.Request) bool {
	for _, site := range r.Header.Values("Sec-Fetch-Site") {
		if site != "same-origin" && site != "none" {
			return false
		}
	}
	for _, origin := range r.Header.Values("Origin") {
		if origin != "http://"+r.Host && origin != "https://"+r.Host {
			return false
		}
	}
	return true
}

// authorized asks for the admin token.
func (s *Server) authorized(r *http.Request) error {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	want, have := s.o.Token.Sum(), secret.New(token).Sum()
	same := subtle.ConstantTimeCompare(want[:], have[:]) == 1
	if !strings.EqualFold(scheme, "Bearer") || s.o.Token.Empty() || !same {
		return fault.New(fault.Unauthorized, "the admin API asks for Authorization: Bearer with the admin token", nil)
	}
	return nil
}

// anybody asks for nothing.
func anybody(*http.Request) error { return nil }
