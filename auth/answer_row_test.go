package auth

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
	"github.com/sallyport/sallyport/internal/secret"
)

// RT-11, OA-04: whatever a 2xx looks like, a refresh token that is in it is not
// lost; one that is not leaves the old one. life is of the access token, 0: none
// came.
func TestRowMalformedAnswers(t *testing.T) {
	const whole, json, form, html = `{"access_token":"at-x","refresh_token":"rt-x"`, "application/json", "application/x-www-form-urlencoded", "text/html"
	big := strings.Repeat("x", 2<<20)
	for _, tc := range []struct {
		name, typ, body string
		refresh         string
		life            time.Duration
	}{
		{"expires_in float", json, whole + `,"expires_in":3600.9}`, "rt-x", 3600900 * time.Millisecond},
		{"expires_in string", json, whole + `,"expires_in":"3600"}`, "rt-x", time.Hour},
		{"expires_in words", json, whole + `,"expires_in":"an hour"}`, "rt-x", defaultLife},
		{"expires_in negative", json, whole + `,"expires_in":-1}`, "rt-x", defaultLife},
		{"expires_in zero", json, whole + `,"expires_in":0}`, "rt-x", defaultLife},
		{"expires_in null", json, whole + `,"expires_in":null}`, "rt-x", defaultLife},
		{"expires_in huge", json, whole + `,"expires_in":1e300}`, "rt-x", maxLife},
		{"expires_in object", json, whole + `,"expires_in":{}}`, "rt-x", defaultLife},
		{"expires_in missing", json, whole + `}`, "rt-x", defaultLife},
		{"no refresh_token", json, `{"access_token":"at-x","expires_in":60}`, "rt-0", time.Minute},
		{"refresh_token null", json, `{"access_token":"at-x","refresh_token":null,"expires_in":60}`, "rt-0", time.Minute},
		{"refresh_token empty", json, `{"access_token":"at-x","refresh_token":"","expires_in":60}`, "rt-0", time.Minute},
		{"refresh_token a number", json, `{"access_token":"at-x","refresh_token":7,"expires_in":60}`, "rt-0", time.Minute},
		{"truncated behind both", json, whole + `,"scope":"a b`, "rt-x", defaultLife},
		{"truncated in the access token", json, `{"refresh_token":"rt-x","access_token":"at-`, "rt-x", 0},
		{"truncated before the access token", json, `{"refresh_token":"rt-x","acc`, "rt-x", 0},
		{"truncated in the refresh token", json, `{"access_token":"at-x","refresh_token":"rt-`, "rt-0", defaultLife},
		{"truncated, in camel case", json, `{"accessToken":"at-x","refreshToken":"rt-x","exp`, "rt-x", defaultLife},
		{"escapes", json, `{"access_token":"at-x","refresh_token":"rt\u002dx"`, "rt-x", defaultLife},
		{"byte order mark", json, "\ufeff" + whole + `}`, "rt-x", defaultLife},
		{"JSON called HTML", html, whole + `}`, "rt-x", defaultLife},
		{"a form", form, `access_token=at-x&refresh_token=rt-x&expires_in=60`, "rt-x", time.Minute},
		{"a form called text", "text/plain", `access_token=at-x&refresh_token=rt-x`, "rt-x", defaultLife},
		{"nested", json, `{"ok":true,"data":` + whole + `,"expires_in":60}}`, "rt-x", time.Minute},
		{"2 MiB behind the tokens", json, whole + `,"pad":"` + big + `"}`, "rt-x", defaultLife},
		{"an access token that cannot be sent", json, `{"access_token":"a\r\nX: y","refresh_token":"rt-x"}`, "rt-x", 0},
		{"an error with tokens", json, whole + `,"error":"server_error"}`, "rt-x", 0},
		{"gzip that nobody asked for", json, packed(whole + `,"expires_in":60}`), "rt-x", time.Minute},
		{"gzip that is cut", json, packed(whole + `,"expires_in":60}`)[:70], "rt-x", time.Minute},
		{"gzip bomb", json, packed(whole + `,"pad":"` + strings.Repeat(big, 4) + `"}`), "rt-x", defaultLife},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server := newRotating()
				server.header = http.Header{"Content-Type": {tc.typ}}
				server.body = func(int) (int, string) { return 200, tc.body }
				k := keep(t, t.TempDir(), server, grantStore(), KeeperOptions{Required: true})
				k.edit(t, func(c *credential.Credential) {
					c.Set("access_token", secret.New("at-old"))
					c.Set("expires_at", secret.New(time.Now().Add(time.Minute).Format(time.RFC3339)))
				})
				if tc.life == 0 {
					if _, err := k.obtain("at-old"); err == nil {
						t.Error("RT-11: an answer without an access token is a success")
					}
					k.want(t, "", "at-old") // it is still good
				} else {
					k.want(t, "at-old", "at-x")
				}
				c := k.stored(t)
				if got := c.Field("refresh_token").Reveal(); got != tc.refresh {
					t.Errorf("RT-11: the refresh token is %q, want %q", got, tc.refresh)
				}
				cl, err := claimOf(c)
				if err != nil || cl.State != "" || cl.Gen != 1 {
					t.Errorf("RT-11: claim %+v, %v", cl, err)
				}
				if left := time.Until(TimeOf(c.Field("expires_at").Reveal())); tc.life > 0 && (left > tc.life || left < tc.life-10*time.Second) {
					t.Errorf("OA-03, RT-11: it lives %v, want %v", left, tc.life)
				}
			})
		})
	}
}

