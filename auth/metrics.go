package auth

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// Metrics of the token endpoints. A nil *Metrics counts nothing.
type Metrics struct {
	refreshes *prometheus.CounterVec
	duration  prometheus.Histogram
}

// NewMetrics makes and registers them; a nil registerer registers nothing.
func NewMetrics(r prometheus.Registerer) *Metrics {
	f := promauto.With(r)
	return &Metrics{
		refreshes: f.NewCounterVec(prometheus.CounterOpts{
			Name: "sallyport_token_refreshes_total",
			Help: "Tokens asked for at a token endpoint, by outcome: ok or a fault code.",
		}, []string{"provider", "grant", "outcome"}),
		duration: f.NewHistogram(prometheus.HistogramOpts{
			Name:    "sallyport_token_refresh_duration_seconds",
			Help:    "Time that token endpoints took to answer.",
			Buckets: []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}),
	}
}

func (m *Metrics) refreshed(provider, grant, outcome string, took time.Duration) {
	if m == nil {
		return
	}
	m.refreshes.WithLabelValues(provider, grant, outcome).Inc()
	m.duration.Observe(took.Seconds())
}
