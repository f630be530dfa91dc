package auth

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
)

func header(name, value string) provider.Place {
	return provider.Place{In: provider.InHeader, Name: name, Value: value}
}

// SM-08: whatever the runner sent under an injected name is gone, however it is spelled; exactly one value is left.
func TestRunnersSpellingsAreRemoved(t *testing.T) {
	for _, tc := range []struct {
		name  string
		place provider.Place
		field string // where ours must be
		sent  []string
	}{
		{"case", header("X-Api-Key", "{api_key}"), "X-Api-Key", []string{"X-Api-Key", "evil", "x-api-key", "evil", "X-API-KEY", "evil"}},
		{"underscores", header("X-Api-Key", "{api_key}"), "X-Api-Key", []string{"X_Api_Key", "evil", "X-Api_key", "evil", "x_api-KEY", "evil"}},
		{"a dash for an underscore", header("X_Api_Key", "{api_key}"), "X_api_key", []string{"X-Api-Key", "evil"}},
		{"duplicates", header("Authorization", "{api_key}"), "Authorization", []string{"Authorization", "evil", "Authorization", "evil", "AUTHORIZATION", "evil"}},
		{"basic", provider.Place{In: provider.InBasic, Username: "{api_key}", Password: ""}, "Authorization", []string{"authorization", "evil"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			i := mustMint(t, crm(tc.place), record("api_key", "api_key", "ours"))
			req := request(t, "https://crm.example/", append(tc.sent, "X-Other", "kept", "X-Api-Keys", "kept")...)
			if err := i.Inject(req); err != nil {
				t.Fatal(err)
			}
			if len(req.Header) != 3 || len(req.Header[tc.field]) != 1 || req.Header.Get("X-Other") != "kept" || req.Header.Get("X-Api-Keys") != "kept" {
				t.Errorf("SM-08: the header is %v", req.Header)
			}
			if strings.Contains(fmt.Sprint(req.Header), "evil") {
				t.Errorf("SM-08: the runner's value is left in %v", req.Header)
			}
			for j := 0; j < len(tc.sent); j += 2 {
				if !i.Owns(tc.sent[j]) {
					t.Errorf("SM-08: Owns(%q) is false", tc.sent[j])
				}
			}
			if i.Owns("X-Other") || i.Owns("Cookie") {
				t.Error("Owns a field that is not its own")
			}
		})
	}
}

func TestCookiePlace(t *testing.T) {
	i := mustMint(t, crm(provider.Place{In: provider.InCookie, Name: "sid", Value: "{api_key}"}), record("api_key", "api_key", "ours"))
	for _, tc := range []struct {
		name string
		sent []string
		want string
	}{
		{"none", nil, "sid=ours"},
		{"others", []string{"Cookie", `a=1; b="2 3"; c`}, `a=1; b="2 3"; c; sid=ours`},
		{"duplicates", []string{"Cookie", "sid=evil; a=1;sid=evil;  SID =evil; sid", "Cookie", "sid=evil"}, "a=1; sid=ours"},
		{"another spelling of the field", []string{"cookie", "sid=evil; a=1"}, "a=1; sid=ours"},
		{"similar names", []string{"Cookie", "sid2=1; xsid=2"}, "sid2=1; xsid=2; sid=ours"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			req := request(t, "https://crm.example/", tc.sent...)
			if err := i.Inject(req); err != nil {
				t.Fatal(err)
			}
			if got := req.Header["Cookie"]; len(req.Header) != 1 || len(got) != 1 || got[0] != tc.want {
				t.Errorf("SM-08: the header is %v, want one Cookie %q", req.Header, tc.want)
			}
		})
	}
	if !i.Owns("cookie") {
		t.Error("a credential in a cookie owns Cookie")
	}
}

