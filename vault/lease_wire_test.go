package vault

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/testserver"
)

// engineAt answers for an engine at aws/ that lends: issue gives the nth answer to a reading of its path, about answers
// for sys/leases.
func engineAt(t *testing.T, issue func(n int64) string, about http.HandlerFunc) VaultOptions {
	t.Helper()
	var n atomic.Int64
	return fake(t, func(w http.ResponseWriter, r *http.Request) {
		switch path := strings.TrimPrefix(r.URL.Path, "/v1/"); {
		case strings.HasPrefix(path, "sys/internal/ui/mounts/aws"):
			_, _ = io.WriteString(w, `{"data":{"path":"aws/","type":"aws","options":null}}`)
		case path == "aws/creds/deploy" && r.Method == http.MethodGet:
			answer := issue(n.Add(1))
			if answer == "" {
				w.WriteHeader(http.StatusInternalServerError)
				return
			}
			_, _ = io.WriteString(w, answer)
		case strings.HasPrefix(path, "sys/leases/"):
			about(w, r)
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	})
}

var deploy = Reference{
	Ref:  credential.Ref{Workspace: "acme", Environment: "production", Provider: "aws", Name: "deploy"},
	Type: "aws_sigv4", Path: "aws/creds/deploy",
	Fields: map[string]string{"access_key_id": "access_key", "secret_access_key": "secret_key", "session_token": "security_token"},
}

// The aws engine cannot be run here: it makes users of Amazon's. Its answers have this form (API documentation of the
// engine, "Generate credentials"): of an IAM user renewable and without a security token, by STS not renewable.
func TestLeaseOfTheAWSEngineOnTheWireOnly(t *testing.T) {
	testserver.Wire(t, "the aws engine of Vault")
	const user = `{"request_id":"f0","lease_id":"aws/creds/deploy/canary-lease-%d","renewable":true,"lease_duration":3600,
"data":{"access_key":"AKIA%[1]d","secret_key":"canary-%[1]d","security_token":null},"wrap_info":null,"warnings":null,"auth":null}`
	const sts = `{"request_id":"f0","lease_id":"aws/creds/deploy/canary-lease-%d","renewable":false,"lease_duration":3600,
"data":{"access_key":"ASIA%[1]d","arn":"arn:aws:sts::1:assumed-role/deploy","secret_key":"canary-%[1]d","security_token":"canary-token","ttl":3600}}`
	t.Run("iam_user", func(t *testing.T) {
		v, s := refer(t, engineAt(t, func(n int64) string { return fmt.Sprintf(user, n) }, nil), deploy)
		c := mustGet(t, s, deploy.Ref)
		wantFields(t, "iam_user", c, map[string]string{"access_key_id": "AKIA1", "secret_access_key": "canary-1"})
		if left := time.Until(c.Until); left > time.Hour || left < 59*time.Minute {
			t.Errorf("Until is in %v, want an hour", left)
		}
		wantNoCanary(t, "the log", v.log.String())
	})
	t.Run("assumed_role", func(t *testing.T) {
		v, s := refer(t, engineAt(t, func(n int64) string { return fmt.Sprintf(sts, n) }, nil), deploy)
		first := mustGet(t, s, deploy.Ref)
		wantFields(t, "assumed_role", first, map[string]string{"access_key_id": "ASIA1", "secret_access_key": "canary-1", "session_token": "canary-token"})
		v.older(deploy.Ref, 45*time.Minute)
		if c := mustGet(t, s, deploy.Ref); c.Version != first.Version {
			t.Error("replaced 15 minutes before the end of an hour")
		}
		v.older(deploy.Ref, 3*time.Minute)
		if c := mustGet(t, s, deploy.Ref); c.Version == first.Version {
			t.Error("not replaced 12 minutes before the end of an hour")
		}
	})
}

const lent = `{"lease_id":"aws/creds/deploy/canary-%d","renewable":true,"lease_duration":3600,"data":{"access_key":"k%[1]d"}}`

// What Vault may answer to a renewal, and who then is served: the lease that was, until its end, or another.
func TestLeaseRenewalAnswers(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		answer  func(w http.ResponseWriter)
		version int // served past two thirds of the life
	}{
		{"renewed", renewedFor(3600), 1},
		{"for less than half of its life", renewedFor(1799), 2},
		{"for nothing", renewedFor(0), 2},
		{"400", answering(400), 2},
		{"403", answering(403), 2},
		{"404", answering(404), 2},
		{"500", answering(500), 1},
		{"no JSON", func(w http.ResponseWriter) { _, _ = io.WriteString(w, "canary") }, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			v, s := refer(t, engineAt(t, func(n int64) string { return fmt.Sprintf(lent, n) }, func(w http.ResponseWriter, r *http.Request) {
				var in struct {
					LeaseID string `json:"lease_id"`
				}
				if err := json.NewDecoder(r.Body).Decode(&in); err != nil || r.Method != http.MethodPut || !strings.HasPrefix(in.LeaseID, "aws/creds/deploy/") {
					t.Errorf("%s %s of the lease %q: %v", r.Method, r.URL.Path, in.LeaseID, err)
				}
				tt.answer(w)
			}), deploy)
			mustGet(t, s, deploy.Ref)
			v.older(deploy.Ref, 41*time.Minute)
			if c := mustGet(t, s, deploy.Ref); c.Version != tt.version || time.Now().After(c.Until) {
				t.Errorf("lease %d, want %d; it ends in %v", c.Version, tt.version, time.Until(c.Until))
			}
			v.older(deploy.Ref, 8*time.Minute)
			if c := mustGet(t, s, deploy.Ref); c.Version == 1 && tt.name != "renewed" {
				t.Error("not replaced past four fifths of its life")
			}
			wantNoCanary(t, "the log", v.log.String())
		})
	}
}

