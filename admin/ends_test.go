package admin_test

import (
	"testing"
	"time"

	"github.com/sallyport/sallyport/admin"
)

// A record whose end JSON cannot write is shown as one without an end, and hides no other.
func TestEndsThatCannotBeTold(t *testing.T) {
	for name, end := range map[string]string{"in the record": "9999-12-31T23:59:59-01:00", "in memory": ""} {
		b := newBench(t)
		b.store.Add(ref.String(), "bearer", "token", "t")
		if end != "" {
			b.store.Add(ref.String(), "bearer", "token", "t", "expires_at", end)
		} else {
			b.daemon.status[ref] = admin.Status{ExpiresAt: time.Unix(1<<40-1, 0)}
		}
		b.put(t, "/api/v1/credentials/zoo/production/api/main", `{"fields":{"token":"good"}}`)
		m := object(t, b.do(call{method: "GET", path: "/api/v1/credentials"}))
		if items := m["items"].([]any); len(items) != 2 || items[0].(map[string]any)["expires_at"] != nil {
			t.Errorf("%s: %v", name, items)
		}
	}
}
