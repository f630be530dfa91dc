package proxy

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
)

// maxConnectAnswer bounds the header with which an upstream proxy answers CONNECT.
const maxConnectAnswer = 64 << 10

// Dial opens a raw connection to the authority for a tunnel, through the
// upstream proxy if one is set. p is nil for hosts that no provider owns. Its
// errors are *fault.Fault, as Classify makes them.
func (u *Upstream) Dial(ctx context.Context, p *provider.Provider, a provider.Authority) (net.Conn, error) {
	s := u.domain(p, nil).settings
	if f := s.judgeAuthority(ctx, a); f != nil {
		return nil, f
	}
	conn, err := s.dialTunnel(ctx, a)
	if err != nil {
		return nil, Classify(err)
	}
	return conn, nil
}

// judgeAuthority refuses Vault by name and, behind an upstream proxy, every
// literal address that would be refused here; names are resolved there.
func (s *domainSettings) judgeAuthority(ctx context.Context, a provider.Authority) *fault.Fault {
	if s.dialer.guard.vault.named(a) {
		return vaultRefused()
	}
	if s.proxy == nil {
		return nil
	}
	return s.judgeLiteral(ctx, a)
}

// judgeLiteral refuses an address; a name is not resolved for it.
func (s *domainSettings) judgeLiteral(ctx context.Context, a provider.Authority) *fault.Fault {
	addr, literal := a.Addr()
	if !literal {
		return nil
	}
	return s.dialer.guard.judge(ctx, netip.AddrPortFrom(addr, uint16(a.Port)))
}

// refuses tells what is known of an authority of p's without dialling it: our own
// listeners, Vault, and addresses that are not open. nil: none of these.
func (u *Upstream) refuses(ctx context.Context, p *provider.Provider, a provider.Authority) *fault.Fault {
	s := u.domain(p, nil).settings
	if f := u.loops(ctx, a); f != nil {
		return f
	}
	if s.dialer.guard.vault.named(a) {
		return vaultRefused()
	}
	return s.judgeLiteral(ctx, a)
}

// loops tells that the authority is one of our own listeners.
func (u *Upstream) loops(ctx context.Context, a provider.Authority) *fault.Fault {
	if !u.guard.listensAt(a.Port) {
		return nil
	}
	d := guardedDialer{guard: &u.guard, resolver: u.options.Resolver}
	addrs, err := d.addresses(ctx, a)
	if err != nil {
		return nil
	}
	for _, addr := range addrs {
		if to := netip.AddrPortFrom(addr.WithZone(""), uint16(a.Port)); u.guard.ours(to) {
			return u.guard.judge(ctx, to)
		}
	}
	return nil
}

// dialUpstream is the DialContext of the transports. With an upstream proxy the
// address is the proxy's.
func (s *domainSettings) dialUpstream(ctx context.Context, _, address string) (net.Conn, error) {
	if s.proxy != nil {
		return s.dialProxy(ctx)
	}
	a, err := splitAddress(address)
	if err != nil {
		return nil, err
	}
	return s.dialer.connect(ctx, a)
}

func (s *domainSettings) dialTunnel(ctx context.Context, a provider.Authority) (net.Conn, error) {
	if s.proxy == nil {
		return s.dialer.connect(ctx, a)
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	conn, err := s.dialProxy(ctx)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	tunnel, err := askProxy(conn, s.proxy, a, s.hops(ctx))
	if !stop() || err != nil {
		_ = conn.Close()
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, err
	}
	return tunnel, nil
}

// dialProxy connects to the upstream proxy. Its address is exempt from the
// networks' rules, but never one of our own listeners.
func (s *domainSettings) dialProxy(ctx context.Context) (net.Conn, error) {
	if s.proxy.Scheme != "http" && s.proxy.Scheme != "https" {
		return nil, fault.New(fault.UpstreamInvalid, "upstream_proxy must be an http or https URL", nil)
	}
	a, err := splitAddress(proxyAuthority(s.proxy))
	if err != nil {
		return nil, err
	}
	d := s.dialer
	d.guard = &dialGuard{allow: everyAddress, own: d.guard.own, local: d.guard.local}
	conn, err := d.connect(ctx, a)
	if err != nil || s.proxy.Scheme == "http" {
		return conn, err
	}
	ctx, cancel := context.WithTimeout(ctx, tlsTimeout)
	defer cancel()
	secure := tls.Client(conn, &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: s.proxyRoots, ServerName: s.proxy.Hostname()})
	if err := secure.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		f := *classifyFor(s.proxy.Hostname(), err)
		f.Detail = strings.TrimSuffix("on the way to the upstream proxy: "+f.Detail, ": ")
		return nil, &f
	}
	return secure, nil
}

// proxyAuthority is the proxy's host:port.
func proxyAuthority(proxy *url.URL) string {
	port := proxy.Port()
	if port == "" {
		port = strconv.Itoa(schemePort(proxy.Scheme))
	}
	return net.JoinHostPort(proxy.Hostname(), port)
}

// askProxy sends CONNECT. What the proxy sent behind its answer stays readable.
func askProxy(conn net.Conn, proxy *url.URL, a provider.Authority, hops string) (net.Conn, error) {
	req := &http.Request{
		Method: http.MethodConnect, URL: &url.URL{Opaque: a.String()}, Host: a.String(),
		Header: http.Header{"User-Agent": {""}, hopsField: {hops}},
	}
	if u := proxy.User; u != nil {
		password, _ := u.Password()
		req.Header.Set("Proxy-Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(u.Username()+":"+password)))
	}
	if err := req.Write(conn); err != nil {
		return nil, err
	}
	limited := &io.LimitedReader{R: conn, N: maxConnectAnswer}
	br := bufio.NewReader(limited)
	resp, err := http.ReadResponse(br, req) //nolint:bodyclose // a 2xx to CONNECT has none, and what refuses closes conn
	if err != nil {
		return nil, err
	}
	if err := refusal(resp.StatusCode); err != nil {
		return nil, err
	}
	if br.Buffered() == 0 {
		return conn, nil
	}
	limited.N = int64(br.Buffered()) // read no further ahead
	ahead, err := br.Peek(br.Buffered())
	if err != nil {
		return nil, err
	}
	return &prefixed{Conn: conn, prefix: ahead}, nil
}

// refusedByProxy is nil if the upstream proxy opened the tunnel. It is an
// http.Transport's OnProxyConnectResponse.
func refusedByProxy(_ context.Context, _ *url.URL, _ *http.Request, resp *http.Response) error {
	return refusal(resp.StatusCode)
}

// refusal is the fault of a proxy's answer to CONNECT; nil: it was taken.
func refusal(code int) error {
	switch {
	case code/100 == 2:
		return nil
	case code == http.StatusProxyAuthRequired:
		return fault.New(fault.UpstreamInvalid, "the upstream proxy asks for a user name and password: put them into upstream_proxy", nil)
	case code == http.StatusLoopDetected:
		return fault.New(fault.LoopDetected, "the upstream proxy leads back to a daemon on the way", nil)
	case code == http.StatusGatewayTimeout:
		return fault.New(fault.Timeout, "the upstream proxy did not reach the host in time", nil)
	default:
		return fault.New(fault.ConnectionRefused, "the upstream proxy refused the tunnel with status "+strconv.Itoa(code), nil)
	}
}