// PA-09: every parameter that decodes to our name is gone, one of ours is set, the others keep their order and bytes.
func TestQueryPlace(t *testing.T) {
	i := mustMint(t, crm(provider.Place{In: provider.InQuery, Name: "api_key", Value: "{api_key}"}), record("api_key", "api_key", "a&b=c d;ä%"))
	const ours = "api_key=a%26b%3Dc+d%3B%C3%A4%25"
	many := strings.Repeat("api_key=evil&x=1&", 5000) + "z"
	for _, tc := range []struct{ name, sent, want string }{
		{"none", "", ours},
		{"others keep order and bytes", "b=%7e&a=+&a=%2B&&c", "b=%7e&a=+&a=%2B&&c&" + ours},
		{"first, middle and last", "api_key=evil&a=1&api_key=evil&b=2&api_key", "a=1&b=2&" + ours},
		{"encoded", "%61pi_key=evil&api%5Fkey=evil&%61%70%69%5f%6B%65%79=evil&a=1", "a=1&" + ours},
		{"case", "API_KEY=evil&%41PI_key=evil&a=1", "a=1&" + ours},
		{"semicolons", "a=1;api_key=evil;b=2&c=3;d", "a=1;b=2&c=3;d&" + ours},
		{"only semicolons", "api_key=evil;%61pi_key=evil", ours},
		{"similar names", "xapi_key=1&api_key2=2&api-key=3&a=api_key=4", "xapi_key=1&api_key2=2&api-key=3&a=api_key=4&" + ours},
		{"broken escapes stay", "a=%zz&%zz=1", "a=%zz&%zz=1&" + ours},
		{"ten thousand", many, strings.Repeat("x=1&", 5000) + "z&" + ours},
	} {
		t.Run(tc.name, func(t *testing.T) {
			req := request(t, "https://crm.example/p")
			req.URL.RawQuery = tc.sent
			before := req.URL
			if err := i.Inject(req); err != nil {
				t.Fatal(err)
			}
			if got := req.URL.RawQuery; got != tc.want {
				t.Errorf("PA-09: the query is %.200q, want %.200q", got, tc.want)
			}
			if before.RawQuery != tc.sent {
				t.Error("the runner's own URL was changed")
			}
		})
	}
	spaced := mustMint(t, crm(provider.Place{In: provider.InQuery, Name: "api key", Value: "{api_key}"}), record("api_key", "api_key", "k"))
	req := request(t, "https://crm.example/p?api+key=evil&api%20key=evil&a=1")
	if err := spaced.Inject(req); err != nil || req.URL.RawQuery != "a=1&api+key=k" {
		t.Errorf("PA-09: plus signs: %q, %v", req.URL.RawQuery, err)
	}
}

func bodyRequest(t *testing.T, method, contentType, body string) *http.Request {
	t.Helper()
	req := request(t, "https://crm.example/p", "Content-Type", contentType, "Content-Length", fmt.Sprint(len(body)))
	req.Method, req.Body, req.ContentLength = method, io.NopCloser(strings.NewReader(body)), int64(len(body))
	return req
}

func TestBodyPlace(t *testing.T) {
	i := mustMint(t, crm(provider.Place{In: provider.InBody, Name: "api_key", Value: "{api_key}"}), record("api_key", "api_key", `a"<&`))
	if !i.BodyPlace() {
		t.Fatal("BodyPlace is false")
	}
	form := "api_key=" + url.QueryEscape(`a"<&`)
	for _, tc := range []struct{ name, contentType, sent, want string }{
		{"empty object", "application/json", ` {} `, `{"api_key":"a\"<&"}`},
		{"others keep order and bytes", "application/json; charset=utf-8", `{"b": 1.00, "a":{"api_key":"deep"},"<":"\u00e4"}`, `{"b":1.00,"a":{"api_key":"deep"},"<":"\u00e4","api_key":"a\"<&"}`},
		{"duplicates in any case", "application/vnd.x+json", `{"api_key":1,"x":2,"API_KEY":{},"\u0061pi_key":[]}`, `{"x":2,"api_key":"a\"<&"}`},
		{"form", "application/x-www-form-urlencoded", "b=1&%61pi_key=evil&a=2", "b=1&a=2&" + form},
		{"empty form", "application/x-www-form-urlencoded", "", form},
	} {
		t.Run(tc.name, func(t *testing.T) {
			req := bodyRequest(t, http.MethodPost, tc.contentType, tc.sent)
			if err := i.Inject(req); err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(req.Body)
			if err != nil || string(b) != tc.want || req.ContentLength != int64(len(b)) || req.Header.Get("Content-Length") != fmt.Sprint(len(b)) {
				t.Errorf("the body is %q (length %d), %v; want %q", b, req.ContentLength, err, tc.want)
			}
			again, err := req.GetBody()
			if err != nil {
				t.Fatal(err)
			}
			if c, _ := io.ReadAll(again); !bytes.Equal(b, c) {
				t.Errorf("GetBody gives %q", c)
			}
		})
	}
}

