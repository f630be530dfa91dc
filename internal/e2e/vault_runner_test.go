package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/fault"
)

// What a request may wait for a credential that is not held, and what a busy machine adds to it.
const (
	uncachedWait = 2 * time.Second
	busyMachine  = 3 * time.Second
)

// reply is what a runner was answered.
type reply struct {
	status int
	code   string // of a fault of ours, as Proxy-Status tells it
	took   time.Duration
	err    error
}

func (r reply) String() string {
	return fmt.Sprintf("status %d %s after %v (%v)", r.status, r.code, r.took.Round(time.Millisecond), r.err)
}

// ask sends one request to the provider's upstream through the daemon, with the credential that name picks; "" is none.
func (w *vaultWorld) ask(c *http.Client, provider, name string) reply {
	target := map[string]string{"api": "https://" + w.api.Addr, "plain": "http://" + w.plain.Addr, "leased": "https://" + w.other.Addr}
	req, err := http.NewRequest(http.MethodGet, target[provider]+"/x", nil)
	if err != nil {
		return reply{err: err}
	}
	if name != "" {
		req.Header.Set("Sallyport-Credential", name)
	}
	began := time.Now()
	resp, err := c.Do(req)
	if refused := (*refusal)(nil); errors.As(err, &refused) {
		return reply{refused.status, refused.code, time.Since(began), nil}
	}
	if err != nil {
		return reply{took: time.Since(began), err: err}
	}
	_, err = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	return reply{resp.StatusCode, codeOf(resp), time.Since(began), err}
}

// served checks that a request is answered by the upstream in time.
func (w *vaultWorld) served(t *testing.T, what, provider, name string) {
	t.Helper()
	if r := w.ask(w.fresh, provider, name); r.err != nil || r.status != http.StatusOK || r.took > uncachedWait+busyMachine {
		t.Errorf("%s: %s/%s: %v, want 200 within %v", what, provider, name, r, uncachedWait)
	}
}

// resumes checks that a request is served soon after Vault has come back: a refusal is remembered for some seconds.
func (w *vaultWorld) resumes(t *testing.T, what, provider, name string) {
	t.Helper()
	const limit = comesBack
	for began := time.Now(); ; time.Sleep(100 * time.Millisecond) {
		r := w.ask(w.fresh, provider, name)
		if r.status == http.StatusOK {
			return
		}
		if r.err != nil || time.Since(began) > limit {
			t.Errorf("%s: %s/%s: still %v after %v", what, provider, name, r, limit)
			return
		}
	}
}

// refused checks that a request gets our fault in time.
func (w *vaultWorld) refused(t *testing.T, what, provider, name string, code fault.Code) {
	t.Helper()
	r, want := w.ask(w.fresh, provider, name), fault.New(code, "", nil).Status()
	if r.err != nil || r.status != want || r.code != string(code) {
		t.Errorf("%s: %s/%s: %v, want %d %s", what, provider, name, r, want, code)
	}
	if r.took > uncachedWait+busyMachine {
		t.Errorf("%s: %s/%s waited %v for what is not held, want %v at most", what, provider, name, r.took, uncachedWait)
	}
}

// runner gives a client behind the daemon. A refused CONNECT is its error, as refusal.
func (w *vaultWorld) runner(t *testing.T, fresh bool) *http.Client {
	t.Helper()
	c := w.Client(t)
	c.Timeout = time.Minute
	tr, _ := c.Transport.(*http.Transport)
	tr.DisableKeepAlives = fresh
	tr.OnProxyConnectResponse = func(_ context.Context, _ *url.URL, _ *http.Request, resp *http.Response) error {
		if resp.StatusCode != http.StatusOK {
			return &refusal{resp.StatusCode, codeOf(resp)}
		}
		return nil
	}
	return c
}

type refusal struct {
	status int
	code   string
}

func (r *refusal) Error() string { return fmt.Sprintf("CONNECT refused: %d %s", r.status, r.code) }

// codeOf gives the code of a fault of ours, or what we tell about an upstream's answer.
func codeOf(resp *http.Response) string {
	_, details, _ := strings.Cut(resp.Header.Get("Proxy-Status"), `details="`)
	code, _, _ := strings.Cut(details, `"`)
	return code
}

// traffic sends requests with held credentials until end is called, which checks that none of them failed.
func (w *vaultWorld) traffic(t *testing.T, what string) (end func()) {
	t.Helper()
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var mu sync.Mutex
	var sent int
	var failed []reply
	for _, provider := range []string{"api", "plain"} {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(20 * time.Millisecond):
				}
				r := w.ask(w.client, provider, "")
				mu.Lock()
				if sent++; r.err != nil || r.status != http.StatusOK {
					failed = append(failed, r)
				}
				mu.Unlock()
			}
		})
	}
	return func() {
		t.Helper()
		close(stop)
		wg.Wait()
		if len(failed) > 0 || sent == 0 {
			t.Errorf("%s: %d of %d requests with held credentials failed: %v", what, len(failed), sent, failed)
		}
		t.Logf("%s: %d requests with held credentials", what, sent)
	}
}
