package auth

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"golang.org/x/net/http/httpguts"

	"github.com/sallyport/sallyport/internal/provider"
)

// Whatever a template and a value are: the injector is refused, or what it sets is one valid field.
func FuzzPlaceValue(f *testing.F) {
	f.Add("Token {api_key}", "k")
	f.Add("{api_key}{api_key}", "{api_key}")
	f.Add("{", "a\r\nX: y")
	f.Add("{org} {api_key}", " ä;")
	f.Fuzz(func(t *testing.T, template, value string) {
		for _, p := range []provider.Place{
			header("X-Api-Key", template), {In: provider.InCookie, Name: "c", Value: template},
			{In: provider.InBasic, Username: template, Password: template}, {In: provider.InQuery, Name: "q", Value: template},
		} {
			i, err := Mint(context.Background(), Material{Provider: crm(p), Credential: record("api_key", "api_key", value)})
			if err != nil {
				continue
			}
			req := request(t, "https://crm.example/?q=1")
			if err := i.Inject(req); err != nil {
				t.Fatal(err)
			}
			for name, values := range req.Header {
				if len(values) != 1 || !httpguts.ValidHeaderFieldValue(values[0]) || strings.TrimSpace(values[0]) != values[0] {
					t.Errorf("%s = %q", name, values)
				}
			}
			if q, err := url.ParseQuery(req.URL.RawQuery); err != nil || len(q["q"]) != 1 {
				t.Errorf("the query is %q, %v", req.URL.RawQuery, err)
			}
		}
	})
}

// No server finds the key in what is left, and everything else is left.
func FuzzDropKey(f *testing.F) {
	f.Add("a=1&api_key=2&%61pi_key=3", "api_key")
	f.Add("a;b=1&&=;;x", "b")
	f.Add("%zz&+=1", " ")
	f.Fuzz(func(t *testing.T, raw, name string) {
		if name == "" {
			return
		}
		kept := dropKey(raw, name)
		for pair := range strings.FieldsFuncSeq(kept, func(r rune) bool { return r == '&' || r == ';' }) {
			key, _, _ := strings.Cut(pair, "=")
			decoded, err := url.QueryUnescape(key)
			if strings.EqualFold(key, name) || err == nil && strings.EqualFold(decoded, name) {
				t.Errorf("%q of %q still has %q", kept, raw, name)
			}
		}
		if again := dropKey(kept, name); again != kept {
			t.Errorf("%q becomes %q, then %q", raw, kept, again)
		}
		if !strings.Contains(strings.ToLower(raw), "%") && !strings.Contains(raw, "+") && !strings.Contains(strings.ToLower(raw), strings.ToLower(name)) && kept != raw {
			t.Errorf("%q became %q without any %q in it", raw, kept, name)
		}
	})
}

// Whatever an endpoint answers: a fault, or a token that fits into a header and lives for a while.
func FuzzTokenAnswer(f *testing.F) {
	f.Add(200, "application/json", `{"access_token":"a","expires_in":3600.9}`)
	f.Add(200, "application/x-www-form-urlencoded", `access_token=a&expires_in=x`)
	f.Add(401, "text/html", `<html>`)
	f.Add(200, "text/plain", `{"error":{"code":1}}`)
	f.Fuzz(func(t *testing.T, status int, contentType, body string) {
		a := readAnswer(reply{status, contentType, []byte(body), false})
		if fault := a.fault("login.example", &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {contentType}}}); fault != nil {
			return
		}
		if l := a.life(); l < 0 || l > maxLife {
			t.Errorf("life %v", l)
		}
		if v := schemeOf(a.TokenType) + " " + a.AccessToken; fitHeader(a.AccessToken) != "" || !httpguts.ValidHeaderFieldValue(v) {
			t.Errorf("it would send %q", v)
		}
	})
}

// The JSON body stays an object in which our member stands once.
func FuzzSetMember(f *testing.F) {
	f.Add(`{"a":1,"API_KEY":2}`, "api_key")
	f.Add(`{"":[{}]}`, "")
	f.Fuzz(func(t *testing.T, body, name string) {
		out, err := setMember([]byte(body), name, quote(name)+`:"ours"`)
		if err != nil {
			return
		}
		again, err := setMember(out, name, quote(name)+`:"ours"`)
		if err != nil || string(again) != string(out) {
			t.Errorf("%q becomes %q, then %q, %v", body, out, again, err)
		}
	})
}