// older makes the lease that is held older than it is.
func (r *running) older(ref credential.Ref, by time.Duration) {
	at := &r.references()[ref].lease
	l := *at.Load()
	l.from = l.from.Add(-by)
	at.Store(&l)
}

func answering(status int) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, `{"errors":["canary"]}`)
	}
}

func renewedFor(seconds int) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		_, _ = fmt.Fprintf(w, `{"lease_id":"x","renewable":true,"lease_duration":%d}`, seconds)
	}
}

// An engine that fails keeps nobody from what is held, and nothing is served past its end.
func TestLeaseWhileItsEngineFails(t *testing.T) {
	t.Parallel()
	v, s := refer(t, engineAt(t, func(n int64) string {
		if n > 1 {
			return ""
		}
		return fmt.Sprintf(lent, n)
	}, func(w http.ResponseWriter, _ *http.Request) { answering(500)(w) }), deploy)
	mustGet(t, s, deploy.Ref)
	v.older(deploy.Ref, time.Hour-2*time.Second)
	first := mustGet(t, s, deploy.Ref)
	for time.Until(first.Until) > 0 {
		began := time.Now()
		c, err := s.Get(t.Context(), deploy.Ref)
		if err != nil && time.Now().Before(first.Until) || err == nil && began.After(c.Until) {
			t.Fatalf("FM-07: %v before its end: %v", time.Until(first.Until), err)
		}
		time.Sleep(20 * time.Millisecond)
	}
	_, err := s.Get(t.Context(), deploy.Ref)
	wantCode(t, "FM-07: Get past the end", err, fault.VaultUnreachable)
	if !v.Status().Up {
		t.Error("an engine that fails makes Vault count as away")
	}
}

// A lease that our policy does not let us look up counts as dead, but not at once: each refusal would cost a new one.
func TestLeaseRefusedAndNotLookedUp(t *testing.T) {
	t.Parallel()
	v, s := refer(t, engineAt(t, func(n int64) string { return fmt.Sprintf(lent, n) }, func(w http.ResponseWriter, _ *http.Request) {
		answering(403)(w)
	}), deploy)
	first := mustGet(t, s, deploy.Ref)
	refused := credential.WithNeed(t.Context(), credential.Refused)
	for range 5 {
		if c, err := s.Get(refused, deploy.Ref); err != nil || c.Version != first.Version {
			t.Fatalf("a young lease is replaced: %v, %v", c, err)
		}
	}
	v.older(deploy.Ref, blindFor)
	if c, err := s.Get(refused, deploy.Ref); err != nil || c.Version == first.Version {
		t.Errorf("an old lease is not replaced: %v, %v", c, err)
	}
}