// RT-11: what holds no token at all leaves the state ambiguous, and the old tokens
// where they are.
func TestRowAnswersWithoutTokens(t *testing.T) {
	for name, body := range map[string]string{
		"HTML": "<html>welcome</html>", "nothing": "", "an array": "[]", "truncated": `{"access_to`, "a form without any": "a=b",
		"2 MiB of nothing": strings.Repeat("x", 2<<20), "a bomb of nothing": packed(strings.Repeat("x", 4<<20)),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server := newRotating()
				server.body = func(int) (int, string) { return 200, body }
				k := keep(t, t.TempDir(), server, grantStore(), KeeperOptions{Required: true})
				k.refuses(t, "", fault.TokenEndpointUnreachable)
				c := k.stored(t)
				if cl, err := claimOf(c); err != nil || cl.State != ambiguous || c.Field("refresh_token").Reveal() != "rt-0" {
					t.Errorf("RT-11: claim %+v, %v, fields %v", cl, err, c.Names())
				}
			})
		})
	}
}

// RT-11: tokens in what is no grant are none: a server that echoes what it was
// sent does not make us go round in circles.
func TestRowEchoedTokens(t *testing.T) {
	for _, tc := range []struct {
		status  int
		refresh string
	}{{400, "rt-0"}, {400, "rt-evil"}, {401, "rt-evil"}, {500, "rt-evil"}, {200, "rt-0"}} {
		synctest.Test(t, func(t *testing.T) {
			server, status := newRotating(), tc.status
			server.before = func(int) (int, string) {
				return status, `{"error":"invalid_client","refresh_token":"` + tc.refresh + `","access_token":"at-evil"}`
			}
			k := keep(t, t.TempDir(), server, grantStore(), KeeperOptions{Required: true})
			if got, err := k.obtain(""); err == nil {
				t.Errorf("RT-11: %d gives %q", status, got)
			}
			if c := k.stored(t); !c.Field("access_token").Empty() || c.Field("refresh_token").Reveal() != "rt-0" || server.posts() != 1 {
				t.Errorf("RT-11: after %d the record holds %v, %d posts", status, c.Names(), server.posts())
			}
		})
	}
}

// RT-11: a scope that is narrowed or widened is told.
func TestRowScopeChanges(t *testing.T) {
	for scope, want := range map[string]string{
		"a b":   "",
		"a":     `missing=[b]`,
		"a b c": `more=[c]`,
		"":      "",
	} {
		synctest.Test(t, func(t *testing.T) {
			server := newRotating()
			server.body = func(int) (int, string) {
				return 200, `{"access_token":"at-1","refresh_token":"rt-1","scope":"` + scope + `"}`
			}
			k := keep(t, t.TempDir(), server, grantStore(), KeeperOptions{})
			k.edit(t, func(c *credential.Credential) { c.Set("scope", secret.New("a b")) })
			k.want(t, "", "at-1")
			if log := k.log.String(); !strings.Contains(log, want) || strings.Contains(log, "level=WARN") != (want != "") {
				t.Errorf("RT-11: with scope %q the log says\n%s\nwant %s", scope, log, want)
			}
		})
	}
}

