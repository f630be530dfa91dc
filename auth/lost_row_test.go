package auth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/secret"
)

// lossy loses what becomes of the first post: it never arrives, or the answer
// to it does not, or a gateway answers in its place.
func lossy(server http.RoundTripper, arrives bool, loss error, status int) http.RoundTripper {
	lost := false
	return roundTrip(func(req *http.Request) (*http.Response, error) {
		if lost || req.Method != http.MethodPost {
			return server.RoundTrip(req)
		}
		lost = true
		trace(req)
		if arrives {
			if _, err := server.RoundTrip(req); err != nil {
				return nil, err
			}
		}
		if loss != nil {
			return nil, loss
		}
		return answered(req, status, ""), nil
	})
}

// RT-10: an answer that is lost in any way makes the state ambiguous. With a grace
// one more post recovers; without one, one more is all that is tried.
func TestRowLostReply(t *testing.T) {
	for _, tc := range []struct {
		name    string
		arrives bool // the server rotates
		loss    error
		status  int
	}{
		{"reset after the rotation", true, syscall.ECONNRESET, 0},
		{"reset before the rotation", false, syscall.ECONNRESET, 0},
		{"closed without an answer", true, io.ErrUnexpectedEOF, 0},
		{"timeout", true, context.DeadlineExceeded, 0},
		{"502 of a gateway, rotated", true, nil, 502},
		{"502 of a gateway, not rotated", false, nil, 502},
		{"504 of a gateway", true, nil, 504},
		{"an empty 200", true, nil, 200},
	} {
		for _, grace := range []time.Duration{0, 30 * time.Minute} {
			t.Run(fmt.Sprint(tc.name, ", grace ", grace), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { testLostReply(t, tc.arrives, grace, tc.loss, tc.status) })
			})
		}
	}
}

func testLostReply(t *testing.T, arrives bool, grace time.Duration, loss error, status int) {
	server := newRotating()
	server.grace = grace
	dir := t.TempDir()
	k := keep(t, dir, server, grantStore(), KeeperOptions{Required: true})
	k.p.Refresh.Grace = grace
	road := lossy(server, arrives, loss, status)
	posts := func() int { // that left us
		n := server.sent("rt-0")
		if !arrives {
			n++
		}
		return n
	}
	if _, err := k.through(road, ""); !errors.Is(err, fault.TokenEndpointUnreachable) {
		t.Fatalf("RT-10: %v, want token_endpoint_unreachable", err)
	}
	cl, err := claimOf(k.stored(t))
	if err != nil || cl.State != ambiguous || cl.Sent != 1 || posts() != 1 {
		t.Fatalf("RT-10: after %d posts the claim is %+v, %v", posts(), cl, err)
	}
	if grace == 0 {
		_, err := k.through(road, "")
		if f := fault.From(err); !errors.Is(err, fault.TokenEndpointUnreachable) || f.RetryAfter <= 0 || posts() != 1 {
			t.Errorf("RT-10: at once it is tried again: %v after %d posts", err, posts())
		}
		time.Sleep(lastTryAfter)
	}
	if got, err := k.through(road, ""); grace > 0 || !arrives {
		if err != nil || !strings.HasPrefix(got, "at-") || server.reused != 0 {
			t.Errorf("RT-10: %q, %v; %d reuses", got, err, server.reused)
		}
	} else if !errors.Is(err, fault.ReauthorizationRequired) {
		t.Errorf("RT-10: %q, %v; want reauthorization_required", got, err)
	}
	for range 3 {
		k = k.again(t, dir)
		_, _ = k.through(road, "")
		time.Sleep(time.Hour)
	}
	if posts() > 2 {
		t.Errorf("RT-10: %d posts of one refresh token", posts())
	}
}

// RT-10: a refresh token whose answer was lost twice is never sent a third time.
func TestRowLostTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		posts, dir := 0, t.TempDir()
		road := roundTrip(func(req *http.Request) (*http.Response, error) {
			trace(req)
			if req.Method != http.MethodPost {
				return answered(req, 404, ""), nil
			}
			posts++
			return nil, syscall.ECONNRESET
		})
		k := keep(t, dir, newRotating(), grantStore(), KeeperOptions{Required: true})
		var err error
		for range 20 {
			_, err = k.through(road, "")
			time.Sleep(time.Minute)
			k = k.again(t, dir)
		}
		if !errors.Is(err, fault.ReauthorizationRequired) || posts != 2 || strings.Count(k.log.String(), "level=ERROR") != 1 {
			t.Errorf("RT-10: %v after %d posts; the log:\n%s", err, posts, k.log)
		}
	})
}

