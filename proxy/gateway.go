package proxy

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
)

// gatewayPrefix begins the paths of clients that cannot use a proxy.
const gatewayPrefix = "/gateway/"

// gateway serves /gateway/PROVIDER/path: the provider's base URL + path.
func (s *Server) gateway(w http.ResponseWriter, r *http.Request, x *exchange) error {
	if err := x.st.gatewayHost(r); err != nil {
		return err
	}
	if err := sameOrigin(r); err != nil {
		return err
	}
	if err := x.gatewayCaller(r); err != nil {
		return err
	}
	escaped := strings.TrimPrefix(r.URL.EscapedPath(), gatewayPrefix)
	name, rest, more := strings.Cut(escaped, "/")
	if more {
		rest = "/" + rest
	}
	p := x.st.Providers.Get(name)
	if p == nil {
		return fault.New(fault.NotFound, "there is no provider of that name", nil)
	}
	t, err := x.st.target(r.Context(), ask{
		caller: x.caller, gateway: p, secure: true, method: r.Method, path: rest, name: r.Header.Get("Sallyport-Credential"), since: x.start,
	})
	x.target = t
	if err != nil {
		return err
	}
	s.hand(w, r, x)
	return nil
}

// gatewayCaller takes the caller from Proxy-Authorization, or from
// Authorization, which then goes no further.
func (x *exchange) gatewayCaller(r *http.Request) error {
	for _, name := range []string{"Proxy-Authorization", "Authorization"} {
		if v := r.Header[name]; len(v) > 0 {
			c, err := x.st.credentials(v)
			if err != nil {
				break
			}
			x.caller = c
			delete(r.Header, name)
			return nil
		}
	}
	return fault.New(fault.Unauthorized, "send the caller's name and token as Authorization: Basic, or its token as Bearer", nil)
}

// gatewayHost holds Host to the listener's own names, so that no page of a
// rebound name reaches the gateway.
func (st *state) gatewayHost(r *http.Request) error {
	a, err := provider.ParseAuthority(r.Host, 80)
	if err != nil {
		return fault.New(fault.Misdirected, "Host is not a name of this listener", err)
	}
	if ip, ok := a.Addr(); a.Host == "localhost" || (ok && (ip.IsLoopback() || isLocal(r, ip))) {
		return nil
	}
	if slices.ContainsFunc(st.Hosts, func(h string) bool {
		p, err := provider.ParsePattern(h)
		if p.Port == 0 {
			p.Port = a.Port // without a port it is any
		}
		return err == nil && p.Match(a)
	}) {
		return nil
	}
	return fault.New(fault.Misdirected, "Host is not a name of this listener; add it to [proxy] hosts", nil)
}

// isLocal reports whether ip is the address that the connection came in at.
func isLocal(r *http.Request, ip netip.Addr) bool {
	local, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	return ok && local.AddrPort().Addr().Unmap() == ip.Unmap()
}

// sameOrigin refuses what a browser sends for a page of another origin.
func sameOrigin(r *http.Request) error {
	site := r.Header.Get("Sec-Fetch-Site")
	if r.Header.Get("Origin") != "" || (site != "" && site != "same-origin" && site != "none") {
		return fault.New(fault.OriginRefused, "", nil)
	}
	return nil
}
