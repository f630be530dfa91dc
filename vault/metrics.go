package vault

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sallyport/sallyport/internal/fault"
)

type metrics struct {
	requests   *prometheus.CounterVec
	up, expiry prometheus.Gauge
}

// newMetrics registers the metrics, or takes those that an earlier store of the same program has registered.
// A nil reg registers nothing.
func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sallyport_vault_requests_total", Help: "Calls to Vault by operation and outcome (ok or a fault code).",
		}, []string{"operation", "outcome"}),
		up: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "sallyport_vault_up", Help: "1 if Vault answers and is unsealed, or is not used.",
		}),
		expiry: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "sallyport_vault_token_expiry_timestamp_seconds", Help: "When our Vault token ends without renewal; 0: never, or there is none.",
		}),
	}
	if reg == nil {
		return m, nil
	}
	var errs [3]error
	m.requests, errs[0] = register(reg, m.requests)
	m.up, errs[1] = register(reg, m.up)
	m.expiry, errs[2] = register(reg, m.expiry)
	return m, errors.Join(errs[:]...)
}

func register[C prometheus.Collector](reg prometheus.Registerer, c C) (C, error) {
	err := reg.Register(c)
	if e := (prometheus.AlreadyRegisteredError{}); errors.As(err, &e) {
		if old, ok := e.ExistingCollector.(C); ok {
			return old, nil
		}
	}
	return c, err
}

// RegisterWithoutVault exposes the metrics of a daemon whose store is not Vault: sallyport_vault_up is 1.
func RegisterWithoutVault(reg prometheus.Registerer) error {
	m, err := newMetrics(reg)
	if err == nil {
		m.up.Set(1)
	}
	return err
}

func (m *metrics) request(op string, err error) {
	outcome := "ok"
	if err != nil {
		outcome = string(fault.From(err).Code)
	}
	m.requests.WithLabelValues(op, outcome).Inc()
}

func (m *metrics) setUp(up bool) {
	if up {
		m.up.Set(1)
		return
	}
	m.up.Set(0)
}

func (m *metrics) setExpiry(t time.Time) {
	if t.IsZero() {
		m.expiry.Set(0)
		return
	}
	m.expiry.Set(float64(t.UnixMilli()) / 1000)
}
