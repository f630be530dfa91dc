package auth

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
)

// What golang.org/x/oauth2 does that this package relies on or guards against.
// A test that fails after an upgrade says which guard can go, or must change.

func factConfig(url string, style oauth2.AuthStyle) *clientcredentials.Config {
	return &clientcredentials.Config{ClientID: "a:b", ClientSecret: "p w", TokenURL: url, AuthStyle: style}
}

func factServer(t *testing.T, h http.HandlerFunc) (url string, ctx context.Context) {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return server.URL, context.WithValue(context.Background(), oauth2.HTTPClient, server.Client())
}

func answering(contentType, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		_, _ = w.Write([]byte(body))
	}
}

// OA-01: without an explicit style any failure is posted a second time.
func TestFactAuthStyleProbingPostsTwice(t *testing.T) {
	for style, want := range map[oauth2.AuthStyle]int32{oauth2.AuthStyleAutoDetect: 2, oauth2.AuthStyleInHeader: 1, oauth2.AuthStyleInParams: 1} {
		var posts atomic.Int32
		url, ctx := factServer(t, func(w http.ResponseWriter, _ *http.Request) {
			posts.Add(1)
			w.WriteHeader(http.StatusServiceUnavailable)
		})
		if _, err := factConfig(url, style).Token(ctx); err == nil || posts.Load() != want {
			t.Errorf("OA-01: style %d: %d posts, %v; want %d", style, posts.Load(), err, want)
		}
	}
}

// OA-02: a client that follows redirects sends the secret on.
func TestFactRedirectIsFollowed(t *testing.T) {
	var got atomic.Pointer[string]
	evil, _ := factServer(t, func(_ http.ResponseWriter, r *http.Request) { s := r.FormValue("client_secret"); got.Store(&s) })
	url, ctx := factServer(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, evil, http.StatusTemporaryRedirect) })
	_, _ = factConfig(url, oauth2.AuthStyleInParams).Token(ctx)
	if s := got.Load(); s == nil || *s != "p w" {
		t.Error("OA-02: a plain client no longer posts the secret to where a 307 points")
	}
}

// OA-03: a missing life is a token without end.
func TestFactMissingLifeIsForEver(t *testing.T) {
	for _, body := range []string{`{"access_token":"a"}`, `{"access_token":"a","expires_in":0}`, `{"access_token":"a","expires_in":null}`} {
		url, ctx := factServer(t, answering("application/json", body))
		if tok, err := factConfig(url, oauth2.AuthStyleInHeader).Token(ctx); err != nil || !tok.Expiry.IsZero() || !tok.Valid() {
			t.Errorf("OA-03: %s gives %v, %v", body, tok, err)
		}
	}
}

// OA-04: a life that is no whole number loses the token.
func TestFactFloatLifeIsAnError(t *testing.T) {
	for _, life := range []string{`3600.9`, `3600.0`, `"abc"`, `""`} {
		url, ctx := factServer(t, answering("application/json", `{"access_token":"a","expires_in":`+life+`}`))
		if _, err := factConfig(url, oauth2.AuthStyleInHeader).Token(ctx); err == nil {
			t.Errorf("OA-04: expires_in %s is read now", life)
		}
	}
}

// OA-05: its errors quote what the endpoint said.
func TestFactErrorQuotesTheBody(t *testing.T) {
	for _, h := range []http.HandlerFunc{
		func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "CNRY", http.StatusBadGateway) },
		answering("application/json", `{"error":"invalid_client","error_description":"CNRY"}`),
	} {
		url, ctx := factServer(t, h)
		_, err := factConfig(url, oauth2.AuthStyleInHeader).Token(ctx)
		var r *oauth2.RetrieveError
		if !errors.As(err, &r) || !strings.Contains(err.Error(), "CNRY") {
			t.Errorf("OA-05: %v", err)
		}
	}
}

// OA-06: its token source makes callers queue behind a lock, whatever their context.
func TestFactTokenSourceQueuesCallers(t *testing.T) {
	url, ctx := factServer(t, func(w http.ResponseWriter, _ *http.Request) {
		time.Sleep(50 * time.Millisecond)
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	src, took := factConfig(url, oauth2.AuthStyleInHeader).TokenSource(ctx), make(chan time.Duration)
	start := time.Now()
	for range 2 {
		go func() { _, _ = src.Token(); took <- time.Since(start) }()
	}
	if a, b := <-took, <-took; max(a, b) < 100*time.Millisecond {
		t.Errorf("OA-06: the second caller waited %v, no longer behind the first", max(a, b))
	}
}

// OA-07: it reads one MiB of an answer, and has no limit of time of its own.
func TestFactAnswerIsCapped(t *testing.T) {
	url, ctx := factServer(t, answering("application/json", `{"pad":"`+strings.Repeat("a", 1<<20)+`","access_token":"a"}`))
	if _, err := factConfig(url, oauth2.AuthStyleInHeader).Token(ctx); err == nil {
		t.Error("OA-07: an answer of more than one MiB is read now")
	}
}

// RFC 6749 section 2.3.1: id and secret are form-urlencoded before Basic.
func TestFactBasicIsFormURLEncoded(t *testing.T) {
	var user, pass string
	url, ctx := factServer(t, func(w http.ResponseWriter, r *http.Request) {
		user, pass, _ = r.BasicAuth()
		answering("application/json", `{"access_token":"a"}`)(w, r)
	})
	if _, err := factConfig(url, oauth2.AuthStyleInHeader).Token(ctx); err != nil || user != "a%3Ab" || pass != "p+w" {
		t.Errorf("Basic is %q, %q, %v", user, pass, err)
	}
}
