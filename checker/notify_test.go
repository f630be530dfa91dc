package checker_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/sallyport/sallyport/checker"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/secret"
)

const (
	hookKey = "h00k-k3y"
	hookURL = "https://hooks.example/services/" + canary
	mainRef = "acme/production/api/main"
)

// hook is a webhook and a daemon that tells it.
type hook struct {
	t       *testing.T
	file    string
	history *checker.History
	metrics *prometheus.Registry
	log     bytes.Buffer
	logs    func() // before each line; nil: nothing

	mu     sync.Mutex
	off    bool
	status int           // it answers; 0: 200
	err    error         // instead of an answer
	slow   time.Duration // before it answers
	keyErr error
	uses   map[string]checker.Use
	good   map[string]time.Time
	got    []checker.Event // accepted
	tries  int
}

func newHook(t *testing.T) *hook {
	return &hook{t: t, file: filepath.Join(t.TempDir(), "notified.json"), history: checker.NewHistory(nil), good: map[string]time.Time{}}
}

func (h *hook) RoundTrip(req *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	mac := hmac.New(sha256.New, []byte(hookKey))
	mac.Write(body)
	var e checker.Event
	if err := json.Unmarshal(body, &e); err != nil {
		h.t.Errorf("body %s: %v", body, err)
	}
	for name, want := range map[string]string{
		"Content-Type": "application/json", "Sallyport-Event": e.Event, "Sallyport-Event-Id": e.ID,
		"Sallyport-Signature": "sha256=" + hex.EncodeToString(mac.Sum(nil)),
	} {
		if got := req.Header.Get(name); got != want {
			h.t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	h.mu.Lock()
	h.tries++
	status, fails, slow := h.status, h.err, h.slow
	h.mu.Unlock()
	select {
	case <-time.After(slow):
	case <-req.Context().Done():
		return nil, fault.New(fault.Timeout, "", req.Context().Err())
	}
	if fails != nil {
		return nil, fails
	}
	if status == 0 {
		status = http.StatusOK
		h.mu.Lock()
		h.got = append(h.got, e)
		h.mu.Unlock()
	}
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader("")), Request: req}, nil
}

// run runs a daemon's notifier until it is stopped.
func (h *hook) run() (n *checker.Notifier, stop func()) {
	h.metrics = prometheus.NewRegistry()
	n = checker.NewNotifier(checker.NotifierOptions{
		File: h.file, History: h.history, Log: slog.New(slog.NewTextHandler(h, nil)), Metrics: h.metrics,
		Target: func() *checker.Target {
			h.mu.Lock()
			defer h.mu.Unlock()
			if h.off {
				return nil
			}
			return &checker.Target{
				URL: hookURL, Key: func() (secret.Value, error) { return secret.New(hookKey), h.keyErr },
				Client: func() *http.Client { return client(h) },
			}
		},
		Used: func() map[string]checker.Use {
			all := map[string]checker.Use{}
			h.mu.Lock()
			defer h.mu.Unlock()
			for ref, u := range h.uses {
				all[ref] = u
			}
			for ref, at := range h.good {
				u := all[ref]
				u.Good = at
				all[ref] = u
			}
			return all
		},
	})
	ctx, cancel := context.WithCancel(h.t.Context())
	done := make(chan error)
	go func() { done <- n.Run(ctx) }()
	return n, func() {
		cancel()
		if err := <-done; err != nil {
			h.t.Error(err)
		}
	}
}

// Write implements io.Writer for the log.
func (h *hook) Write(line []byte) (int, error) {
	if h.logs != nil {
		h.logs()
	}
	return h.log.Write(line)
}

func (h *hook) set(do func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	do()
}

// one gives the one event that the webhook has taken.
func (h *hook) one() checker.Event {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.got) != 1 {
		h.t.Errorf("%d events, want one", len(h.got))
		return checker.Event{}
	}
	return h.got[0]
}

// told gives what the webhook took, and forgets it: "broken", "recovered" ...
func (h *hook) told() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var names []string
	for _, e := range h.got {
		names = append(names, strings.TrimPrefix(e.Event, "credential."))
	}
	h.got = nil
	return names
}

