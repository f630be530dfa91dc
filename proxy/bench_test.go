package proxy

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/provider"
)

var kilobyte = strings.Repeat("x", 1<<10)

// BenchmarkRoad sends small requests through the whole proxy and back, with
// keep-alive. Runner and upstream are in the same process: compare runs with
// each other, not with other proxies. Its CPU profile is what the compiler
// optimizes the daemon by: make pgo.
func BenchmarkRoad(b *testing.B) {
	answer := func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, kilobyte) }
	plain := httptest.NewServer(http.HandlerFunc(answer))
	defer plain.Close()
	for _, c := range []struct {
		name, scheme string
		h2           bool
	}{{"plain", "", false}, {"absolute-form", "http://", false}, {"intercepted HTTP1", "https://", false}, {"intercepted HTTP2", "https://", true}} {
		b.Run(c.name, func(b *testing.B) {
			r := newRig(b, answer, func(r *rig) {
				r.level = slog.LevelWarn
				if c.scheme == "" {
					r.providers(&provider.Provider{
						Name: "api", Hosts: []string{strings.TrimPrefix(plain.URL, "http://")}, BaseURL: plain.URL, Type: "api_key",
						Configured: true, AllowCleartext: true, Fingerprint: "1",
					})
				}
			})
			client := r.client(c.h2)
			client.Transport.(*http.Transport).MaxIdleConnsPerHost = 64
			url := c.scheme + r.upstream.authority + "/x"
			if c.scheme == "" {
				url = plain.URL + "/x"
			}
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

// BenchmarkTarget finds the provider and the credential of a request, alone: no
// lock is taken and nothing is allocated, however many credentials there are.
func BenchmarkTarget(b *testing.B) {
	for _, c := range []struct {
		name       string
		configured bool
		more       int // further credentials in the folder
		header     string
	}{{"configured", true, 0, ""}, {"built-in", false, 0, ""}, {"10,000, the default", false, 10_000, ""}, {"10,000, by name", false, 10_000, "n4711"}} {
		b.Run(c.name, func(b *testing.B) {
			r := newRig(b, echo, func(r *rig) {
				r.store.Add("api/default", "api_key", "api_key", canary)
				for i := range c.more {
					r.store.Add("api/n"+strconv.Itoa(i), "api_key", "api_key", canary)
				}
				p := *r.config.Providers.Get("api")
				p.Configured = c.configured
				r.providers(&p)
			})
			st := r.srv.st.Load()
			a, err := provider.ParseAuthority(r.upstream.authority, 443)
			if err != nil {
				b.Fatal(err)
			}
			q := ask{caller: st.callers["orders"], authority: a, secure: true, method: "GET", path: "/x", name: c.header, since: time.Now()}
			if _, err := st.target(context.Background(), q); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if t, err := st.target(context.Background(), q); err != nil || t.entry == nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}
