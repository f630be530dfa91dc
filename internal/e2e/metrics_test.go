package e2e

import (
	"net/http"
	"strings"
	"testing"
)

// metric gives the value of one line of /metrics; empty if there is none.
func (w *world) metric(t *testing.T, name string) string {
	t.Helper()
	status, body := w.Call(t, http.MethodGet, "/metrics", nil)
	if status != http.StatusOK {
		t.Fatalf("GET /metrics: status %d", status)
	}
	for line := range strings.Lines(body) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
