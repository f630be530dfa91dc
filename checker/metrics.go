package checker

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

var (
	statusDesc = prometheus.NewDesc("sallyport_credential_status",
		"1 for the credential's status, by its use and its last check, 0 for the others.", []string{"credential", "status"}, nil)
	expiryDesc = prometheus.NewDesc("sallyport_credential_expiry_timestamp_seconds",
		"When somebody must act: the end of a secret that does not change, or of a refresh token, where it is known.", []string{"credential"}, nil)
)

// standings are the statuses that a credential can have.
var standings = []Status{OK, Warning, Error, Unknown, Reauthorize}

// statuses is the collector of credential_status and credential_expiry. Its
// labels are references of stored credentials: of those that the history keeps a
// report of, and of those in use that fail or end.
type statuses struct{ h *History }

// Describe implements prometheus.Collector.
func (s statuses) Describe(ch chan<- *prometheus.Desc) { ch <- statusDesc; ch <- expiryDesc }

// Collect implements prometheus.Collector.
func (s statuses) Collect(ch chan<- prometheus.Metric) {
	uses := s.h.uses()
	for _, r := range s.h.All() {
		collect(ch, r.Credential, uses[r.Credential], r)
		delete(uses, r.Credential)
	}
	for ref, u := range uses {
		collect(ch, ref, u, nil)
	}
}

func collect(ch chan<- prometheus.Metric, ref string, u Use, r *Report) {
	if now := u.standing(r); r != nil || now != Unknown {
		for _, st := range standings {
			v := 0.0
			if now == st {
				v = 1
			}
			ch <- prometheus.MustNewConstMetric(statusDesc, prometheus.GaugeValue, v, ref, string(st))
		}
	}
	if u.Ends.IsZero() && r != nil {
		u.Ends = r.ends
	}
	if !u.Ends.IsZero() {
		ch <- prometheus.MustNewConstMetric(expiryDesc, prometheus.GaugeValue, float64(u.Ends.Unix()), ref)
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