func (h *hook) expect(what string, after time.Duration, want ...string) {
	h.t.Helper()
	time.Sleep(after)
	if got := h.told(); !slices.Equal(got, want) {
		h.t.Errorf("%s: told %v, want %v", what, got, want)
	}
}

// checked puts a report on main made now.
func (h *hook) checked(status checker.Status) { h.history.Put(onMain(status, status)) }

func onMain(status, authorization checker.Status) *checker.Report {
	rep := &checker.Report{
		Credential: mainRef, Provider: "api", Type: "bearer", Status: status, CheckedAt: time.Now().UTC(),
		Checks: []checker.Line{{Name: checker.Authorization, Status: authorization}},
	}
	if status == checker.Error {
		rep.Fault = checker.NewFault(fault.New(fault.CredentialsRejected, "the provider answered 401", nil))
	}
	return rep
}

// A credential that breaks is told of once, and so is that it recovered; what tells
// nothing changes nothing, and a restart neither repeats nor forgets.
func TestNotifier(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHook(t)
		_, stop := h.run()
		h.expect("nothing known", time.Minute)
		h.checked(checker.OK)
		h.expect("good from the start", time.Minute)
		h.checked(checker.Error)
		time.Sleep(5 * time.Second)
		if e := h.one(); e.Credential != mainRef || e.Provider != "api" || e.Type != "bearer" || e.Status != checker.Error || e.PreviousStatus != checker.OK ||
			e.Fault == nil || e.Fault.Code != fault.CredentialsRejected || e.Fault.Actor == "" || e.CheckedAt == nil || !strings.HasPrefix(e.ID, "evt_") {
			t.Errorf("event %+v", e)
		}
		h.expect("broke", 0, "broken")
		for _, s := range []checker.Status{checker.Error, checker.Unknown, checker.Error} {
			h.checked(s)
			h.expect("broken still: "+string(s), time.Minute)
		}
		stop()
		h.history = checker.NewHistory(nil) // which a restart forgets
		_, stop = h.run()
		h.expect("restart, nothing known yet", time.Minute)
		h.checked(checker.Error)
		h.expect("restart, broken still", time.Minute)
		h.history.Put(onMain(checker.Warning, checker.Unverifiable))
		h.expect("a check that did not verify it", time.Minute)
		h.history.Put(onMain(checker.Warning, checker.OK))
		time.Sleep(5 * time.Second)
		if e := h.one(); e.Status != checker.Warning || e.PreviousStatus != checker.Error || e.Fault != nil {
			t.Errorf("event %+v", e)
		}
		h.expect("a warning is good", 0, "recovered")
		stop()
		_, stop = h.run()
		h.checked(checker.OK)
		h.expect("restart, good", time.Minute)
		h.checked(checker.Error)
		h.expect("breaks again", time.Minute, "broken")
		stop()
		b, err := os.ReadFile(h.file)
		if info, _ := os.Stat(h.file); err != nil || info.Mode().Perm() != 0o600 || !json.Valid(b) {
			t.Errorf("the file: %v, %s", err, b)
		}
	})
}

// What requests have shown counts as checks do; a good check from before does not
// make good what broke since.
func TestNotifierUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHook(t)
		_, stop := h.run()
		defer stop()
		use := func(code fault.Code, version int) {
			h.set(func() {
				if h.uses = nil; code != "" {
					h.uses = map[string]checker.Use{mainRef: {Fault: fault.New(code, "", nil), Type: "bearer", Version: version}}
				}
			})
		}
		h.checked(checker.OK)
		time.Sleep(time.Minute)
		use(fault.Timeout, 1)
		h.expect("a fault that passes by itself", time.Minute)
		use(fault.ReauthorizationRequired, 1)
		time.Sleep(5 * time.Second)
		if e := h.one(); e.Status != checker.Reauthorize || e.Fault == nil || e.Fault.Code != fault.ReauthorizationRequired {
			t.Errorf("event %+v", e)
		}
		h.expect("the grant is dead", 0, "broken")
		use("", 0)
		h.expect("the old report says it was good", time.Minute)
		h.set(func() { h.good[mainRef] = time.Now() })
		h.expect("a request went well", time.Minute, "recovered")
		use(fault.CredentialsRejected, 1)
		h.expect("refused", time.Minute, "broken")
		rep := onMain(checker.OK, checker.OK)
		h.history.Replace(rep, 2)
		h.expect("a newer record is good, which nobody has used yet", time.Minute, "recovered")
	})
}

