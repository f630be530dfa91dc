// Package admin is the admin API: health, metrics, credentials and their checks,
// callers and decisions, over the admin listener and the admin socket.
package admin

import (
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sallyport/sallyport/checker"
	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/provider"
	"github.com/sallyport/sallyport/internal/secret"
)

// Options of a Server. All but Hosts and Log are required.
type Options struct {
	Store    credential.Store
	Apps     credential.Apps
	Daemon   Daemon
	Connects Connector
	Table    func() *provider.Table // the running one
	Checker  *checker.Checker
	History  *checker.History
	Gatherer prometheus.Gatherer
	Token    secret.Value              // of the TCP listener; empty: nobody gets in there
	CAPEM    func() []byte             // the local CA's certificate
	Referred func(credential.Ref) bool // whether the configuration says where in Vault the credential lies; nil: of none
	Hosts    []string                  // Host names of the TCP listener besides loopback
	Log      *slog.Logger              // nil: nothing is logged
}

// Server serves the admin API. Its handlers may be used by several listeners.
type Server struct {
	o     Options
	hosts map[string]bool // canonical
}

// New makes a Server. It does no I/O. Hosts that are no host names are passed over.
func New(o Options) *Server {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{o: o, hosts: map[string]bool{}}
	for _, h := range o.Hosts {
		if a, err := provider.ParseAuthority(h, 80); err == nil {
			s.hosts[a.Host] = true
		}
	}
	return s
}

// TCP is the handler of the admin listener: it asks for the token, and for a
// Host and an Origin of its own.
func (s *Server) TCP() http.Handler {
	return s.serve(s.guarded(s.routes(s.api(), s.authorized)))
}

// Socket is the handler of the admin socket, whose file mode says who may use it.
func (s *Server) Socket() http.Handler {
	return s.serve(s.routes(s.api(), anybody))
}

// Metrics is the handler of the metrics listener: health and metrics, nothing
// else, for anybody, under any Host.
func (s *Server) Metrics() http.Handler {
	return s.serve(s.routes(s.health(), anybody))
}

// Limits of what the API reads and of how long it takes.
const (
	maxBody      = 1 << 20
	bodyTimeout  = 30 * time.Second
	storeTimeout = 30 * time.Second
)
