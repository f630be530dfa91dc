package checker

import (
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sallyport/sallyport/internal/provider"
)

// Options of a Checker. Client is required.
type Options struct {
	// Client gives the guarded client for a provider: no redirects, the
	// provider's roots and networks, errors that are faults.
	Client     func(*provider.Provider) *http.Client
	Log        *slog.Logger          // nil: nothing is logged
	Registerer prometheus.Registerer // nil: nothing is measured
	Now        func() time.Time      // nil: time.Now
}

// Checker checks credentials. Its methods may be called at once from many goroutines.
type Checker struct {
	client    func(*provider.Provider) *http.Client
	log       *slog.Logger
	durations *prometheus.HistogramVec
	now       func() time.Time
}

// New makes a Checker. It does no I/O.
func New(o Options) *Checker {
	c := &Checker{client: o.Client, log: o.Log, durations: newDurations(o.Registerer), now: o.Now}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	if c.now == nil {
		c.now = time.Now
	}
	return c
}
