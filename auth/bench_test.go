package auth

import (
	"maps"
	"net/http"
	"runtime"
	"runtime/metrics"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/provider"
)

// BenchmarkHeldInjector is what a request pays for a credential that is held: 16 runners ask for the same one at once.
// lock-wait-ns/op is the time that they waited for locks, of the runtime's too.
func BenchmarkHeldInjector(b *testing.B) {
	static, _, _ := staticSource(SourceOptions{})
	for name, s := range map[string]*Source{
		"static": static,
		"token":  func() *Source { s, _, _ := tokenSource(&tokenEndpoint{}); return s }(),
		"kept":   keptSource(b),
		"lent":   lentSource(&lender{get: func(int) (string, time.Duration, error) { return "t", time.Hour, nil }}, SourceOptions{}),
	} {
		b.Run(name, func(b *testing.B) {
			get(b, s)
			b.SetParallelism(max(1, 16/runtime.GOMAXPROCS(0)))
			b.ReportAllocs()
			ctx, waited := b.Context(), lockWait()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, err := s.Injector(ctx); err != nil {
						b.Fatal(err)
					}
				}
			})
			b.ReportMetric((lockWait()-waited)*1e9/float64(b.N), "lock-wait-ns/op")
		})
	}
}

// lockWait is how many seconds goroutines have waited for locks so far.
func lockWait() float64 {
	s := []metrics.Sample{{Name: "/sync/mutex/wait/total:seconds"}}
	metrics.Read(s)
	return s[0].Value.Float64()
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

// What a signature costs: of a request without a body, and of one with 16 KiB.
func BenchmarkSign(b *testing.B) {
	aws := []string{"access_key_id", "AKIAIOSFODNN7EXAMPLE", "secret_access_key", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"}
	cert, key := certificateUntil(b, time.Now().Add(time.Hour))
	for name, tc := range map[string]struct {
		p   *provider.Provider
		c   *credential.Credential
		url string
	}{
		"aws_sigv4 S3":  {crm(), record("aws_sigv4", aws...), "https://b.s3.eu-west-1.amazonaws.com/a/b.txt?list-type=2&prefix=x"},
		"aws_sigv4 SES": {crm(), record("aws_sigv4", aws...), "https://email.eu-west-1.amazonaws.com/v2/email/account"},
		"oauth1":        {crm(), oauth1Record("consumer", "secret", "token", "secret"), "https://crm.example/v1/things?page=2&limit=100"},
		"hmac hawk":     {schemed("hawk"), hmacRecord("id", "key"), "https://crm.example/v1/things?page=2&limit=100"},
		"hmac azure":    {schemed("azure-storage"), hmacRecord("account", "a2V5"), "https://a.blob.core.windows.net/box?restype=container&comp=list"},
		"mtls":          {crm(), record("mtls", "certificate", cert, "private_key", key), "https://crm.example/v1/things"},
	} {
		for size, body := range map[string][]byte{"no body": nil, "16 KiB": make([]byte, 16<<10)} {
			b.Run(name+" "+size, func(b *testing.B) {
				i := mustMint(b, tc.p, tc.c)
				sent := request(b, tc.url, "Accept", "application/json", "User-Agent", "client/1.0", "Content-Type", "application/octet-stream")
				b.ReportAllocs()
				for b.Loop() {
					req := *sent
					req.Header = maps.Clone(sent.Header)
					if body != nil {
						HoldBody(&req, body)
					}
					if err := i.Inject(&req); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
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
	static, _, _ := staticSource(SourceOptions{})
	for name, s := range map[string]*Source{"static": static, "kept": keptSource(t)} {
		i := get(t, s)
		ctx := t.Context()
		if n := testing.AllocsPerRun(100, func() { _, _ = s.Injector(ctx); _ = i.Inject(req) }); n != 0 {
			t.Errorf("%s: %v allocations of Source.Injector and Inject", name, n)
		}
	}
}

// keptSource serves a token that a keeper got by a refresh token.
func keptSource(tb testing.TB) *Source {
	tb.Helper()
	store, p, server := grantStore(), oauthProvider(), newRotating()
	p.Refresh.Rotates = true
	keeper := NewKeeper(KeeperOptions{Store: store})
	refs, err := store.List(tb.Context(), credential.Ref{})
	if err != nil {
		tb.Fatal(err)
	}
	s := NewSource(SourceOptions{Ref: refs[0], Provider: p, Store: keeper.Over(), Keeper: keeper, Client: &http.Client{Transport: server}})
	get(tb, s)
	return s
}
