package checker_test

import (
	"context"
	"net/http"
	"testing"

	"github.com/sallyport/sallyport/checker"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
)

// A check waits for its turn, and tells that it did not come; one that writes a
// record waits for none.
func TestTurns(t *testing.T) {
	turns := 0
	c := checker.New(checker.Options{
		Client: func(*provider.Provider) *http.Client { return client(answer(200, "", "")) },
		Pace: func(context.Context, *provider.Provider) (func(), error) {
			turns++
			return nil, fault.New(fault.RateLimited, "", nil)
		},
	})
	p, cred := api("https://api.example.com"), record("bearer", "token", "t")
	if r := c.Check(t.Context(), p, cred); r.Status != checker.Unknown || codeOf(r) != fault.RateLimited || turns != 1 {
		t.Errorf("no turn: %s, fault %+v, %d turns asked for; want unknown and rate_limited", r.Status, r.Fault, turns)
	}
	if r := c.Check(checker.AtOnce(t.Context()), p, cred); r.Status != checker.OK || turns != 1 {
		t.Errorf("at once: %s, %d turns asked for; want ok and none", r.Status, turns)
	}
}
