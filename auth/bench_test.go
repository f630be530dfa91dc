package auth

import (
	"net/http"
	"testing"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/provider"
)

func BenchmarkSourceInjector(b *testing.B) {
	s, _, _ := staticSource(SourceOptions{})
	get(b, s)
	b.SetParallelism(8) // 16 goroutines on two cores
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := s.Injector(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkInject(b *testing.B) {
	key := provider.Place{In: provider.InHeader, Name: "X-Api-Key", Value: "{api_key}"}
	for name, tc := range map[string]struct {
		p *provider.Provider
		c *credential.Credential
	}{
		"bearer":         {crm(), record("bearer", "token", "t")},
		"api_key":        {crm(key), record("api_key", "api_key", "k")},
		"api_key_secret": {crm(), record("api_key_secret", "api_key", "k", "api_secret", "s")},
		"api_key_url":    {crm(key), record("api_key_url", "api_key", "k", "url", "https://one.example")},
		"basic":          {crm(), record("basic", "username", "u", "password", "p")},
		"basic_url":      {crm(), record("basic_url", "username", "u", "password", "p", "url", "https://one.example")},
		"basic_api_key":  {crm(key), record("basic_api_key", "username", "u", "password", "p", "api_key", "k")},
		"query":          {crm(provider.Place{In: provider.InQuery, Name: "key", Value: "{api_key}"}), record("api_key", "api_key", "k")},
	} {
		b.Run(name, func(b *testing.B) {
			i := mustMint(b, tc.p, tc.c)
			req := browserRequest(b)
			url := req.URL
			b.ReportAllocs()
			for b.Loop() {
				req.URL = url
				if err := i.Inject(req); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// browserRequest has as many fields as an ordinary client sends.
func browserRequest(tb testing.TB) *http.Request {
	return request(tb, "https://crm.example/v1/things?page=2&limit=100", "Accept", "application/json", "Accept-Encoding", "gzip",
		"User-Agent", "client/1.0", "Content-Type", "application/json", "X-Request-Id", "1", "Authorization", "Bearer dummy", "Traceparent", "00-1-1-00")
}

// The hot path allocates nothing for what goes into a header.
func TestInjectAllocatesNothing(t *testing.T) {
	i := mustMint(t, crm(header("X-Api-Key", "{api_key}")), record("basic_api_key", "username", "u", "password", "p", "api_key", "k"))
	req := browserRequest(t)
	if n := testing.AllocsPerRun(100, func() { _ = i.Inject(req) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	s, _, _ := staticSource(SourceOptions{})
	get(t, s)
	ctx := t.Context()
	if n := testing.AllocsPerRun(100, func() { _, _ = s.Injector(ctx) }); n != 0 {
		t.Errorf("%v allocations of Source.Injector", n)
	}
}
