package admin

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/provider"
)

// providerView is a provider as the API shows it.
type providerView struct {
	Name        string     `json:"name"`
	Type        string     `json:"type"`
	Types       []string   `json:"types"`
	Hosts       []string   `json:"hosts"`
	Paths       []string   `json:"paths"`
	BaseURL     string     `json:"base_url"`
	TokenURL    string     `json:"token_url"`
	ClientAuth  string     `json:"client_auth"`  // at token endpoints
	LoginFields []string   `json:"login_fields"` // of a two_step record
	PlaceFields []string   `json:"place_fields"` // that its places fill in
	GrantFields []string   `json:"grant_fields"` // of an oauth2_client_credentials record, sent for its token
	Verify      string     `json:"verify"`       // METHOD PATH; empty: there is none
	Scopes      []string   `json:"scopes"`       // that flows usually need
	OAuthScopes []string   `json:"oauth_scopes"` // of tokens that a consent gave; empty: scopes
	Permissions []string   `json:"permissions"`
	Limits      limitsView `json:"limits"`
	Accounts    string     `json:"accounts"` // many or one
	Anonymous   bool       `json:"anonymous"`
	Builtin     bool       `json:"builtin"`
	Configured  bool       `json:"configured"` // named by the configuration
	Unverified  bool       `json:"unverified"` // facts of the entry were not checked against the provider
	Note        string     `json:"note"`       // what a person needs to know of it
	Credentials int        `json:"credentials"`
}

type limitsView struct {
	Rate        []rateView `json:"rate"`
	Burst       int        `json:"burst"`
	Concurrency int        `json:"concurrency"`
}

type rateView struct {
	Count   int     `json:"count"`
	Seconds float64 `json:"seconds"`
}

func (s *Server) listProviders(w http.ResponseWriter, r *http.Request) error {
	ctx, cancel := context.WithTimeout(r.Context(), storeTimeout)
	defer cancel()
	refs, err := s.listed(ctx, r)
	if err != nil {
		return err
	}
	count := map[string]int{}
	for _, ref := range refs {
		count[ref.Provider]++
	}
	p, err := page(r, s.o.Table().All(), func(p *provider.Provider) string { return p.Name })
	if err != nil {
		return err
	}
	views := make([]providerView, len(p.Items))
	for i, p := range p.Items {
		views[i] = viewProvider(p, count[p.Name])
	}
	return writeJSON(w, http.StatusOK, list[providerView]{views, p.Next})
}

func viewProvider(p *provider.Provider, credentials int) providerView {
	v := providerView{
		Name: p.Name, Type: p.Type, Types: some(p.Types), Hosts: some(p.Hosts), Paths: some(p.Paths),
		BaseURL: p.BaseURL, TokenURL: p.OAuth2.TokenURL, ClientAuth: p.OAuth2.ClientAuth, LoginFields: some(p.Login.Fields()), PlaceFields: []string{},
		GrantFields: some(p.OAuth2.ClientCredentialsFields()),
		Scopes:      some(p.Needs.Scopes), OAuthScopes: some(p.Needs.OAuthScopes), Permissions: some(p.Needs.Permissions),
		Limits:   limitsView{[]rateView{}, p.Limits.Burst, p.Limits.Concurrency},
		Accounts: "many", Anonymous: p.Anonymous, Builtin: p.Builtin, Configured: p.Configured, Unverified: p.Unverified,
		Note: p.Note, Credentials: credentials,
	}
	for _, place := range p.Places {
		v.PlaceFields = append(v.PlaceFields, provider.TemplateFields(place.Value+place.Username+place.Password)...)
	}
	if p.Verify.Path != "" {
		v.Verify = strings.TrimSpace(p.Verify.Method + " " + p.Verify.Path)
	}
	if p.OneAccount {
		v.Accounts = "one"
	}
	for _, r := range p.Limits.Rates {
		v.Limits.Rate = append(v.Limits.Rate, rateView{r.Count, float64(r.Window) / float64(time.Second)})
	}
	return v
}

// some makes nil an empty list.
func some(s []string) []string { return append([]string{}, s...) }
