package admin

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/checker"
	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
	"github.com/sallyport/sallyport/internal/secret"
)

// Connector asks persons for their consent. Its errors are faults, whose detail
// is shown. All methods may be called at once from many goroutines.
type Connector interface {
	// Begin starts a connect: somebody must open a page then.
	Begin(ctx context.Context, r ConnectRequest) (ConnectBegun, error)
	// Connect tells how far one is. An unknown one is not_found.
	Connect(id string) (Connect, error)
	// Callback takes the query of a redirect, and waits for what comes of it.
	Callback(ctx context.Context, query string) (Connect, error)
	// Paste takes the URL that a browser was redirected to, for one connect.
	Paste(ctx context.Context, id, url string) (Connect, error)
	// Cancel ends one that is pending.
	Cancel(id string) error
}

// ConnectRequest asks for a consent.
type ConnectRequest struct {
	Provider     *provider.Provider
	Ref          credential.Ref
	Scopes       []string // none: the provider's
	ClientID     string   // empty: the record's own client, or an app
	ClientSecret secret.Value
	Flow         string            // code or device; empty: what the provider has
	Fields       map[string]string // for the {field}s of the provider's URLs
	Test         bool              // nothing is stored
}

// ConnectBegun says where the person must go: to the authorization URL, or to
// the verification URI with the user code.
type ConnectBegun struct {
	ID                      string     `json:"id"`
	AuthorizationURL        string     `json:"authorization_url"`
	UserCode                string     `json:"user_code"`
	VerificationURI         string     `json:"verification_uri"`
	VerificationURIComplete string     `json:"verification_uri_complete"`
	ExpiresAt               *time.Time `json:"expires_at"`
}

// Connect is how far a connect is.
type Connect struct {
	ID         string         `json:"id"`
	Credential string         `json:"credential"`
	Test       bool           `json:"test"`
	State      string         `json:"state"` // pending, done or failed
	Steps      []checker.Step `json:"steps"` // never nil
	Fault      *checker.Fault `json:"fault"` // of failed
	Warnings   []string       `json:"warnings"`
	ExpiresAt  *time.Time     `json:"expires_at"` // when a pending one ends by itself
}

// maxScopes bounds the scopes of one request.
const maxScopes = 200

func (s *Server) beginConnect(w http.ResponseWriter, r *http.Request) error {
	ref, err := refOf(r)
	if err != nil {
		return err
	}
	p := s.o.Table().Get(ref.Provider)
	if p == nil {
		return invalid("provider: " + ref.Provider + " is not known here")
	}
	req, err := readConnect(w, r, p)
	if err != nil {
		return err
	}
	req.Provider, req.Ref = p, ref
	if err := s.mayConnect(r.Context(), req); err != nil {
		return err
	}
	begun, err := s.o.Connects.Begin(r.Context(), req)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusAccepted, begun)
}

// readConnect reads the body, which may be absent.
func readConnect(w http.ResponseWriter, r *http.Request, p *provider.Provider) (ConnectRequest, error) {
	var req ConnectRequest
	var id, key, flow optional
	if r.Header.Get("Content-Type") != "" || r.ContentLength != 0 {
		if err := decode(w, r, map[string]any{
			"scopes": &req.Scopes, "client_id": &id, "client_secret": &key, "flow": &flow, "fields": &req.Fields, "test": &req.Test,
		}); err != nil {
			return req, err
		}
	}
	req.ClientID, req.ClientSecret, req.Flow = id.value, secret.New(key.value), flow.value
	odd := func(s string) bool { return s == "" || len(s) > 512 || strings.IndexFunc(s, blank) >= 0 }
	switch {
	case req.ClientID == "" && key.value != "":
		return req, invalid("client_secret: goes with client_id")
	case len(req.Scopes) > maxScopes || slices.ContainsFunc(req.Scopes, odd):
		return req, invalid("scopes: are not at most 200 words without spaces")
	}
	known := urlFields(p)
	for _, name := range slices.Sorted(maps.Keys(req.Fields)) {
		if !slices.Contains(known, name) {
			return req, invalid("fields." + shown(name) + ": is not in a URL of provider " + p.Name)
		}
	}
	return req, nil
}

func blank(r rune) bool { return r <= ' ' || r == 0x7f }

// urlFields are the {field}s of a provider's hosts and URLs that a record gives,
// none of which holds a secret.
func urlFields(p *provider.Provider) []string {
	o := p.OAuth2
	urls := slices.Concat(p.Hosts, []string{
		p.BaseURL, p.Verify.Path, o.AuthorizationURL, o.TokenURL, o.RefreshURL, o.RevocationURL, o.IntrospectionURL, o.DeviceAuthorizationURL,
	})
	return slices.DeleteFunc(provider.TemplateFields(strings.Join(urls, " ")), func(f string) bool {
		return f == "client_secret" || slices.Contains(credential.TokenFields, f)
	})
}

// mayConnect refuses what could not be stored in the end.
func (s *Server) mayConnect(ctx context.Context, req ConnectRequest) error {
	if req.Test {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	c, err := s.o.Store.Get(ctx, req.Ref)
	switch {
	case fault.From(err).Code == fault.CredentialNotFound && err != nil:
		c = &credential.Credential{Ref: req.Ref}
	case err != nil:
		return err
	}
	for name, v := range req.Fields {
		c.Set(name, secret.New(v))
	}
	return s.stands(ctx, req.Provider, c)
}

func (s *Server) getConnect(w http.ResponseWriter, r *http.Request) error {
	c, err := s.o.Connects.Connect(r.PathValue("id"))
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, c)
}

func (s *Server) cancelConnect(w http.ResponseWriter, r *http.Request) error {
	if err := bodyless(w, r); err != nil {
		return err
	}
	if err := s.o.Connects.Cancel(r.PathValue("id")); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// pasteConnect takes a redirect that could not reach this daemon.
func (s *Server) pasteConnect(w http.ResponseWriter, r *http.Request) error {
	var url string
	if err := decode(w, r, map[string]any{"url": &url}); err != nil {
		return err
	}
	c, err := s.o.Connects.Paste(r.Context(), r.PathValue("id"), url)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, c)
}
