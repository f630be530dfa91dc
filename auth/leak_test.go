package auth

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sallyport/sallyport/internal/credential/credtest"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
)

const canary = `CNRY/5f1e+0c "%=`

// scan fails if text holds the canary in any form it could have on the way.
func scan(t *testing.T, what, text string) {
	t.Helper()
	for _, form := range []string{
		canary, url.QueryEscape(canary), url.PathEscape(canary), url.QueryEscape(url.QueryEscape(canary)), hex.EncodeToString([]byte(canary)),
		base64.StdEncoding.EncodeToString([]byte(canary)), base64.URLEncoding.EncodeToString([]byte(canary)),
		base64.StdEncoding.EncodeToString([]byte("id:" + canary)), base64.StdEncoding.EncodeToString([]byte("id:" + url.QueryEscape(canary))),
		"CNRY", "5f1e",
	} {
		if strings.Contains(text, form) {
			t.Errorf("OA-05, LK-02: %s shows the secret as %q: %.300s", what, form, text)
		}
	}
}

// OA-05, LK-01, LK-02: endpoints that send everything back that they were sent,
// as mangled as they can, get none of it into a fault, a log line or a metric.
func TestNoFailureShowsASecret(t *testing.T) {
	echo := func(r *http.Request) string {
		_ = r.ParseForm()
		user, pass, _ := r.BasicAuth()
		return fmt.Sprintf("%s %s %s %s %v %s", canary, user, pass, r.Header.Get("Authorization"), r.PostForm, r.PostForm.Encode())
	}
	quoted := func(r *http.Request) string { return fmt.Sprintf("%q", echo(r)) }
	raw := func(answer func(r *http.Request) string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			text := answer(r)
			if c, _, err := http.NewResponseController(w).Hijack(); err == nil {
				_, _ = c.Write([]byte(text))
				_ = c.Close()
			}
		}
	}
	status := func(code int, contentType string, body func(*http.Request) string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", contentType)
			w.Header().Set("X-Echo", url.QueryEscape(echo(r)))
			w.WriteHeader(code)
			_, _ = w.Write([]byte(body(r)))
		}
	}
	json := func(format string) func(*http.Request) string {
		return func(r *http.Request) string { return fmt.Sprintf(format, quoted(r)) }
	}
	for name, h := range map[string]http.HandlerFunc{
		"echoed error page":        status(500, "text/html", echo),
		"echoed 400":               status(400, "text/plain", echo),
		"echoed 401":               status(401, "text/plain", echo),
		"error description":        status(400, "application/json", json(`{"error":"invalid_client","error_description":%s}`)),
		"error code":               status(400, "application/json", json(`{"error":%s}`)),
		"error in 200":             status(200, "application/json", json(`{"error":%s,"access_token":"a"}`)),
		"form error":               status(200, "application/x-www-form-urlencoded", func(r *http.Request) string { return "error=" + url.QueryEscape(echo(r)) }),
		"no JSON":                  status(200, "application/json", echo),
		"token with control chars": status(200, "application/json", json(`{"access_token":"x\r\n","echo":%s}`)),
		"odd expires_in":           status(200, "application/json", json(`{"access_token":"","expires_in":%s}`)),
		"redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://127.0.0.1:1/?x="+url.QueryEscape(echo(r)), http.StatusFound)
		},
		"no HTTP":    raw(echo),
		"odd status": raw(func(r *http.Request) string { return "HTTP/1.1 " + url.QueryEscape(echo(r)) + " x\r\n\r\n" }),
		"odd header": raw(func(r *http.Request) string { return "HTTP/1.1 200 OK\r\n" + url.QueryEscape(echo(r)) + "\r\n\r\n" }),
		"odd length": raw(func(r *http.Request) string {
			return "HTTP/1.1 200 OK\r\nContent-Length: " + url.QueryEscape(echo(r)) + "\r\n\r\n"
		}),
		"odd coding": raw(func(r *http.Request) string {
			return "HTTP/1.1 200 OK\r\nTransfer-Encoding: " + url.QueryEscape(echo(r)) + "\r\n\r\n"
		}),
		"cut in the middle":  raw(func(r *http.Request) string { return "HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n" + echo(r) }),
		"closed immediately": raw(func(*http.Request) string { return "" }),
	} {
		for _, style := range []string{"basic", "body"} {
			t.Run(name+" "+style, func(t *testing.T) {
				server := httptest.NewServer(h)
				defer server.Close()
				p := &provider.Provider{Name: "crm", AllowCleartext: true, OAuth2: provider.OAuth2{TokenURL: server.URL, ClientAuth: style}}
				scanSource(t, p, plainClient(t), "oauth2_client_credentials", "client_id", "id", "client_secret", canary, "scope", "a", "other", canary)
			})
		}
	}
	for name, fields := range map[string][]string{
		"bearer":        {"bearer", "token", canary + "\n1"},
		"api_key":       {"api_key", "api_key", "ä" + canary},
		"basic":         {"basic", "username", canary + ":", "password", canary},
		"url":           {"api_key_url", "api_key", canary, "url", "https://" + canary},
		"url with user": {"basic_url", "username", "u", "password", canary, "url", "https://u:" + url.QueryEscape(canary) + "@x.example"},
		"token_url":     {"oauth2_client_credentials", "client_id", "id", "client_secret", canary, "token_url", "https://x.example/" + canary + "\x00"},
		"client_secret": {"oauth2_client_credentials", "client_id", "id", "client_secret", canary + "\x00", "token_url", "https://x.example/"},
	} {
		t.Run(name, func(t *testing.T) { scanSource(t, crm(), plainClient(t), fields[0], fields[1:]...) })
	}
}

// scanSource uses a record that must fail, and scans all that is shown of it.
func scanSource(t *testing.T, p *provider.Provider, client *http.Client, typ string, fields ...string) {
	t.Helper()
	var log bytes.Buffer
	reg, store := prometheus.NewRegistry(), &credtest.Store{}
	c := store.Add(tokenRef, typ, fields...)
	s := NewSource(SourceOptions{
		Ref: c.Ref, Provider: p, Store: store, Client: client, Metrics: NewMetrics(reg),
		Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	_, err := s.Injector(context.Background())
	if err == nil {
		t.Fatal("it did not fail")
	}
	for e := err; e != nil; e = errors.Unwrap(e) {
		scan(t, "the error", fmt.Sprintf("%v %+v %#v", e, e, e))
	}
	scan(t, "the problem", string(fault.From(err).Body("r1")))
	if err := Validate(p, c); err != nil {
		scan(t, "Validate", fmt.Sprintf("%v %+v %#v", err, err, err))
	}
	scan(t, "the log", log.String())
	scan(t, "Status", fmt.Sprintf("%+v %v", s.Status(), s.Status().LastError))
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	scan(t, "the metrics", fmt.Sprint(families))
	if !strings.Contains(log.String(), "credential=acme/production/crm/main") {
		t.Errorf("the log does not name the credential: %s", log.String())
	}
}
