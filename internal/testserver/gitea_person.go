package testserver

import (
	"encoding/json"
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

// SpentToken gives a refresh token of an app, by a consent of the administrator, that was used once.
func (g *Gitea) SpentToken(tb testing.TB, id, secret, redirect string) string {
	tb.Helper()
	at, err := url.Parse(g.Consent(tb, g.URL+"/login/oauth/authorize?"+url.Values{
		"client_id": {id}, "redirect_uri": {redirect}, "response_type": {"code"}, "state": {"x"},
	}.Encode()))
	if err != nil {
		tb.Fatal(err)
	}
	token := g.token(tb, id, secret, url.Values{"grant_type": {"authorization_code"}, "code": {at.Query().Get("code")}, "redirect_uri": {redirect}})
	g.token(tb, id, secret, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}})
	return token
}

// token asks the token endpoint and gives the refresh token.
func (g *Gitea) token(tb testing.TB, id, secret string, form url.Values) string {
	tb.Helper()
	form.Set("client_id", id)
	form.Set("client_secret", secret)
	resp, err := g.Client.PostForm(g.URL+"/login/oauth/access_token", form)
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var answer struct {
		RefreshToken string `json:"refresh_token"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || answer.RefreshToken == "" {
		tb.Fatalf("Gitea's token endpoint: %d %v", resp.StatusCode, err)
	}
	return answer.RefreshToken
}
