package proxy

import (
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
)

var kilobyte = strings.Repeat("x", 1<<10)

// BenchmarkRoad sends small requests through the whole proxy and back, with
// keep-alive. Runner and upstream are in the same process: compare runs with
// each other, not with other proxies.
func BenchmarkRoad(b *testing.B) {
	answer := func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, kilobyte) }
	for _, c := range []struct {
		name, scheme string
		h2           bool
	}{{"absolute-form", "http://", false}, {"intercepted HTTP1", "https://", false}, {"intercepted HTTP2", "https://", true}} {
		b.Run(c.name, func(b *testing.B) {
			r := newRig(b, answer, func(r *rig) { r.level = slog.LevelWarn })
			client := r.client(c.h2)
			client.Transport.(*http.Transport).MaxIdleConnsPerHost = 64
			url := c.scheme + r.upstream.authority + "/x"
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					resp, err := client.Get(url)
					if err != nil {
						b.Error(err)
						return
					}
					_, _ = io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
				}
			})
		})
	}
}