// Who asked may leave while the engine is at it: what it lends is held for the next, not lent twice.
func TestLeaseOutlivesWhoAsked(t *testing.T) {
	t.Parallel()
	asked, answer := make(chan struct{}, 2), make(chan struct{})
	_, s := refer(t, engineAt(t, func(n int64) string {
		asked <- struct{}{}
		<-answer
		return fmt.Sprintf(lent, n)
	}, nil), deploy)
	ctx, leave := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _, _ = s.Get(ctx, deploy.Ref) }()
	<-asked
	leave()
	select {
	case <-done:
		t.Error("the engine's answer was not waited for")
	case <-time.After(100 * time.Millisecond):
	}
	close(answer)
	<-done
	if c := mustGet(t, s, deploy.Ref); c.Version != 1 || c.Field("access_key_id").Reveal() != "k1" {
		t.Errorf("lease %d was issued for the next", c.Version)
	}
}

// What no engine answers is an error, not a lease without an end.
func TestLeaseOddAnswers(t *testing.T) {
	for _, answer := range []string{
		`{}`, `{"lease_id":"x","lease_duration":10}`, `{"lease_id":"x","lease_duration":0,"data":{"a":"b"}}`,
		`{"lease_id":"x","lease_duration":-5,"data":{"a":"b"}}`, `{"lease_id":"x","lease_duration":10,"data":"canary"}`, `canary`,
	} {
		v, s := refer(t, engineAt(t, func(int64) string { return answer }, nil), deploy)
		c, err := s.Get(t.Context(), deploy.Ref)
		if err == nil {
			t.Errorf("%s: read as %v", answer, reveal(c))
		}
		wantNoCanary(t, answer, v.log.String(), fmt.Sprint(err))
	}
}

func TestLeaseAged(t *testing.T) {
	now := time.Now()
	for _, tt := range []struct {
		renewable        bool
		first, life, age time.Duration
		want             bool
	}{
		{true, time.Hour, time.Hour, 0, false},
		{true, time.Hour, time.Hour, 39 * time.Minute, false},
		{true, time.Hour, time.Hour, 40 * time.Minute, true},
		{false, time.Hour, time.Hour, 40 * time.Minute, false},
		{false, time.Hour, time.Hour, 48 * time.Minute, true},
		{true, time.Hour, 30 * time.Minute, 0, false},
		{true, time.Hour, 29 * time.Minute, 0, true},
		{false, time.Hour, 50 * time.Minute, 39 * time.Minute, false},
		{false, time.Hour, 50 * time.Minute, 40 * time.Minute, true},
		{false, 4 * time.Second, 4 * time.Second, 2 * time.Second, false},
		{false, 4 * time.Second, 4 * time.Second, 2600 * time.Millisecond, true},
	} {
		l := &lease{renewable: tt.renewable, first: tt.first, life: tt.life, from: now.Add(-tt.age)}
		if got := l.aged(now); got != tt.want {
			t.Errorf("renewable %v, %v of %v, %v old: due %v", tt.renewable, tt.life, tt.first, tt.age, got)
		}
	}
}

// Leases that have ended are forgotten.
func TestLeasesAreBounded(t *testing.T) {
	var all leases
	v := &Vault{}
	for i := range 10000 {
		l := &lease{session: &session{}, from: time.Now(), life: time.Hour}
		if i%100 != 0 {
			l.from = time.Now().Add(-2 * time.Hour)
		}
		l.id.UnmarshalText([]byte(fmt.Sprint(i)))
		all.keep(l, v.ended)
	}
	if len(all.live) > 300 {
		t.Errorf("%d leases are kept, of which 100 live", len(all.live))
	}
	if got := len(all.close(v.ended)); got != 100 {
		t.Errorf("%d live at the end, want 100", got)
	}
	if _, ok := all.open(); ok {
		t.Error("leases are made after the end")
	}
}
