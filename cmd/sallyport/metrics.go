package main

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// daemonMetrics are those that belong to no room.
type daemonMetrics struct{ successful, success prometheus.Gauge }

func newDaemonMetrics(r *prometheus.Registry, a *app) *daemonMetrics {
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	f := promauto.With(r)
	gauge := func(name, help string, get func() float64) {
		f.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "sallyport", Name: name, Help: help}, get)
	}
	gauge("ca_expiry_timestamp_seconds", "When the local CA expires.", func() float64 { return float64(a.ca.NotAfter().Unix()) })
	gauge("store_stale_seconds", "For how long the credential store has not answered while what is held is served.", a.stale)
	f.NewCounter(prometheus.CounterOpts{
		Namespace: "sallyport", Name: "audit_dropped_total", Help: "Records of the audit log that were dropped because they could not be written; 0 without one.",
	})
	f.NewGauge(prometheus.GaugeOpts{
		Namespace: "sallyport", Name: "build_info", Help: "Always 1; the labels tell the build.", ConstLabels: readBuild().labels(),
	}).Set(1)
	return &daemonMetrics{
		successful: f.NewGauge(prometheus.GaugeOpts{
			Namespace: "sallyport", Name: "config_last_reload_successful", Help: "Whether the last reload of the configuration was taken.",
		}),
		success: f.NewGauge(prometheus.GaugeOpts{
			Namespace: "sallyport", Name: "config_last_reload_success_timestamp_seconds", Help: "When a configuration was last taken.",
		}),
	}
}

func (m *daemonMetrics) reloaded(ok bool) {
	if !ok {
		m.successful.Set(0)
		return
	}
	m.successful.Set(1)
	m.success.Set(float64(time.Now().Unix()))
}

// stale is 0 while the store answers, and with the embedded one.
func (a *app) stale() float64 {
	if a.vault == nil || !a.readsVault() {
		return 0
	}
	if s := a.vault.Status(); (!s.LoggedIn || !s.Up) && !s.LastSuccess.IsZero() {
		return time.Since(s.LastSuccess).Seconds()
	}
	return 0
}

func (b buildInfo) labels() prometheus.Labels {
	return prometheus.Labels{"version": b.Version, "commit": b.Commit, "go": b.Go}
}
