package auth

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

func TestMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg := prometheus.NewRegistry()
		m := NewMetrics(reg)
		if n, err := testutil.GatherAndCount(reg, "sallyport_token_refresh_duration_seconds"); n != 1 || err != nil {
			t.Errorf("a metric without labels is always exposed: %d, %v", n, err)
		}
		for _, answer := range []func(int) (int, string, string){nil, says(401, "application/json", `{"error":"invalid_client"}`)} {
			s, _, _ := tokenSource(&tokenEndpoint{answer: answer})
			s.o.Metrics = m
			_, _ = s.Injector(context.Background())
		}
		s, _, _ := staticSource(SourceOptions{Metrics: m}) // asks nobody
		get(t, s)
		want := `# HELP sallyport_token_refreshes_total Tokens asked for at a token endpoint, by outcome: ok or a fault code.
# TYPE sallyport_token_refreshes_total counter
sallyport_token_refreshes_total{grant="client_credentials",outcome="invalid_client",provider="crm"} 1
sallyport_token_refreshes_total{grant="client_credentials",outcome="ok",provider="crm"} 1
`
		if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "sallyport_token_refreshes_total"); err != nil {
			t.Error(err)
		}
	})
}
