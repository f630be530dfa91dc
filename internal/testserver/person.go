package testserver

import (
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"
)

// Person walks through the pages of an OpenID provider whose interactions finish by themselves, with cookies as a browser
// keeps them, and follows redirects as far as the pages are the provider's.
type Person struct {
	tb     testing.TB
	client *http.Client
}

// NewPerson gives one who trusts what rt trusts; nil: no certificates.
func NewPerson(tb testing.TB, rt http.RoundTripper) *Person {
	tb.Helper()
	if rt == nil {
		t := &http.Transport{}
		tb.Cleanup(t.CloseIdleConnections)
		rt = t
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		tb.Fatal(err)
	}
	client := &http.Client{Transport: rt, Jar: jar, Timeout: callLimit}
	client.CheckRedirect = func(req *http.Request, via []*http.Request) error {
		if req.URL.Host != via[0].URL.Host || len(via) > 10 {
			return http.ErrUseLastResponse
		}
		return nil
	}
	return &Person{tb, client}
}

// Consent opens a consent page and gives the URL of ours that it redirects to at the end; "" if it does not.
func (p *Person) Consent(address string) string {
	p.tb.Helper()
	resp, err := p.client.Get(address)
	if err != nil {
		p.tb.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	return resp.Header.Get("Location")
}

var hidden = regexp.MustCompile(`name="([a-z_]+)"\s+value="([^"]*)"|value="([^"]*)"\s+type="text" name="([a-z_]+)"`)

// Device types a user code in at the provider's page, confirms it, and gives the text of the last page. With abort the
// confirmation is a refusal.
func (p *Person) Device(address, userCode string, abort bool) string {
	p.tb.Helper()
	page, at := p.page(http.MethodGet, address, nil)
	form := fields(page)
	form.Set("user_code", userCode)
	page, _ = p.page(http.MethodPost, at, form)
	form = fields(page)
	if abort {
		form.Set("abort", "yes")
	}
	page, _ = p.page(http.MethodPost, at, form)
	return page
}

func (p *Person) page(method, address string, form url.Values) (text, at string) {
	p.tb.Helper()
	req, err := http.NewRequest(method, address, strings.NewReader(form.Encode()))
	if err != nil {
		p.tb.Fatal(err)
	}
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	resp, err := p.client.Do(req)
	if err != nil {
		p.tb.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		p.tb.Fatal(err)
	}
	at, _, _ = strings.Cut(resp.Request.URL.String(), "?")
	return string(b), at
}

func fields(page string) url.Values {
	v := url.Values{}
	for _, m := range hidden.FindAllStringSubmatch(page, -1) {
		v.Set(m[1]+m[4], html.UnescapeString(m[2]+m[3]))
	}
	return v
}
