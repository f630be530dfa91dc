package checker_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/checker"
	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
)

// A check waits for its turn, also where it logs in at a database or an FTP server,
// and tells that it did not come; one that writes a record waits for none.
func TestTurns(t *testing.T) {
	turns := 0
	c := checker.New(checker.Options{
		Client: func(*provider.Provider) *http.Client { return client(answer(200, "", `{"id":1}`)) },
		Pace: func(context.Context, *provider.Provider) (func(), error) {
			turns++
			return nil, fault.New(fault.RateLimited, "", nil)
		},
	})
	ftp := &provider.Provider{Name: "files", Protocol: provider.FTP, AllowCleartext: true}
	login := []string{"driver", "postgres", "host", "127.0.0.1", "port", "5432", "database", "orders", "username", "u", "password", "pass"}
	for _, check := range []struct {
		p    *provider.Provider
		cred *credential.Credential
	}{
		{api("https://api.example.com"), record("bearer", "token", "t")},
		{ftp, record("basic_url", "username", "u", "password", "pass", "url", "ftp://127.0.0.1:2121")},
		{&provider.Provider{Name: "postgres"}, record("database", login...)},
	} {
		turns = 0
		if r := c.Check(t.Context(), check.p, check.cred); r.Status != checker.Unknown || codeOf(r) != fault.RateLimited || turns != 1 {
			t.Errorf("%s, no turn: %s, fault %+v, %d turns asked for; want unknown and rate_limited", check.p.Name, r.Status, r.Fault, turns)
		}
		if r := c.Check(checker.AtOnce(t.Context()), check.p, check.cred); codeOf(r) == fault.RateLimited || turns != 1 {
			t.Errorf("%s, at once: fault %+v, %d turns asked for; want another and none", check.p.Name, r.Fault, turns)
		}
	}
}

// All turns of a check together take a minute at most, so that whoever waits for it is told; the fault says what would help a check.
func TestTurnsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := checker.New(checker.Options{
			Client: func(*provider.Provider) *http.Client { return client(answer(200, "", `{"login":"ann"}`)) },
			Pace: func(ctx context.Context, _ *provider.Provider) (func(), error) {
				select {
				case <-ctx.Done():
					return nil, fault.New(fault.RateLimited, "", ctx.Err())
				case <-time.After(40 * time.Second):
					return func() {}, nil
				}
			},
		})
		p := api("https://api.example.com")
		p.Name, p.Needs.Scopes = "github", []string{"repo"}
		start := time.Now()
		r := c.Check(t.Context(), p, record("bearer", "token", "t"))
		if took := time.Since(start); took != time.Minute {
			t.Errorf("it took %s, want a minute; %+v", took, r.Steps)
		}
		if r.Status != checker.Warning || codeOf(r) != fault.RateLimited || len(r.Steps) != 1 {
			t.Errorf("%s, fault %+v after %d requests; want a warning by rate_limited after one", r.Status, r.Fault, len(r.Steps))
		}
		if r.Fault != nil && strings.Contains(strings.Join(r.Fault.Remedy, " "), "Retry-After") {
			t.Errorf("the remedy is for requests: %q", r.Fault.Remedy)
		}
	})
}