// RT-10: a refresh token that was good for more than one use so far is not given
// up when answers get lost.
func TestRowLostButStays(t *testing.T) {
	for _, same := range []string{"", `,"refresh_token":"rt-0"`} {
		synctest.Test(t, func(t *testing.T) {
			posts, away := 0, false
			road := roundTrip(func(req *http.Request) (*http.Response, error) {
				posts++
				trace(req)
				if away {
					return nil, syscall.ECONNRESET
				}
				return answered(req, 200, fmt.Sprintf(`{"access_token":"at-%d","expires_in":600%s}`, posts, same)), nil
			})
			k := keep(t, t.TempDir(), nil, grantStore(), KeeperOptions{Required: true})
			if got, err := k.through(road, ""); err != nil || got != "at-1" {
				t.Fatalf("%q, %v", got, err)
			}
			away = true
			for range 600 {
				if _, err := k.through(road, "at-1"); !errors.Is(err, fault.TokenEndpointUnreachable) {
					t.Fatalf("RT-10: %v after %d posts", err, posts)
				}
				time.Sleep(6 * time.Second)
			}
			if posts < 10 || posts > 70 {
				t.Errorf("RT-10: %d posts in an hour", posts)
			}
			away = false
			time.Sleep(lastRetry)
			if _, err := k.through(road, "at-1"); err != nil {
				t.Errorf("RT-10: %v when the server is back", err)
			}
		})
	}
}

// RT-05: an answer in the journal is not dropped because a copy of the store lags
// behind, and is dropped when the grant has gone on without it.
func TestRowStoreThatLags(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, store, dir := newRotating(), grantStore(), t.TempDir()
		k := keep(t, dir, server, store, KeeperOptions{Required: true, Reached: func(point string) {
			if point == "answered" {
				store.Fail(fault.New(fault.VaultUnreachable, "", nil))
			}
		}})
		k.want(t, "", "at-1")
		e := k.o.Journal.all()[0]
		for _, tc := range []struct {
			version int
			token   string
			moot    bool
		}{
			{e.Version, e.Token, false},
			{e.Version + 9, e.Token, false}, // still about this refresh token
			{e.Version - 1, "older", false},
			{e.Version + 1, "newer", true},
		} {
			if got := e.moot(tc.version, tc.token); got != tc.moot {
				t.Errorf("RT-05: with the record at version %d and token %s moot is %v", tc.version-e.Version, tc.token, got)
			}
		}
		store.Fail(nil)
		k = k.again(t, dir)
		k.edit(t, func(c *credential.Credential) { // somebody has authorized again
			c.Set("refresh_token", secret.New("rt-new"))
			c.Set("access_token", secret.New("at-new"))
			c.Set("expires_at", secret.New(time.Now().Add(time.Hour).Format(time.RFC3339)))
		})
		server.valid = "rt-new"
		k.want(t, "at-new", "at-2")
		if _, open := k.o.Journal.state(); open != 0 || server.sent("rt-0") != 1 || server.sent("rt-new") != 1 {
			t.Errorf("RT-05: %d entries are left in the journal; posts %v", open, server.spent)
		}
	})
}

// RT-10: what never left us is not counted as sent.
func TestRowNotSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := newRotating()
		k := keep(t, t.TempDir(), server, grantStore(), KeeperOptions{Required: true})
		away := true
		road := roundTrip(func(req *http.Request) (*http.Response, error) {
			if away {
				return nil, fault.New(fault.ConnectionRefused, "", nil)
			}
			return server.RoundTrip(req)
		})
		for range 20 {
			if _, err := k.through(road, ""); !errors.Is(err, fault.TokenEndpointUnreachable) {
				t.Fatalf("RT-10: %v", err)
			}
			time.Sleep(20 * time.Second)
		}
		cl, _ := claimOf(k.stored(t))
		if cl.State != "" || cl.Sent != 0 {
			t.Errorf("RT-10: the claim is %+v", cl)
		}
		away = false
		time.Sleep(lastRetry)
		k.want(t, "", "at-1")
	})
}

// FM-12: while only a gateway answers, the one more try is not wasted on it,
// however long that takes.
func TestRowGatewayOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, posts, probes, away := newRotating(), 0, 0, true
		road := roundTrip(func(req *http.Request) (*http.Response, error) {
			if !away {
				return server.RoundTrip(req)
			}
			if req.Method == http.MethodPost {
				posts++
			} else {
				probes++
				if err := req.ParseForm(); err != nil || len(req.Form) > 0 || req.Header.Get("Authorization") != "" {
					t.Errorf("FM-12: a probe carries %v, %v", req.Form, err)
				}
			}
			trace(req)
			return answered(req, 502, "<html>"), nil
		})
		k := keep(t, t.TempDir(), server, grantStore(), KeeperOptions{Required: true})
		for range 180 {
			if _, err := k.through(road, ""); !errors.Is(err, fault.TokenEndpointUnreachable) {
				t.Fatalf("FM-12: %v", err)
			}
			time.Sleep(time.Minute)
		}
		if posts != 1 || probes == 0 {
			t.Errorf("FM-12: %d posts and %d probes in three hours, want one post", posts, probes)
		}
		away = false
		if got, err := k.through(road, ""); err != nil || got != "at-1" {
			t.Errorf("FM-12: %q, %v when the server is back", got, err)
		}
	})
}
