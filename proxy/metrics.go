package proxy

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// metrics of the request path. Labels come from the configuration and the code
// table only, never from a request.
type metrics struct {
	requests    *prometheus.CounterVec   // provider, caller, outcome
	duration    *prometheus.HistogramVec // provider
	upstream    *prometheus.HistogramVec // provider
	tries       *prometheus.CounterVec   // provider, outcome
	waits       *prometheus.HistogramVec // provider
	rateLimited *prometheus.CounterVec   // provider
	inflight    prometheus.Gauge
	panics      prometheus.Counter
}

var seconds = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60}

func newMetrics(r prometheus.Registerer, tunnels func() float64) *metrics {
	f := promauto.With(r)
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return f.NewCounterVec(prometheus.CounterOpts{Namespace: "sallyport", Name: name, Help: help}, labels)
	}
	histogram := func(name, help string) *prometheus.HistogramVec {
		return f.NewHistogramVec(prometheus.HistogramOpts{Namespace: "sallyport", Name: name, Help: help, Buckets: seconds}, []string{"provider"})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return f.NewGauge(prometheus.GaugeOpts{Namespace: "sallyport", Name: name, Help: help})
	}
	f.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "sallyport", Name: "tunnels_open", Help: "Tunnels open, intercepted ones too."}, tunnels)
	return &metrics{
		requests:    counter("requests_total", "Requests of runners, by what became of them: ok, upstream_4xx, upstream_5xx, canceled or a fault code.", "provider", "caller", "outcome"),
		duration:    histogram("request_duration_seconds", "Time from a request to the end of its answer."),
		upstream:    histogram("upstream_duration_seconds", "Time that upstreams took to the header of their answer, all tries of a request together."),
		tries:       counter("upstream_tries_total", "Sendings to upstreams, by outcome.", "provider", "outcome"),
		waits:       histogram("limit_wait_seconds", "Time that requests waited for their turn within the limits."),
		rateLimited: counter("rate_limited_total", "Requests refused because their turn was too far away.", "provider"),
		inflight:    gauge("inflight_requests", "Requests being served."),
		panics:      f.NewCounter(prometheus.CounterOpts{Namespace: "sallyport", Name: "panics_total", Help: "Requests and checks that ended in a panic of the daemon's code."}),
	}
}

func (m *metrics) try(provider, outcome string) {
	m.tries.WithLabelValues(provider, outcome).Inc()
}

func (m *metrics) done(x *exchange, outcome string, took time.Duration) {
	p := x.providerName()
	m.requests.WithLabelValues(p, x.callerName(), outcome).Inc()
	m.duration.WithLabelValues(p).Observe(took.Seconds())
	if x.tries > 0 {
		m.upstream.WithLabelValues(p).Observe(x.upstream.Seconds())
	}
	if x.waited > 0 {
		m.waits.WithLabelValues(p).Observe(x.waited.Seconds())
	}
	if outcome == "rate_limited" {
		m.rateLimited.WithLabelValues(p).Inc()
	}
}

// statusOutcome is the outcome of a try that was answered.
func statusOutcome(status int) string {
	switch {
	case status >= 500:
		return "upstream_5xx"
	case status >= 400:
		return "upstream_4xx"
	}
	return "ok"
}
