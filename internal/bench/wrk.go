package bench

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"time"
)

// byWrk has wrk send the request, which takes less of a small machine than a Go
// program: what the load itself takes, the proxies do not have. wrk opens no
// tunnels, so it serves the plain scenario.
func (t target) byWrk(conns int, d time.Duration) (sample, error) {
	dir, err := os.MkdirTemp("", "bench-")
	if err != nil {
		return sample{}, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	script := filepath.Join(dir, "request.lua")
	if err := os.WriteFile(script, fmt.Appendf(nil, "function request() return %s end\n", strconv.Quote(t.request)), 0o600); err != nil {
		return sample{}, err
	}
	before, err := cpuTime(t.pid)
	if err != nil {
		return sample{}, err
	}
	out, err := exec.Command(t.wrk, "-t1", "-c"+strconv.Itoa(conns), "-d"+strconv.Itoa(max(int(d.Seconds()), 1))+"s",
		"--latency", "-s", script, "http://"+t.address+"/").CombinedOutput()
	if err != nil {
		return sample{}, fmt.Errorf("%s: wrk: %w: %s", t.name, err, out)
	}
	after, err := cpuTime(t.pid)
	if err != nil {
		return sample{}, err
	}
	s, err := readWrk(string(out))
	if err != nil {
		return s, fmt.Errorf("%s: %w", t.name, err)
	}
	s.cpu = after - before
	return s, nil
}

var (
	wrkTotal   = regexp.MustCompile(`(\d+) requests in ([0-9.]+[a-z]+),`)
	wrkLatency = regexp.MustCompile(`(50|99)%\s+([0-9.]+[a-z]+)`)
	wrkFaults  = regexp.MustCompile(`(?m)^\s*(Non-2xx.*|Socket errors.*)$`)
)

// readWrk reads wrk's report. Answers that are no 2xx and broken connections are an error.
func readWrk(out string) (sample, error) {
	if bad := wrkFaults.FindString(out); bad != "" {
		return sample{}, fmt.Errorf("wrk: %s", bad)
	}
	total, percentiles := wrkTotal.FindStringSubmatch(out), wrkLatency.FindAllStringSubmatch(out, -1)
	if total == nil || len(percentiles) != 2 {
		return sample{}, fmt.Errorf("wrk's report is not understood: %s", out)
	}
	var s sample
	var err error
	if s.requests, err = strconv.Atoi(total[1]); err != nil {
		return s, err
	}
	for text, to := range map[string]*time.Duration{total[2]: &s.took, percentiles[0][2]: &s.p50, percentiles[1][2]: &s.p99} {
		if *to, err = time.ParseDuration(text); err != nil {
			return s, err
		}
	}
	return s, nil
}