func packed(s string) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = io.WriteString(z, s)
	_ = z.Close()
	return b.String()
}

// RT-22, OA-02: a token endpoint that redirects sees one request, and nobody
// else sees any; its cookies are not kept; the claim is free again.
func TestRowRedirectAndCookies(t *testing.T) {
	var evil, posts, cookies int
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { evil++ }))
	defer elsewhere.Close()
	status := http.StatusTemporaryRedirect
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		posts++
		cookies += len(r.Cookies())
		http.SetCookie(w, &http.Cookie{Name: "session", Value: "x"})
		if status != 200 {
			http.Redirect(w, r, elsewhere.URL, status)
			return
		}
		_, _ = io.WriteString(w, `{"access_token":"at-1","refresh_token":"rt-1"}`)
	}))
	defer server.Close()
	k := keep(t, t.TempDir(), nil, grantStore(), KeeperOptions{Required: true})
	k.p.OAuth2 = provider.OAuth2{TokenURL: server.URL}
	client := plainClient(t)
	for _, status = range []int{301, 302, 303, 307, 308} {
		if _, err := k.through(client.Transport, ""); !errors.Is(err, fault.TokenEndpointUnreachable) {
			t.Errorf("RT-22: %d gives %v", status, err)
		}
		k.edit(t, func(c *credential.Credential) {
			cl, err := claimOf(c)
			if err != nil || cl.State != "" || cl.Sent != 0 {
				t.Errorf("RT-22: after %d the claim is %+v, %v", status, cl, err)
			}
			cl.rested().write(c)
		})
	}
	status = 200
	if got, err := k.through(client.Transport, ""); err != nil || got != "at-1" || evil != 0 || posts != 6 || cookies != 0 {
		t.Errorf("RT-22: %q, %v after %d posts, %d of them elsewhere, %d cookies", got, err, posts, evil, cookies)
	}
}

// OA-01: a refresh token is posted once, however the server ends the exchange
// and however the client authenticates.
func TestRowOnePost(t *testing.T) {
	for _, style := range []string{"basic", "body", "none"} {
		for name, answer := range map[string]http.HandlerFunc{
			"drops it": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
			"400":      func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(400) },
			"401":      func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(401) },
			"half body": func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Length", "99")
				w.WriteHeader(200)
			},
		} {
			posts := 0
			server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				posts++
				answer(w, r)
			}))
			server.Config.ErrorLog = log.New(io.Discard, "", 0)
			server.Start()
			k := keep(t, t.TempDir(), nil, grantStore(), KeeperOptions{Required: true})
			k.p.OAuth2 = provider.OAuth2{TokenURL: server.URL, ClientAuth: style}
			if _, err := k.through(plainClient(t).Transport, ""); err == nil {
				t.Errorf("OA-01: %s: no error", name)
			}
			server.Close()
			if posts != 1 {
				t.Errorf("OA-01: client_auth %s, a server that answers by %s saw %d posts", style, name, posts)
			}
		}
	}
}

// OA-06: whoever waits for a token leaves when its own time is over.
func TestRowWaitersLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := newRotating()
		server.took = 300 * time.Millisecond
		k := keep(t, t.TempDir(), server, grantStore(), KeeperOptions{})
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		go func() { _, _ = k.obtain("") }()
		began := time.Now()
		_, err := k.Obtain(ctx, Demand{Provider: k.p, Client: &http.Client{Transport: server}, Record: k.stored(t)})
		if !errors.Is(err, fault.Timeout) || time.Since(began) != 20*time.Millisecond {
			t.Errorf("OA-06: %v after %v", err, time.Since(began))
		}
		k.want(t, "", "at-1")
		if server.posts() != 1 {
			t.Errorf("OA-06: %d posts", server.posts())
		}
	})
}
