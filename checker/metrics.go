package checker

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

var statusDesc = prometheus.NewDesc("sallyport_credential_status",
	"1 for the status of the credential's last check, 0 for the others.", []string{"credential", "status"}, nil)

// reported are the statuses that a report can have.
var reported = []Status{OK, Warning, Error, Unknown}

// statuses is the collector of credential_status. Its labels are references of
// stored credentials, as many as the history keeps.
type statuses struct{ h *History }

// Describe implements prometheus.Collector.
func (s statuses) Describe(ch chan<- *prometheus.Desc) { ch <- statusDesc }

// Collect implements prometheus.Collector.
func (s statuses) Collect(ch chan<- prometheus.Metric) {
	for _, r := range s.h.All() {
		for _, st := range reported {
			v := 0.0
			if r.Status == st {
				v = 1
			}
			ch <- prometheus.MustNewConstMetric(statusDesc, prometheus.GaugeValue, v, r.Credential, string(st))
		}
	}
}

// newDurations makes the histogram check_duration_seconds and registers it with r, if any.
func newDurations(r prometheus.Registerer) *prometheus.HistogramVec {
	h := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "sallyport_check_duration_seconds", Help: "How long checks of credentials took.",
		Buckets: []float64{.05, .1, .25, .5, 1, 2.5, 5, 10},
	}, []string{"provider"})
	var have prometheus.AlreadyRegisteredError
	if r != nil && errors.As(r.Register(h), &have) {
		if old, ok := have.ExistingCollector.(*prometheus.HistogramVec); ok {
			return old
		}
	}
	return h
}