// A receiver that is away gets what counts when it is back, and the log says so
// once. Nothing is told of what passed meanwhile.
func TestNotifierAway(t *testing.T) {
	for _, c := range []struct {
		name   string
		status int
		err    error
	}{
		{"refuses", 0, fault.New(fault.ConnectionRefused, "", nil)}, {"500", 500, nil}, {"redirects", 307, nil}, {"404", 404, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHook(t)
				h.status, h.err = c.status, c.err
				_, stop := h.run()
				defer func() { stop() }()
				h.checked(checker.Error)
				h.expect("away", time.Hour)
				synctest.Wait()
				if h.tries < 12 || h.tries > 40 {
					t.Errorf("tried %d times in an hour", h.tries)
				}
				stop()
				h.history = checker.NewHistory(nil)
				_, stop = h.run()
				h.set(func() { h.status, h.err = 0, nil })
				h.expect("back, and restarted meanwhile", 10*time.Minute, "broken")
				h.set(func() { h.status, h.err = c.status, c.err })
				h.checked(checker.OK)
				time.Sleep(time.Hour)
				h.checked(checker.Error)
				time.Sleep(time.Minute)
				h.set(func() { h.status, h.err = 0, nil })
				h.expect("recovered and broke meanwhile", 10*time.Minute)
				h.checked(checker.OK)
				h.expect("recovered", time.Minute, "recovered")
				h.set(func() { h.status, h.err = c.status, c.err })
				h.checked(checker.Error)
				time.Sleep(time.Minute)
				h.checked(checker.OK)
				time.Sleep(time.Minute)
				h.set(func() { h.status, h.err = 0, nil })
				h.expect("broke and recovered meanwhile", 10*time.Minute)
				if n := strings.Count(h.log.String(), "does not take events"); n != 3 {
					t.Errorf("%d lines of three streaks:\n%s", n, h.log.String())
				}
				if strings.Contains(h.log.String(), canary) || strings.Contains(h.log.String(), hookKey) {
					t.Errorf("LK-01: the log holds a secret:\n%s", h.log.String())
				}
			})
		})
	}
}

// Where nobody knows whether an event arrived the same one is sent again, and its
// opposite is told in any case.
func TestNotifierUnsure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHook(t)
		h.slow = time.Minute
		_, stop := h.run()
		defer stop()
		h.checked(checker.Error)
		time.Sleep(time.Minute)
		h.checked(checker.OK)
		time.Sleep(time.Minute)
		h.set(func() { h.slow = 0 })
		h.expect("it may have got that it broke", 10*time.Minute, "recovered")
		h.set(func() { h.slow = 5 * time.Second })
		h.checked(checker.Error)
		time.Sleep(3 * time.Second)
		h.checked(checker.OK)
		h.expect("it recovered while that it broke was on its way", time.Minute, "broken", "recovered")
	})
}

// Each of many is told of, whatever their number, and the same event keeps its name.
func TestNotifierMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHook(t)
		_, stop := h.run()
		h.set(func() { h.status = 503 })
		const many = 300
		for i := range many {
			rep := onMain(checker.Error, checker.Error)
			rep.Credential = fmt.Sprintf("acme/production/api/n%d", i)
			h.history.Put(rep)
		}
		time.Sleep(time.Minute)
		stop()
		before, err := os.ReadFile(h.file)
		if err != nil {
			t.Fatal(err)
		}
		h.set(func() { h.status = 0 })
		_, stop = h.run()
		time.Sleep(time.Minute)
		synctest.Wait()
		refs := map[string]bool{}
		for _, e := range h.got {
			refs[e.Credential] = true
			if !bytes.Contains(before, []byte(e.ID)) {
				t.Errorf("%s has another name after the restart", e.Credential)
			}
		}
		if len(refs) != many || len(h.got) != many {
			t.Errorf("%d events of %d credentials, want %d", len(h.got), len(refs), many)
		}
		stop()
		if n := testutil.CollectAndCount(h.metrics, "sallyport_notifications_total"); n != 2 {
			t.Errorf("%d series of notifications_total", n)
		}
	})
}