func TestBodyPlaceRefuses(t *testing.T) {
	i := mustMint(t, crm(provider.Place{In: provider.InBody, Name: "api_key", Value: "{api_key}"}), record("api_key", "api_key", "s3cr3t"))
	none := request(t, "https://crm.example/p")
	zipped := bodyRequest(t, http.MethodPost, "application/x-www-form-urlencoded", "a=1")
	zipped.Header.Set("Content-Encoding", "gzip")
	for name, req := range map[string]*http.Request{
		"GET without a body":  none,
		"an array":            bodyRequest(t, http.MethodPost, "application/json", `[1]`),
		"a string":            bodyRequest(t, http.MethodPost, "application/json", `"api_key"`),
		"cut JSON":            bodyRequest(t, http.MethodPost, "application/json", `{"a":1`),
		"two objects":         bodyRequest(t, http.MethodPost, "application/json", `{} {}`),
		"no JSON":             bodyRequest(t, http.MethodPost, "application/json", `a=1`),
		"an empty JSON body":  bodyRequest(t, http.MethodPost, "application/json", ``),
		"multipart":           bodyRequest(t, http.MethodPost, "multipart/form-data; boundary=x", "--x--"),
		"no type":             bodyRequest(t, http.MethodPost, "", `{}`),
		"a compressed body":   zipped,
		"a nonsensical type":  bodyRequest(t, http.MethodPost, "application/json/json", `{}`),
		"a broken JSON value": bodyRequest(t, http.MethodPost, "application/json", `{"a":tru}`),
	} {
		err := i.Inject(req)
		if !errors.Is(err, fault.InvalidRequest) || strings.Contains(err.Error(), "s3cr3t") {
			t.Errorf("%s: got %v, want invalid_request", name, err)
		}
	}
}

// SM-11: what would break out of its place is refused when the injector is made, naming the field and never the value.
func TestUnfitValues(t *testing.T) {
	long := strings.Repeat("a", maxHeader+1)
	in := map[string]provider.Place{
		"header": header("X-Api-Key", "k {api_key}"),
		"query":  {In: provider.InQuery, Name: "k", Value: "{api_key}"},
		"cookie": {In: provider.InCookie, Name: "k", Value: "{api_key}"},
		"body":   {In: provider.InBody, Name: "k", Value: "{api_key}"},
		"user":   {In: provider.InBasic, Username: "{api_key}", Password: "x"},
		"basic":  {In: provider.InBasic, Username: "x", Password: "{api_key}"},
	}
	for _, tc := range []struct {
		name, value string
		fits        []string
	}{
		{"CRLF", "CNRY\r\nX: y", nil},
		{"LF", "CNRY\ny", nil},
		{"NUL", "CNRY\x00", nil},
		{"tab", "CNRY\ty", nil},
		{"DEL", "CNRY\x7f", nil},
		{"broken UTF-8", "CNRY\xff", nil},
		{"not ASCII", "CNRYä", []string{"query", "body", "basic", "user"}},
		{"leading space", " CNRY", []string{"query", "body", "basic", "user"}},
		{"trailing space", "CNRY ", []string{"query", "body", "basic", "user"}},
		{"64 KiB", "CNRY" + long, []string{"query", "body", "basic", "user"}},
		{"semicolon", "CNRY;a=b", []string{"header", "query", "body", "basic", "user"}},
		{"comma", "CNRY,b", []string{"header", "query", "body", "basic", "user"}},
		{"colon", "CNRY:b", []string{"header", "query", "cookie", "body", "basic"}},
		{"braces", "CNRY{api_key}", []string{"header", "query", "cookie", "body", "basic", "user"}},
	} {
		for place, p := range in {
			t.Run(tc.name+" in "+place, func(t *testing.T) {
				c := record("api_key", "api_key", tc.value)
				_, err := Mint(context.Background(), Material{Credential: c, Provider: crm(p)})
				bad := Validate(crm(p), c)
				if slices.Contains(tc.fits, place) {
					if err != nil || bad != nil {
						t.Errorf("refused: %v, %v", err, bad)
					}
					return
				}
				if !errors.Is(err, fault.FieldMissing) || !errors.Is(bad, fault.InvalidRequest) {
					t.Fatalf("SM-11: got %v and %v, want field_missing and invalid_request", err, bad)
				}
				for _, e := range []error{err, bad} {
					if s := e.Error(); strings.Contains(s, "CNRY") || !strings.Contains(s, "api_key") {
						t.Errorf("SM-11: %q must name the field and not its value", s)
					}
				}
			})
		}
	}
}

