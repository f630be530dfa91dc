package auth

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/credential/credtest"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
	"github.com/sallyport/sallyport/internal/seal"
	"github.com/sallyport/sallyport/internal/secret"
)

// rotating is an authorization server in memory of the worst kind: a refresh
// token is good for one use, and its second use ends the grant.
type rotating struct {
	took   time.Duration
	grace  time.Duration                         // the token before the last one gives another
	before func(n int) (status int, body string) // in place of the grant's answer, and nothing is rotated; nil, 0: that
	body   func(n int) (status int, body string) // the same after the rotation
	err    func(n int) error                     // the reply is lost; nil: it is not
	header http.Header                           // further ones of every answer
	lives  int                                   // of access tokens, seconds; 0: 600

	mu      sync.Mutex
	n       int
	valid   string
	old     string // before valid
	rotated time.Time
	spent   map[string]int // posts by refresh token
	probes  int            // requests without one
	reused  int
	dead    bool
	times   []time.Time // of the posts
}

func newRotating() *rotating { return &rotating{valid: "rt-0", spent: map[string]int{}} }

// RoundTrip implements http.RoundTripper.
func (a *rotating) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := req.ParseForm(); err != nil {
		return nil, err
	}
	trace(req)
	select {
	case <-time.After(a.took):
	case <-req.Context().Done():
		return nil, req.Context().Err()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	rt := req.PostForm.Get("refresh_token")
	if req.Method != http.MethodPost {
		a.probes++
		return a.answered(req, 405, ``), nil
	}
	a.spent[rt]++
	a.n++
	a.times = append(a.times, time.Now())
	if a.before != nil {
		if status, body := a.before(a.n); status != 0 {
			return a.answered(req, status, body), nil
		}
	}
	if forgiven := rt == a.old && time.Since(a.rotated) < a.grace; rt != a.valid && !forgiven || a.dead {
		if a.spent[rt] > 1 {
			a.reused++
		}
		a.dead = true
		return a.answered(req, 400, `{"error":"invalid_grant"}`), nil
	}
	a.old, a.valid, a.rotated = rt, fmt.Sprintf("rt-%d", a.n), time.Now()
	if a.err != nil {
		if err := a.err(a.n); err != nil {
			return nil, err
		}
	}
	if a.body != nil {
		if status, body := a.body(a.n); status != 0 {
			return a.answered(req, status, body), nil
		}
	}
	return a.answered(req, 200, fmt.Sprintf(`{"access_token":"at-%d","refresh_token":%q,"token_type":"bearer","expires_in":%d,"scope":"a"}`, a.n, a.valid, cmp.Or(a.lives, 600))), nil
}

func (a *rotating) answered(req *http.Request, status int, body string) *http.Response {
	resp := answered(req, status, body)
	for name, v := range a.header {
		resp.Header[name] = v
	}
	return resp
}

// sent gives how often a refresh token was posted.
func (a *rotating) sent(rt string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.spent[rt]
}

func (a *rotating) posts() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.n
}

// keeping is a keeper with its store and its server.
type keeping struct {
	*Keeper
	store  *credtest.Store
	server *rotating
	p      *provider.Provider
	ref    credential.Ref
	log    *lockedBuffer
}

// keep makes a keeper on the state directory dir, "" for none.
func keep(t *testing.T, dir string, server *rotating, store *credtest.Store, o KeeperOptions) *keeping {
	t.Helper()
	k := &keeping{
		store: store, server: server, ref: credential.Ref{Workspace: "acme", Environment: "production", Provider: "crm", Name: "main"},
		p: oauthProvider(), log: &lockedBuffer{},
	}
	k.p.Refresh.Rotates = true
	o.Log = slog.New(slog.NewTextHandler(k.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	if dir != "" {
		sealer, err := seal.LoadOrMake(dir + "/key")
		if err != nil {
			t.Fatal(err)
		}
		if o.Journal, err = OpenJournal(dir+"/journal", sealer, o.Log); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = o.Journal.Close() })
	}
	if o.Store == nil {
		o.Store = store
	}
	o.Provider = func(string) *provider.Provider { return k.p }
	k.Keeper = NewKeeper(o)
	return k
}

func (k *keeping) obtain(have string) (string, error) {
	c, err := k.fresh(context.Background(), k.ref)
	if err != nil {
		return "", err
	}
	got, err := k.Obtain(context.Background(), Demand{Provider: k.p, Client: &http.Client{Transport: k.server}, Record: c, Have: secret.New(have)})
	if err != nil {
		return "", err
	}
	return got.Record.Field("access_token").Reveal(), nil
}

