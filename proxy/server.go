// Package proxy is the way of a request from the runner's connection to the
// upstream's answer: the gate takes CONNECT, the road serves what comes through
// it, and stages around the upstream choose, pace, authenticate and try again.
package proxy

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"sync"
	"sync/atomic"
	"time"

	"github.com/elazarl/goproxy"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/sallyport/sallyport/auth"
	"github.com/sallyport/sallyport/internal/credential"
)

// Limits of what a runner may send and how long it may take.
const (
	maxHeaderBytes  = 64 << 10
	maxHeaderFields = 100
	maxURI          = 32 << 10
	headerTimeout   = 10 * time.Second // first byte, TLS handshake, header: each
	idleTimeout     = 5 * time.Minute  // of a connection between requests, a body and a tunnel
	lingering       = 2 * time.Second  // what is left of a request is read for, behind its answer
	maxStreams      = 100              // of one h2 connection at once
)

// Options of a Server that no reload changes.
type Options struct {
	Store          credential.Store
	Keeper         *auth.Keeper // of tokens; nil: they are made anew and not kept
	CA             *CA
	Life           context.Context // of background work that requests start: the daemon's
	Log            *slog.Logger
	Registerer     prometheus.Registerer
	AuthMetrics    *auth.Metrics
	MaxConnections int // runner connections at once; 0: no limit
}

// Server is the proxy listener's inside. Make it with New, give it a Config with
// Swap, then Run it and Serve listeners.
type Server struct {
	o        Options
	st       atomic.Pointer[state]
	swap     sync.Mutex
	sources  *sources
	limits   *limiters
	metrics  *metrics
	ids      ids
	deaf     deaf
	used     usage
	requests requests
	idle     time.Duration // bodies and upgraded connections may stand still for

	gate    *goproxy.ProxyHttpServer
	reverse *httputil.ReverseProxy
	outer   *http.Server
	inner   *http.Server
	doors   *doors   // connections that the gate has let through to the road
	tunnels *tunnels // connections that are passed through untouched
	open    atomic.Int64
}

// New makes a Server. It does no I/O and starts nothing.
func New(o Options) *Server {
	s := &Server{
		o: o, limits: newLimiters(), deaf: newDeaf(),
		sources: &sources{life: o.Life, store: o.Store, keeper: o.Keeper, log: o.Log, metrics: o.AuthMetrics, held: map[sourceKey]*auth.Source{}},
		doors:   newDoors(), tunnels: newTunnels(), idle: idleTimeout,
	}
	s.metrics = newMetrics(o.Registerer, func() float64 { return float64(s.doors.open.Load() + s.tunnels.open.Load()) })
	var b [4]byte
	_, _ = rand.Read(b[:]) // never fails
	s.ids.prefix = hex.EncodeToString(b[:])
	s.gate = newGate()
	s.reverse = s.newReverse()
	s.outer = s.newHTTP(outerConn, http.HandlerFunc(s.serveOuter))
	s.inner = s.newHTTP(innerConn, http.HandlerFunc(s.serveInner))
	s.inner.TLSConfig = s.tunnelTLS()
	s.inner.ConnState = nil
	return s
}

func (s *Server) newHTTP(conn func(context.Context, net.Conn) context.Context, h http.Handler) *http.Server {
	return &http.Server{
		Handler: h, ConnContext: conn, ConnState: s.countConns, ErrorLog: s.outerLog(),
		ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: 2 * maxHeaderBytes,
		DisableGeneralOptionsHandler: true,
		HTTP2:                        &http.HTTP2Config{MaxConcurrentStreams: maxStreams, SendPingTimeout: 30 * time.Second, PingTimeout: 15 * time.Second},
	}
}

// Run serves the tunnels that the gate opens, until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { _ = s.inner.Close() })
	defer stop()
	go s.sources.run(ctx)
	if err := s.inner.Serve(s.doors); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Serve accepts runners on ln until Drain or Close. caller is the one that the
// listener is bound to; empty: each request tells.
func (s *Server) Serve(ln net.Listener, caller string) error {
	if err := s.outer.Serve(runnerListener{ln, s, caller}); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Drain stops accepting, closes what is idle, and waits for the requests in
// flight until ctx ends; then it cuts what is left.
func (s *Server) Drain(ctx context.Context) error {
	s.tunnels.closeIdle()
	var all errgroup.Group
	all.Go(func() error { return s.outer.Shutdown(ctx) })
	all.Go(func() error { return s.inner.Shutdown(ctx) })
	all.Go(func() error { return s.tunnels.wait(ctx) })
	err := all.Wait()
	s.Close()
	return err
}

// Close cuts every connection at once.
func (s *Server) Close() {
	_ = s.outer.Close()
	_ = s.inner.Close()
	s.tunnels.closeAll()
}

// countConns keeps the number of runner connections that net/http holds.
// Connections that it hands over are counted where they go.
func (s *Server) countConns(_ net.Conn, st http.ConnState) {
	switch st {
	case http.StateNew:
		s.open.Add(1)
	case http.StateClosed, http.StateHijacked:
		s.open.Add(-1)
	}
}
