package e2e

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/testserver"
)

// front stands before a real Vault and does to its traffic what Vault itself would not.
type front struct {
	*httptest.Server
	calls atomic.Int64
	trick atomic.Pointer[trick] // nil: none
}

// trick may answer in Vault's place; false leaves the call to Vault.
type trick func(w http.ResponseWriter, r *http.Request) bool

func newFront(t *testing.T, v *testserver.Vault) *front {
	t.Helper()
	target, err := url.Parse(v.Address)
	if err != nil {
		t.Fatal(err)
	}
	f := &front{}
	vault := &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport: &http.Transport{}, ErrorLog: log.New(io.Discard, "", 0),
	}
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.calls.Add(1)
		if play := f.trick.Load(); play != nil && (*play)(w, r) {
			return
		}
		vault.ServeHTTP(w, r)
	}))
	t.Cleanup(func() { f.CloseClientConnections(); f.Close() })
	return f
}

// play has h answer in Vault's place.
func (f *front) play(h http.HandlerFunc) {
	f.sometimes(func(w http.ResponseWriter, r *http.Request) bool { h(w, r); return true })
}

func (f *front) sometimes(play trick) { f.trick.Store(&play) }

// restore leaves everything to Vault again.
func (f *front) restore() { f.trick.Store(nil) }

func badGateway(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }

// VA-01: a redirect is not followed, and the token does not arrive at its target.
func TestVaultRedirects(t *testing.T) {
	t.Parallel()
	var evil atomic.Int64
	target := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { evil.Add(1) }))
	t.Cleanup(target.Close)
	v := testserver.StartVault(t, testserver.VaultOptions{})
	f := newFront(t, v)
	w := newVaultWorld(t, v, f.URL, "", first(tokenFile(t, v.Token)))
	w.hold(t)
	for _, status := range []int{301, 302, 303, 307, 308} {
		f.play(func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, target.URL+r.URL.Path, status) })
		w.refused(t, fmt.Sprintf("VA-01: %d", status), "api", "second", fault.VaultUnreachable)
	}
	w.served(t, "VA-01: held", "api", "")
	if n := evil.Load(); n != 0 {
		t.Errorf("VA-01: %d calls reached the redirect's target", n)
	}
	if strings.Contains(w.Log(), v.Token) {
		t.Error("VA-01: the log holds the token")
	}
	f.restore()
	w.resumes(t, "VA-01: no redirect", "api", "second")
	w.neverBare(t, "VA-01")
}

func first(s, _ string) string { return s }

// VA-01: a Vault that redirects from the start is none, and gets no request through.
func TestVaultRedirectsAtStart(t *testing.T) {
	t.Parallel()
	var evil atomic.Int64
	target := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { evil.Add(1) }))
	t.Cleanup(target.Close)
	f := httptest.NewServer(http.RedirectHandler(target.URL, http.StatusTemporaryRedirect))
	t.Cleanup(f.Close)
	w := prepareVaultWorld(t)
	w.launch(t, f.URL, "", "", "VAULT_TOKEN="+canary)
	w.waitForLog(t, "redirects are not followed")
	w.refused(t, "VA-01", "api", "", fault.VaultUnreachable)
	w.becomes(t, "VA-01", http.StatusServiceUnavailable, "")
	if evil.Load() != 0 || strings.Contains(w.Log(), canary) {
		t.Errorf("VA-01: %d calls reached the redirect's target; the log:\n%s", evil.Load(), w.Log())
	}
	w.neverBare(t, "VA-01")
}

// RE-08: an answer that is too large, or that never ends, is refused in time and not kept.
func TestVaultEndlessAnswers(t *testing.T) {
	t.Parallel()
	v := testserver.StartVault(t, testserver.VaultOptions{})
	f := newFront(t, v)
	w := newVaultWorld(t, v, f.URL, `cache_ttl = "1s"`, first(tokenFile(t, v.Token)))
	w.hold(t)
	end := w.traffic(t, "RE-08")
	var sent atomic.Int64
	for what, pause := range map[string]time.Duration{"1 GiB": 0, "a byte now and then": 100 * time.Millisecond} {
		f.play(func(w http.ResponseWriter, r *http.Request) { sent.Add(endless(w, r, pause)) })
		w.refused(t, "RE-08: "+what, "api", "second", fault.VaultUnreachable)
		w.refused(t, "RE-08: "+what, "api", "third", fault.VaultUnreachable)
		time.Sleep(2 * time.Second)
	}
	end()
	w.neverBare(t, "RE-08")
	w.gauge(t, "RE-08", "process_resident_memory_bytes", func(v float64) bool { return v > 0 && v < 512<<20 }) // with the race detector
	f.restore()
	w.resumes(t, "RE-08: Vault is itself again", "api", "second")
	if n := sent.Load(); n > 256<<20 {
		t.Errorf("RE-08: %d MiB of endless answers were taken, want a bound of 1 MiB for each", n>>20)
	}
}

// endless answers 1 GiB of one record, with a pause after each byte if there is one, and gives how much was taken.
func endless(w http.ResponseWriter, r *http.Request, pause time.Duration) (sent int64) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, `{"data":{"data":{"type":"bearer","token":"`)
	part := []byte(strings.Repeat("x", 64<<10))
	if pause > 0 {
		part = part[:1]
	}
	for sent < 1<<30 {
		n, err := w.Write(part)
		sent += int64(n)
		if err != nil {
			return sent
		}
		if pause > 0 {
			_ = http.NewResponseController(w).Flush()
			select {
			case <-time.After(pause):
			case <-r.Context().Done():
				return sent
			}
		}
	}
	return sent
}

// A Vault whose certificate is not signed by ca_file gets neither the token nor a request through; another ca_file is
// taken up without a restart.
func TestVaultWrongCA(t *testing.T) {
	t.Parallel()
	ca, wrong := testserver.NewCA(t), testserver.NewCA(t)
	v := testserver.StartVault(t, vaultTLS(t, ca))
	w := prepareVaultWorld(t)
	w.fill(t, v)
	lines, _ := tokenFile(t, v.Token)
	w.launch(t, v.Address, fmt.Sprintf("ca_file = %q", wrong.File), lines)
	w.waitForLog(t, "certificate")
	w.refused(t, "a wrong CA", "api", "", fault.VaultUnreachable)
	w.refused(t, "a wrong CA", "plain", "", fault.VaultUnreachable)
	w.becomes(t, "a wrong CA", http.StatusServiceUnavailable, "")
	w.neverBare(t, "a wrong CA")
	rewrite(t, wrong.File, string(ca.PEM))
	w.becomes(t, "the right CA", http.StatusOK, `{"status":"ok"}`)
	w.resumes(t, "the right CA", "api", "")
	w.neverBare(t, "the right CA")
}
