package bench

import (
	"strings"
	"testing"
	"time"
)

const wrkReport = `Running 2s test @ http://127.0.0.1:1/
  1 threads and 16 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   512.10us    1.02ms  20.03ms   93.02%
  Latency Distribution
     50%  403.00us
     75%  512.00us
     90%    0.98ms
     99%    4.21ms
  76264 requests in 2.01s, 91.00MB read
Requests/sec:  37900.00
`

func TestReadWrk(t *testing.T) {
	s, err := readWrk(wrkReport)
	if err != nil || s.requests != 76264 || s.took != 2010*time.Millisecond || s.p50 != 403*time.Microsecond || s.p99 != 4210*time.Microsecond {
		t.Errorf("%+v, %v", s, err)
	}
	for _, bad := range []string{"", wrkReport + "  Non-2xx or 3xx responses: 3\n", wrkReport + "  Socket errors: connect 0, read 1, write 0, timeout 0\n"} {
		if _, err := readWrk(bad); err == nil {
			t.Errorf("%.40q is taken for a report", strings.TrimSpace(bad))
		}
	}
}
