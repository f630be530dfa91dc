package proxy

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/sallyport/sallyport/internal/provider"
)

// Bounds of what is kept for upstreams.
const (
	maxTrustDomains = 256
	maxTrustRoots   = 256
	clientTimeout   = 10 * time.Second
)

// Resolver finds the addresses of a host. *net.Resolver is one.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// UpstreamOptions say how upstreams are reached. The zero value reaches public
// addresses directly, with the system's roots. Nothing is ever read from proxy
// variables of the environment.
type UpstreamOptions struct {
	AllowNetworks  []netip.Prefix          // private and other special networks that may be dialled
	Own            func() []netip.AddrPort // the daemon's listeners, never dialled; nil: none
	VaultAuthority string                  // host:port, not dialled; empty: none
	VaultOwned     func() bool             // a provider owns that authority, so it may be dialled; nil: never
	Proxy          *url.URL                // http or https, with user information if it wants some; nil: direct
	Timeout        time.Duration           // from the request's last byte to the answer's header, or without progress before that; 0: 60 s
	Resolver       Resolver                // nil: the system's
	Roots          *x509.CertPool          // nil: the system's; a provider's own replace them
}

// Upstream makes the connections to upstreams: pooled, verified, guarded.
type Upstream struct {
	options UpstreamOptions
	guard   dialGuard     // without a provider's networks
	word    time.Duration // how long an upstream's word on an offered body is waited for
	hop     string        // tells this daemon from others on the way

	mu      sync.Mutex
	domains *lru.Cache[domainKey, *trustDomain]
	roots   []*x509.CertPool // one of each content; providers of a reloaded table have new ones
	quick   *lru.Cache[quickKey, *trustDomain]
}

// quickKey finds a trust domain without looking into the provider.
type quickKey struct {
	provider *provider.Provider
	cert     *tls.Certificate
}

// domainKey is what connections must share to be shared.
type domainKey struct {
	roots *x509.CertPool
	cert  [sha256.Size]byte
	proxy string
	allow string
}

// NewUpstream does no I/O.
func NewUpstream(o UpstreamOptions) *Upstream {
	if o.Timeout <= 0 {
		o.Timeout = 60 * time.Second
	}
	if o.Resolver == nil {
		o.Resolver = systemResolver()
	}
	u := &Upstream{options: o, word: continueTimeout, hop: newHop(), guard: dialGuard{
		allow: o.AllowNetworks, own: o.Own, local: machineAddresses,
		vault: newVaultAddress(o.VaultAuthority, o.VaultOwned, o.Resolver),
	}}
	// lru refuses only a size below one.
	u.domains, _ = lru.NewWithEvict(maxTrustDomains, func(_ domainKey, d *trustDomain) { d.closeIdle() })
	u.quick, _ = lru.New[quickKey, *trustDomain](4 * maxTrustDomains)
	return u
}

// Transport sends requests to p's upstreams with p's roots, networks and proxy,
// and with the client certificate cert if there is one. p is nil for hosts that
// no provider owns. Connections are pooled for each trust domain. Its errors
// are *fault.Fault, as Classify makes them; it follows no redirect and reads no
// variable of the environment. Upgrades go over HTTP/1.1.
func (u *Upstream) Transport(p *provider.Provider, cert *tls.Certificate) http.RoundTripper {
	return u.domain(p, cert)
}

// Client is for token endpoints and verify requests of p, which may be nil: the
// same guard and pools, 10 s in all, and redirects are answers. A request that
// says Close has a connection of its own.
func (u *Upstream) Client(p *provider.Provider) *http.Client {
	return &http.Client{
		Transport:     newClientRoad(u.domain(p, nil)),
		Timeout:       clientTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// CloseIdle closes the connections that nobody uses.
func (u *Upstream) CloseIdle() {
	for _, d := range u.domains.Values() {
		d.closeIdle()
	}
}

func (u *Upstream) domain(p *provider.Provider, cert *tls.Certificate) *trustDomain {
	quick := quickKey{p, cert}
	if d, ok := u.quick.Get(quick); ok {
		return d
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	s := u.settings(p, cert)
	d, ok := u.domains.Get(s.key())
	if !ok {
		d = newTrustDomain(s)
		u.domains.Add(s.key(), d)
	}
	u.quick.Add(quick, d)
	return d
}

// domainSettings are what a trust domain is made of.
type domainSettings struct {
	roots      *x509.CertPool
	cert       *tls.Certificate
	proxy      *url.URL
	proxyRoots *x509.CertPool // of an https proxy
	timeout    time.Duration
	word       time.Duration // on an offered body
	hop        string        // this daemon, as the proxy is told
	dialer     guardedDialer
}

func (u *Upstream) settings(p *provider.Provider, cert *tls.Certificate) domainSettings {
	s := domainSettings{roots: u.options.Roots, cert: cert, proxy: u.options.Proxy, proxyRoots: u.options.Roots, timeout: u.options.Timeout, word: u.word, hop: u.hop}
	guard := u.guard
	if p != nil {
		if p.Roots != nil {
			s.roots = u.canonicalRoots(p.Roots)
		}
		if p.UpstreamProxy != nil {
			s.proxy = p.UpstreamProxy
		}
		guard.allow = slices.Concat(guard.allow, p.AllowNetworks)
	}
	s.dialer = guardedDialer{guard: &guard, resolver: u.options.Resolver, dial: dialTCP}
	return s
}

func (s domainSettings) key() domainKey {
	k := domainKey{roots: s.roots}
	if s.cert != nil {
		k.cert = certificateKey(s.cert)
	}
	if s.proxy != nil {
		k.proxy = s.proxy.String()
	}
	var nets []string
	for _, n := range s.dialer.guard.allow {
		nets = append(nets, n.Masked().String())
	}
	slices.Sort(nets)
	k.allow = strings.Join(slices.Compact(nets), " ")
	return k
}

func certificateKey(c *tls.Certificate) [sha256.Size]byte {
	h := sha256.New()
	for _, der := range c.Certificate {
		h.Write(der)
	}
	return [sha256.Size]byte(h.Sum(nil))
}

// canonicalRoots gives the first pool of the same content.
func (u *Upstream) canonicalRoots(pool *x509.CertPool) *x509.CertPool {
	for _, known := range u.roots {
		if known.Equal(pool) {
			return known
		}
	}
	if len(u.roots) >= maxTrustRoots {
		u.roots = u.roots[1:]
	}
	u.roots = append(u.roots, pool)
	return pool
}
