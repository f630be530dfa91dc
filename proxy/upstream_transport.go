package proxy

import (
	"context"
	"crypto/tls"
	"net/http"
	"net/url"
	"time"

	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
)

// Bounds of one upstream connection.
const (
	tlsTimeout        = 10 * time.Second
	pooledFor         = 90 * time.Second
	continueTimeout   = time.Second
	pingAfter         = 30 * time.Second
	pingTimeout       = 15 * time.Second
	maxIdlePerHost    = 256
	maxResponseHeader = 256 << 10
	sessionCacheSize  = 512
)

// trustDomain is a pool of connections that trust the same roots, show the same
// client certificate and take the same way. It is an http.RoundTripper.
type trustDomain struct {
	settings domainSettings
	main     *http.Transport
	upgrade  *http.Transport // HTTP/1.1 only: over HTTP/2 net/http upgrades nothing
	direct   *direct         // nil behind an upstream proxy
}

func newTrustDomain(s domainSettings) *trustDomain {
	d := &trustDomain{settings: s, main: newTransport(s), upgrade: newTransport(s)}
	onlyHTTP1(d.upgrade)
	if s.proxy == nil {
		d.direct = newDirect(&d.settings)
	}
	return d
}

func onlyHTTP1(t *http.Transport) {
	t.ForceAttemptHTTP2 = false
	t.HTTP2 = nil
	t.Protocols = new(http.Protocols)
	t.Protocols.SetHTTP1(true)
}

func newTransport(s domainSettings) *http.Transport {
	t := &http.Transport{
		DialContext:            s.dialUpstream,
		TLSClientConfig:        s.tlsConfig(),
		TLSHandshakeTimeout:    tlsTimeout,
		MaxIdleConnsPerHost:    maxIdlePerHost,
		IdleConnTimeout:        pooledFor,
		ResponseHeaderTimeout:  s.timeout,
		ExpectContinueTimeout:  s.word,
		MaxResponseHeaderBytes: maxResponseHeader,
		DisableCompression:     true,
		ForceAttemptHTTP2:      true,
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTimeout, WriteByteTimeout: s.timeout},
	}
	if s.proxy != nil {
		t.Proxy = http.ProxyURL(plainProxy(s.proxy))
		t.OnProxyConnectResponse = refusedByProxy
		t.GetProxyConnectHeader = func(ctx context.Context, _ *url.URL, _ string) (http.Header, error) {
			return http.Header{hopsField: {s.hops(ctx)}}, nil
		}
	}
	return t
}

func (s domainSettings) tlsConfig() *tls.Config {
	c := &tls.Config{
		MinVersion:         tls.VersionTLS12,
		RootCAs:            s.roots,
		ClientSessionCache: tls.NewLRUClientSessionCache(sessionCacheSize),
	}
	if s.cert != nil { // shown whatever authorities the server names: its refusal says more than a request without one
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return s.cert, nil }
	}
	return c
}

// plainProxy is the proxy as net/http sees it: the dialer itself speaks TLS to
// an https one, so that a provider's roots and certificate stay out of that.
func plainProxy(proxy *url.URL) *url.URL {
	plain := *proxy
	plain.Scheme = "http"
	plain.Host = proxyAuthority(proxy)
	return &plain
}

// RoundTrip implements http.RoundTripper. Its errors are *fault.Fault.
func (d *trustDomain) RoundTrip(req *http.Request) (*http.Response, error) {
	if f := d.refuse(req); f != nil {
		if req.Body != nil {
			_ = req.Body.Close()
		}
		return nil, f
	}
	if d.direct != nil && d.direct.suits(req) {
		resp, err := d.direct.RoundTrip(req)
		if err != nil {
			return nil, classifyFor(req.URL.Hostname(), err)
		}
		return resp, nil
	}
	t, req := d.road(req)
	req, watch := watchUpload(req, d.settings.timeout)
	resp, err := t.RoundTrip(req)
	switch cancelled := watch.end(); {
	case cancelled && err == nil:
		_ = resp.Body.Close()
		return nil, errUploadStalled
	case cancelled:
		return nil, errUploadStalled
	case err != nil:
		return nil, classifyFor(req.URL.Hostname(), err)
	}
	return resp, nil
}

// road is the transport for a request, and the request as an upstream proxy gets it.
func (d *trustDomain) road(req *http.Request) (*http.Transport, *http.Request) {
	upgrade, t := req.Header.Get("Upgrade") != "", d.main
	if upgrade {
		t = d.upgrade
	}
	switch {
	case d.settings.proxy == nil:
	case req.URL.Scheme == "http":
		req = d.settings.marked(req)
	case len(hopsOf(req.Context())) > 0:
		t = d.settings.lone(upgrade)
	}
	return t, req
}

// refuse judges what the dialer does not see: behind an upstream proxy only the
// proxy is dialled.
func (d *trustDomain) refuse(req *http.Request) *fault.Fault {
	if d.settings.proxy == nil {
		return nil
	}
	a, err := provider.ParseAuthority(req.URL.Host, schemePort(req.URL.Scheme))
	if err != nil {
		return fault.New(fault.InvalidRequest, "the host of the URL is no host", err)
	}
	return d.settings.judgeAuthority(req.Context(), a)
}

func schemePort(scheme string) int {
	if scheme == "https" || scheme == "wss" {
		return 443
	}
	return 80
}

func (d *trustDomain) closeIdle() {
	d.main.CloseIdleConnections()
	d.upgrade.CloseIdleConnections()
	if d.direct != nil {
		d.direct.close(time.Now())
	}
}
