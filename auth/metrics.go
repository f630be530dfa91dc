package auth

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// Metrics of the token endpoints. A nil *Metrics counts nothing.
type Metrics struct {
	refreshes *prometheus.CounterVec
	duration  prometheus.Histogram
	journal   atomic.Pointer[Journal]
}

// NewMetrics makes and registers them; a nil registerer registers nothing.
func NewMetrics(r prometheus.Registerer) *Metrics {
	f := promauto.With(r)
	m := &Metrics{
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
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "sallyport_journal_open", Help: "Refresh tokens that are being spent, or whose answer is not in the store yet.",
	}, func() float64 { _, n := m.journaled(); return float64(n) })
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "sallyport_journal_available", Help: "1 if the journal on this machine's disk can be written.",
	}, func() float64 {
		if ok, _ := m.journaled(); ok {
			return 1
		}
		return 0
	})
	return m
}

// watch has the metrics tell of j; nil: there is no journal.
func (m *Metrics) watch(j *Journal) {
	if m != nil {
		m.journal.Store(j)
	}
}

func (m *Metrics) journaled() (available bool, open int) {
	if j := m.journal.Load(); j != nil {
		return j.state()
	}
	return false, 0
}

func (m *Metrics) refreshed(provider, grant, outcome string, took time.Duration) {
	if m == nil {
		return
	}
	m.refreshes.WithLabelValues(provider, grant, outcome).Inc()
	m.duration.Observe(took.Seconds())
}
