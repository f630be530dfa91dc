// Package admin is the admin API: health, metrics, credentials and their checks,
// callers and decisions, over the admin listener and the admin socket.
package admin

import (
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sallyport/sallyport/checker"
	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/provider"
	"github.com/sallyport/sallyport/internal/secret"
)

// Options of a Server. All but Hosts and Log are required.
type Options struct {
	Store    credential.Store
	Daemon   Daemon
	Checker  *checker.Checker
	History  *checker.History
	Gatherer prometheus.Gatherer
	Token    secret.Value  // of the TCP listener; empty: nobody gets in there
	CAPEM    func() []byte // the local CA's certificate
	Hosts    []string      // Host names of the TCP listener besides loopback
	Log      *slog.Logger  // nil: nothing is logged

	// Validate refuses a record that its provider or type does not take: an
	// invalid_request or field_missing that names the field, never its value.
	Validate func(*provider.Provider, *credential.Credential) error
	// Fields gives the fields that a type knows, required and optional; ok is
	// false for a type that does not exist.
	Fields func(typ string) (fields []string, ok bool)
}

// Server serves the admin API. Its handlers may be used by several listeners.
type Server struct{ o Options }

// New makes a Server. It does no I/O.
func New(o Options) *Server {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Server{o}
}
