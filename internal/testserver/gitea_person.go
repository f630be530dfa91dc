package testserver

import (
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"testing"
)

// Consent is what a person does at a Gitea: it opens the page that asks for a consent, logs in as the administrator and
// grants it. It gives the URL that the page redirects to.
func (g *Gitea) Consent(tb testing.TB, address string) string {
	tb.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		tb.Fatal(err)
	}
	client := *g.Client
	client.Jar = jar
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	p := &Person{tb, &client}
	p.page(http.MethodPost, g.URL+"/user/login", url.Values{"user_name": {g.User}, "password": {g.Password}})
	page, _ := p.page(http.MethodGet, address, nil)
	form := fields(page)
	if form.Get("client_id") == "" {
		return p.Consent(address) // it was granted before
	}
	form.Set("granted", "true")
	resp, err := client.PostForm(g.URL+"/login/oauth/grant", form)
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	return resp.Header.Get("Location")
}
