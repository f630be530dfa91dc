package bench

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"
)

// result sums up the rounds of one target.
type result struct {
	name     string
	perSec   float64
	cpu      time.Duration // a request
	p50, p99 time.Duration // the median round's
}

func sum(name string, rounds []sample) result {
	var requests int
	var took, cpu time.Duration
	var p50, p99 []time.Duration
	for _, s := range rounds {
		requests += s.requests
		took += s.took
		cpu += s.cpu
		p50, p99 = append(p50, s.p50), append(p99, s.p99)
	}
	if requests == 0 {
		return result{name: name}
	}
	return result{
		name: name, perSec: float64(requests) / took.Seconds(), cpu: cpu / time.Duration(requests),
		p50: median(p50), p99: median(p99),
	}
}

// median of the rounds.
func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}

// tabulate writes the results of one scenario; the ratios are to the named peers.
func tabulate(w io.Writer, title string, results []result, peers ...string) {
	fmt.Fprintf(w, "\n%s\n", title)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(t, "proxy\treq/s\tCPU us/req\tp50 us\tp99 us\t")
	for _, p := range peers {
		fmt.Fprintf(t, "CPU / %s\tp50 / %s\t", p, p)
	}
	fmt.Fprintln(t)
	for _, r := range results {
		fmt.Fprintf(t, "%s\t%.0f\t%s\t%s\t%s\t", r.name, r.perSec, us(r.cpu), us(r.p50), us(r.p99))
		for _, p := range peers {
			i := slices.IndexFunc(results, func(r result) bool { return r.name == p })
			fmt.Fprintf(t, "%.2f\t%.2f\t", ratio(r.cpu, results[i].cpu), ratio(r.p50, results[i].p50))
		}
		fmt.Fprintln(t)
	}
	_ = t.Flush()
}

func us(d time.Duration) string { return fmt.Sprintf("%.1f", float64(d)/float64(time.Microsecond)) }

func ratio(a, b time.Duration) float64 {
	if b == 0 {
		return 0
	}
	return float64(a) / float64(b)
}