// A webhook that is configured later is told what is broken then; a key that cannot
// be read stops nothing for good; what was removed is no matter any more.
func TestNotifierReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHook(t)
		h.off = true
		n, stop := h.run()
		defer stop()
		h.checked(checker.Error)
		time.Sleep(time.Hour)
		synctest.Wait()
		if _, err := os.Stat(h.file); h.tries != 0 || err == nil {
			t.Errorf("%d tries without a webhook, file: %v", h.tries, err)
		}
		h.set(func() { h.off, h.keyErr = false, errors.New("notify.secret_file: is gone") })
		n.Wake()
		h.expect("no key", time.Hour)
		h.set(func() { h.keyErr = nil })
		n.Wake()
		h.expect("a key", time.Second, "broken")
		n.Forget(mainRef)
		h.history.Forget(mainRef)
		time.Sleep(time.Minute)
		h.checked(checker.OK)
		h.expect("removed and made again", time.Minute)
	})
}

// A file that somebody spoilt is told of, and the daemon goes on.
func TestNotifierFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHook(t)
		if err := os.WriteFile(h.file, []byte(`{"a":{"event":`), 0o600); err != nil {
			t.Fatal(err)
		}
		_, stop := h.run()
		h.checked(checker.Error)
		h.expect("spoilt", time.Minute, "broken")
		stop()
		if !strings.Contains(h.log.String(), "is not known") {
			t.Errorf("log:\n%s", h.log.String())
		}
		if err := os.WriteFile(h.file, []byte(`{"`+mainRef+`":null,"x":{"broken":true}}`), 0o600); err != nil {
			t.Fatal(err)
		}
		h.checked(checker.OK)
		_, stop = h.run()
		h.expect("odd", time.Minute, "broken")
		stop()
	})
}

// Nobody waits for the file: what is known can be read and changed while it is
// written, and what is written last is what is known.
func TestNotifierSaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHook(t)
		good := h.file
		h.file = filepath.Join(h.file, "no", "folder")
		n, stop := h.run()
		h.logs = n.Wake // which would wait for ever
		h.checked(checker.Error)
		h.expect("a file that cannot be written", time.Minute, "broken")
		stop()
		if got := strings.Count(h.log.String(), "is not kept over a restart"); got != 1 {
			t.Errorf("%d lines:\n%s", got, h.log.String())
		}
		h.file, h.logs = good, nil
		n, stop = h.run()
		h.expect("another start", time.Minute, "broken")
		var group sync.WaitGroup
		for i := range 50 {
			group.Go(func() {
				if n.Save(); i == 25 {
					n.Forget(mainRef)
				}
				n.Save()
			})
		}
		group.Wait()
		if b, err := os.ReadFile(h.file); err != nil || string(b) != "{}\n" {
			t.Errorf("forgotten, and the file holds %s (%v)", b, err)
		}
		h.history.Forget(mainRef)
		stop()
	})
}

// A check shows that the provider takes the credential though something else is
// wrong with it.
func TestTaken(t *testing.T) {
	for _, c := range []struct {
		status, authorization checker.Status
		want                  bool
	}{
		{checker.OK, checker.OK, true},
		{checker.Warning, checker.OK, true},
		{checker.Warning, checker.Warning, true},
		{checker.Warning, checker.Unverifiable, false},
		{checker.Warning, "", false},
		{checker.Unknown, checker.OK, false},
		{checker.Error, checker.OK, false},
		{checker.Error, checker.Error, false},
	} {
		if got := onMain(c.status, c.authorization).Taken(); got != c.want {
			t.Errorf("%s, authorization %s: %v", c.status, c.authorization, got)
		}
	}
}
