package auth

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/credential/credtest"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
)

const tokenURL = "https://login.example/token"

// tokenEndpoint is one in memory, so that time can be faked. It answers the nth
// request, from 1, with answer, or a token "at-N" that lives for an hour.
type tokenEndpoint struct {
	took   time.Duration // before it answers
	answer func(n int) (status int, contentType, body string)
	header http.Header // further ones of the answer

	mu    sync.Mutex
	asked []*http.Request
	forms []url.Values
}

// RoundTrip implements http.RoundTripper.
func (e *tokenEndpoint) RoundTrip(req *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, err
	}
	e.mu.Lock()
	e.asked, e.forms = append(e.asked, req), append(e.forms, form)
	n, answer, took := len(e.asked), e.answer, e.took
	e.mu.Unlock()
	select {
	case <-time.After(took):
	case <-req.Context().Done():
		return nil, req.Context().Err()
	}
	if answer == nil {
		answer = lives(3600)
	}
	status, contentType, text := answer(n)
	if status == 0 {
		return nil, fault.New(fault.ConnectionRefused, "", nil)
	}
	h := e.header.Clone()
	if h == nil {
		h = http.Header{}
	}
	h.Set("Content-Type", contentType)
	return &http.Response{
		StatusCode: status, Status: fmt.Sprint(status), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: h, Body: io.NopCloser(strings.NewReader(text)), Request: req,
	}, nil
}

func (e *tokenEndpoint) posts() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.asked)
}

func (e *tokenEndpoint) answers(f func(n int) (int, string, string)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.answer = f
}

// lives answers tokens that live so many seconds.
func lives(seconds int) func(int) (int, string, string) {
	return func(n int) (int, string, string) {
		return 200, "application/json", fmt.Sprintf(`{"access_token":"at-%d","token_type":"bearer","expires_in":%d}`, n, seconds)
	}
}

func says(status int, contentType, body string) func(int) (int, string, string) {
	return func(int) (int, string, string) { return status, contentType, body }
}

func oauthProvider() *provider.Provider {
	return &provider.Provider{Name: "crm", OAuth2: provider.OAuth2{TokenURL: tokenURL}}
}

func clientRecord(more ...string) *credential.Credential {
	return record("oauth2_client_credentials", append([]string{"client_id", "id", "client_secret", "s3cr3t"}, more...)...)
}

// tokenSource is a source of a client_credentials record in a store in memory.
func tokenSource(e *tokenEndpoint, more ...string) (*Source, *credtest.Store, *credential.Credential) {
	store := &credtest.Store{}
	c := store.Add("acme/production/crm/main", "oauth2_client_credentials", append([]string{"client_id", "id", "client_secret", "s3cr3t"}, more...)...)
	return NewSource(SourceOptions{
		Ref: c.Ref, Provider: oauthProvider(), Store: store, Client: &http.Client{Transport: e}, Log: slog.New(slog.DiscardHandler),
	}), store, c
}

// sent gives the Authorization that an injector sets.
func sent(t testing.TB, i *Injector) string {
	t.Helper()
	req := request(t, "https://api.example/")
	if err := i.Inject(req); err != nil {
		t.Fatal(err)
	}
	return req.Header.Get("Authorization")
}