// SM-12: a field that is no secret gets no further into a template than a secret does.
func TestUnfitPartOfTemplate(t *testing.T) {
	p := crm(header("X-Auth", "Token {api_key}; user={username}"))
	for _, user := range []string{"u\r\nX: y", "u\n", "u\x00", "ü"} {
		_, err := Mint(context.Background(), Material{Provider: p, Credential: record("api_key", "api_key", "k", "username", user)})
		if !errors.Is(err, fault.FieldMissing) || !strings.Contains(err.Error(), "username") {
			t.Errorf("SM-12: a username of %q gives %v", user, err)
		}
	}
	req := request(t, "https://crm.example/")
	if err := mustMint(t, p, record("api_key", "api_key", "{username}", "username", "{api_key}")).Inject(req); err != nil {
		t.Fatal(err)
	}
	if got := req.Header.Get("X-Auth"); got != "Token {username}; user={api_key}" {
		t.Errorf("SM-12: a value was read as a template: %q", got)
	}
}

func TestPlacesThatCannotBe(t *testing.T) {
	for name, places := range map[string][]provider.Place{
		"framing field":    {header("Content-Length", "{api_key}")},
		"routing field":    {header("Host", "{api_key}")},
		"hop-by-hop field": {header("Connection", "{api_key}")},
		"proxy's field":    {header("Proxy-Authorization", "{api_key}")},
		"our own field":    {header("Sallyport-Credential", "{api_key}")},
		"no token":         {header("X Key", "{api_key}")},
		"cookie's name":    {{In: provider.InCookie, Name: "a=b", Value: "{api_key}"}},
		"unknown part":     {{In: "heder", Name: "X", Value: "{api_key}"}},
		"twice the same":   {header("X-Key", "{api_key}"), header("x_key", "{api_key}")},
		"basic and header": {header("Authorization", "{api_key}"), {In: provider.InBasic, Username: "{api_key}"}},
		"template's break": {header("X-Key", "{api_key}\n")},
		"missing field":    {header("X-Key", "{api_key}{org}")},
	} {
		_, err := Mint(context.Background(), Material{Provider: crm(places...), Credential: record("api_key", "api_key", "k")})
		if !errors.Is(err, fault.FieldMissing) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestConstantHeaders(t *testing.T) {
	p := crm()
	p.Headers = []provider.Header{{Name: "x-version", Value: "2"}, {Name: "User-Agent", Value: "sallyport"}}
	i := mustMint(t, p, record("bearer", "token", "t"))
	req := request(t, "https://crm.example/", "X-Version", "3", "User-Agent", "")
	if err := i.Inject(req); err != nil {
		t.Fatal(err)
	}
	if req.Header.Get("X-Version") != "3" || req.Header.Get("User-Agent") != "sallyport" {
		t.Errorf("the header is %v: a constant is set where the runner sent none", req.Header)
	}
	if i.Owns("X-Version") {
		t.Error("a constant is the runner's to override")
	}
}

func TestRedactURL(t *testing.T) {
	i := mustMint(t, crm(provider.Place{In: provider.InQuery, Name: "api_key", Value: "v1-{api_key}"}), record("api_key", "api_key", "s3cr3t/+ x"))
	for _, tc := range []struct{ in, want string }{
		{"/next?page=2", "/next?page=2"},
		{"https://x.example/next?api_key=v1-s3cr3t%2F%2B+x&page=2#top", "https://x.example/next?page=2#top"},
		{"?%61pi_key=anything", ""},
		{"https://login.example/?back=https%3A%2F%2Fx%2F%3Fapi_key%3Dv1-s3cr3t%252F%252B%2Bx", "https://login.example/?back=https%3A%2F%2Fx%2F%3Fapi_key%3Dredacted"},
		{"/s3cr3t%2F+%20x#s3cr3t/+ x", "/redacted#redacted"},
		{"/plain#frag?api_key=v1-s3cr3t%2F%2B+x", "/plain#frag"},
	} {
		if got := i.RedactURL(tc.in); got != tc.want {
			t.Errorf("RedactURL(%q) = %q, want %q", tc.in, got, tc.want)
		}
	}
	const same = "/next?api_key=1&token=t"
	if got := mustMint(t, crm(), record("bearer", "token", "token")).RedactURL(same); got != same {
		t.Errorf("a credential outside the query changed %q to %q", same, got)
	}
}

// LK-01: an injector that is printed shows nothing of what it injects.
func TestInjectorNeverPrints(t *testing.T) {
	p := crm(header("X-A", "{api_key}"), provider.Place{In: provider.InQuery, Name: "k", Value: "{api_key}"},
		provider.Place{In: provider.InCookie, Name: "k", Value: "{api_key}"}, provider.Place{In: provider.InBody, Name: "k", Value: "{api_key}"})
	i := mustMint(t, p, record("api_key", "api_key", "CNRY"))
	s, _, _ := staticSource(SourceOptions{})
	get(t, s)
	for _, v := range []any{i, *i, struct{ i *Injector }{i}, s.Status(), s.view.Load()} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
			if got := fmt.Sprintf(verb, v); strings.Contains(got, "CNRY") || strings.Contains(got, "434e5259") {
				t.Errorf("LK-01: %s of %T shows the secret", verb, v)
			}
		}
		if b, _ := json.Marshal(v); bytes.Contains(b, []byte("CNRY")) {
			t.Errorf("LK-01: JSON of %T shows the secret", v)
		}
	}
}

func TestURLKinds(t *testing.T) {
	for _, url := range []string{
		"one.example", "//one.example", "ftp://one.example", "https://", "https://u@one.example", "https://u:p@one.example", "https://one.example?a=1",
		"https://one.example/?", "https://one.example#f", "https://one.example/#", "https://one example", "https://one.example/\n", "https://:8443", "https:one.example", "https://one.example:port",
	} {
		err := Validate(crm(), record("api_key_url", "api_key", "k", "url", url))
		if !errors.Is(err, fault.InvalidRequest) || !strings.Contains(err.Error(), "field url") {
			t.Errorf("url %q gives %v", url, err)
		}
	}
	for in, want := range map[string]string{"https://one.example/": "https://one.example", "http://[::1]:80/a%2Fb/": "http://[::1]:80/a%2Fb"} {
		if got := mustMint(t, crm(), record("api_key_url", "api_key", "k", "url", in)).Upstream.String(); got != want {
			t.Errorf("url %q gives %q, want %q", in, got, want)
		}
	}
	if u := mustMint(t, crm(), record("bearer", "token", "t", "url", "https://one.example")).Upstream; u != nil {
		t.Errorf("a type without a url has the upstream %v", u)
	}
}