func (k *keeping) want(t *testing.T, have, want string) {
	t.Helper()
	if got, err := k.obtain(have); err != nil || got != want {
		t.Fatalf("Obtain with %q in hand = %q, %v; want %q; the log:\n%s", have, got, err, want, k.log)
	}
}

func (k *keeping) refuses(t *testing.T, have string, code fault.Code) {
	t.Helper()
	if got, err := k.obtain(have); !errors.Is(err, code) {
		t.Fatalf("Obtain with %q in hand = %q, %v; want %s", have, got, err, code)
	}
}

// stored is what the store itself has.
func (k *keeping) stored(t *testing.T) *credential.Credential {
	t.Helper()
	c, err := k.store.Get(t.Context(), k.ref)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func grantStore() *credtest.Store {
	store := &credtest.Store{}
	store.Add("acme/production/crm/main", "oauth2_refresh_token", "refresh_token", "rt-0", "client_id", "id", "client_secret", "s3cr3t")
	return store
}

func TestKeeperRotates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, store := newRotating(), grantStore()
		k := keep(t, t.TempDir(), server, store, KeeperOptions{Required: true})
		k.want(t, "", "at-1")
		k.want(t, "", "at-1") // it is in the record
		k.want(t, "at-1", "at-2")
		c := k.stored(t)
		if c.Field("refresh_token").Reveal() != "rt-2" || c.Field("expires_in").Reveal() != "600" || c.Field("scope").Reveal() != "a" || c.Field("token_type").Reveal() != "Bearer" {
			t.Errorf("the store holds %v", c.Names())
		}
		if end := TimeOf(c.Field("expires_at").Reveal()); time.Until(end) < 9*time.Minute || TimeOf(c.Field("created_at").Reveal()).IsZero() {
			t.Errorf("expires_at %v", end)
		}
		cl, err := claimOf(c)
		if err != nil || cl.State != "" || cl.Gen != 2 || cl.ID != "" {
			t.Errorf("claim %+v, %v", cl, err)
		}
		if _, open := k.o.Journal.state(); open != 0 {
			t.Errorf("%d entries are left in the journal", open)
		}
		if strings.Contains(k.log.String(), "rt-") || strings.Contains(k.log.String(), "at-") {
			t.Errorf("LK-01: the log shows a token:\n%s", k.log)
		}
	})
}

// RT-01: everybody who asks at once shares one request.
func TestKeeperSharesOneRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := newRotating()
		server.took = 50 * time.Millisecond
		k := keep(t, t.TempDir(), server, grantStore(), KeeperOptions{})
		var wg sync.WaitGroup
		for range 500 {
			wg.Go(func() {
				if got, err := k.obtain(""); err != nil || got != "at-1" {
					t.Errorf("RT-01: %q, %v", got, err)
				}
			})
		}
		wg.Wait()
		if server.posts() != 1 {
			t.Errorf("RT-01: %d requests", server.posts())
		}
	})
}

// RT-02: three daemons with state directories of their own share a store.
func TestKeepersShareAStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, store := newRotating(), grantStore()
		server.took = 2 * time.Millisecond
		var ks []*keeping
		for range 3 {
			ks = append(ks, keep(t, t.TempDir(), server, store, KeeperOptions{}))
		}
		have := ""
		for round := range 20 {
			var wg sync.WaitGroup
			next := make([]string, len(ks))
			for i, k := range ks {
				wg.Go(func() {
					var err error
					if next[i], err = k.obtain(have); err != nil {
						t.Errorf("RT-02: round %d: %v\n%s", round, err, k.log)
					}
				})
			}
			wg.Wait()
			if t.Failed() {
				return
			}
			for _, n := range next {
				if n != next[0] || n == have {
					t.Fatalf("RT-02: round %d: tokens %q", round, next)
				}
			}
			have = next[0]
		}
		if server.posts() != 20 || server.reused != 0 {
			t.Errorf("RT-02: %d requests for 20 rounds, %d of a spent token", server.posts(), server.reused)
		}
	})
}

// trace tells the request's trace that it is on a connection.
func trace(req *http.Request) {
	if t := httptrace.ContextClientTrace(req.Context()); t != nil && t.GotConn != nil {
		t.GotConn(httptrace.GotConnInfo{})
	}
}

func answered(req *http.Request, status int, body string) *http.Response {
	return &http.Response{
		StatusCode: status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: req,
		Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(body)),
	}
}

// lockedBuffer is a log that many goroutines write.
type lockedBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
