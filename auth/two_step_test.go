package auth

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
)

// asked is a login call as a server got it.
type asked struct {
	method, uri, contentType, body string
	header                         http.Header
}

// loginServer answers with a token and shows what it was asked.
func loginServer(t *testing.T, answer func(asked) (int, string)) (base string, calls *[]asked) {
	calls = &[]asked{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		a := asked{r.Method, r.RequestURI, r.Header.Get("Content-Type"), string(body), r.Header}
		*calls = append(*calls, a)
		status, text := answer(a)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, text)
	}))
	t.Cleanup(s.Close)
	return s.URL, calls
}

func loginProvider(base string, l provider.Login) *provider.Provider {
	return &provider.Provider{Name: "crm", BaseURL: base, Login: l}
}

// odd is a password with all that means something in JSON, a form or a path.
const odd = `p"a\s&s=w+o r%d/{username}?#é<>`

func TestLoginCall(t *testing.T) {
	for _, tc := range []struct {
		name   string
		l      provider.Login
		fields []string
		want   asked
		json   any // what the body must say; nil: want.body as it stands
	}{
		{
			"JSON", provider.Login{Path: "/login", Body: `{"user":"{username}","nested":[{"password":"x-{password}"}]}`}, nil,
			asked{method: "POST", uri: "/login", contentType: "application/json"},
			map[string]any{"user": "u", "nested": []any{map[string]any{"password": "x-" + odd}}},
		},
		{
			"JSON with values that need no quotes", provider.Login{Method: "PUT", Path: "/login", Body: ` {"tenant":{tenant},"mfa":{mfa},"{username}":1}`}, []string{"tenant", "17", "mfa", "false"},
			asked{method: "PUT", uri: "/login", contentType: "application/json"}, map[string]any{"tenant": 17.0, "mfa": false, "u": 1.0},
		},
		{
			"a form", provider.Login{Path: "/login", Body: "grant=x&user={username}&pass={password}"}, nil,
			asked{method: "POST", uri: "/login", contentType: "application/x-www-form-urlencoded", body: "grant=x&user=u&pass=" + url.QueryEscape(odd)}, nil,
		},
		{
			"a path and a query", provider.Login{Method: "GET", Path: "/{tenant}/login?user={username}&pass={password}"}, []string{"tenant", "a/b"},
			asked{method: "GET", uri: "/a%2Fb/login?user=u&pass=" + url.QueryEscape(odd)}, nil,
		},
		{"no body at all", provider.Login{Path: "/login"}, nil, asked{method: "POST", uri: "/login"}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			base, calls := loginServer(t, func(asked) (int, string) { return 200, `{"access_token":"at"}` })
			tc.l.Token = "access_token"
			p := loginProvider(base, tc.l)
			p.Headers = []provider.Header{{Name: "X-Api-Version", Value: "2"}}
			c := record("two_step", append([]string{"username", "u", "password", odd}, tc.fields...)...)
			if err := Validate(p, c); err != nil || len(*calls) != 0 {
				t.Fatalf("Validate: %v after %d requests", err, len(*calls))
			}
			i, err := Mint(t.Context(), Material{Credential: c, Provider: p, Client: plainClient(t)})
			if err != nil {
				t.Fatal(err)
			}
			got := (*calls)[0]
			if tc.json != nil {
				var v any
				if err := json.Unmarshal([]byte(got.body), &v); err != nil || !reflect.DeepEqual(v, tc.json) {
					t.Errorf("the body is %s, want %v", got.body, tc.json)
				}
				tc.want.body = got.body
			}
			if got.header.Get("X-Api-Version") != "2" || got.header.Get("Accept") != "application/json" {
				t.Errorf("header %v", got.header)
			}
			got.header = nil
			if !reflect.DeepEqual(got, tc.want) {
				t.Errorf("it sends %+v, want %+v", got, tc.want)
			}
			if s := sent(t, i); s != "Bearer at" {
				t.Errorf("the request has %q", s)
			}
		})
	}
}

// The token goes where the provider says; the password that was changed for it goes nowhere.
func TestLoginPlaces(t *testing.T) {
	basic := provider.Place{In: provider.InBasic, Username: "{username}", Password: "{password}"}
	for _, tc := range []struct {
		name   string
		places []provider.Place
		want   http.Header
	}{
		{"the default", nil, http.Header{"Authorization": {"Bearer at"}}},
		{"a place of its own", []provider.Place{header("X-Session", "s={access_token}")}, http.Header{"X-Session": {"s=at"}}},
		{"beside one of another type", []provider.Place{basic}, http.Header{"Authorization": {"Bearer at"}}},
		{"beside one of another type, the token behind it", []provider.Place{basic, header("Authorization", "Token {access_token}")}, http.Header{"Authorization": {"Token at"}}},
		{"beside a field of the record", []provider.Place{header("X-Tenant", "{tenant}")}, http.Header{"Authorization": {"Bearer at"}, "X-Tenant": {"acme"}}},
	} {
		p := loginProvider("https://api.example", provider.Login{Path: "/login", Body: "u={username}&p={password}", Token: "access_token"})
		p.Places = tc.places
		c := record("two_step", "username", "u", "password", "p", "tenant", "acme")
		i, err := mint(&tokenEndpoint{answer: says(200, "application/json", `{"access_token":"at"}`)}, p, c)
		if err != nil {
			t.Errorf("%s: %v", tc.name, err)
			continue
		}
		req := request(t, "https://api.example/")
		if err := i.Inject(req); err != nil || !reflect.DeepEqual(req.Header, tc.want) {
			t.Errorf("%s: it sends %v, %v; want %v", tc.name, req.Header, err, tc.want)
		}
	}
}

func TestLoginAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at := func(d time.Duration, layout string) string { return time.Now().Add(d).UTC().Format(layout) }
		unix := func(d time.Duration) int64 { return time.Now().Add(d).Unix() }
		for _, tc := range []struct {
			name, token, expires, body string
			access                     string
			life                       time.Duration
		}{
			{"plain", "access_token", "", `{"access_token":"at"}`, "at", defaultLife},
			{"nested", "data.session.id", "data.ttl", `{"data":{"session":{"id":"at"},"ttl":90}}`, "at", 90 * time.Second},
			{"an array", "tokens[1].value", "tokens.1.ttl", `{"tokens":[0,{"value":"at","ttl":"60"}]}`, "at", time.Minute},
			{"an array of arrays", "[0][1]", "", `[[0,"at"]]`, "at", defaultLife},
			{"a number", "id", "", `{"id":12345678901234567890}`, "12345678901234567890", defaultLife},
			{"a duration", "t", "90m", `{"t":"at"}`, "at", 90 * time.Minute},
			{"a time", "t", "until", `{"t":"at","until":"` + at(2*time.Hour, time.RFC3339) + `"}`, "at", 2 * time.Hour},
			{"Unix seconds", "t", "until", fmt.Sprintf(`{"t":"at","until":%d}`, unix(2*time.Hour)), "at", 2 * time.Hour},
			{"Unix milliseconds", "t", "until", fmt.Sprintf(`{"t":"at","until":%d000}`, unix(2*time.Hour)), "at", 2 * time.Hour},
			{"a life that is not told", "t", "until", `{"t":"at"}`, "at", defaultLife},
			{"a life of another shape", "t", "until", `{"t":"at","until":{"x":1}}`, "at", defaultLife},
			{"a negative life", "t", "until", `{"t":"at","until":-1}`, "at", defaultLife},
			{"beside an error that is none", "t", "", `{"t":"at","error":false}`, "at", defaultLife},
		} {
			p := loginProvider("https://api.example", provider.Login{Path: "/login", Body: "u={username}", Token: tc.token, ExpiresIn: tc.expires})
			i, err := mint(&tokenEndpoint{answer: says(201, "application/json", tc.body)}, p, record("two_step", "username", "u"))
			if err != nil {
				t.Errorf("%s: %v", tc.name, err)
				continue
			}
			if got := time.Until(i.Expiry); sent(t, i) != "Bearer "+tc.access || got != tc.life {
				t.Errorf("%s: %s for %v, want %s for %v", tc.name, sent(t, i), got, tc.access, tc.life)
			}
		}
	})
}

func TestLoginIsRefused(t *testing.T) {
	const unreachable = fault.TokenEndpointUnreachable
	for _, tc := range []struct {
		name, typ string
		status    int
		body      string
		want      fault.Code
		says      string
	}{
		{"a wrong password", "application/json", 401, `{"error":"s3cr3t"}`, fault.InvalidGrant, "answered 401 to the login"},
		{"bad request", "text/plain", 400, "s3cr3t", fault.InvalidGrant, "answered 400 to the login"},
		{"forbidden", "application/json", 403, `{}`, fault.InvalidGrant, "answered 403 to the login"},
		{"a page of somebody in between", "text/html", 403, `<html>s3cr3t`, unreachable, "answered 403"},
		{"no such path", "application/json", 404, `{}`, unreachable, "answered 404"},
		{"too many", "application/json", 429, `{}`, unreachable, "answered 429"},
		{"a broken server", "application/json", 500, `{"access_token":"s3cr3t"}`, unreachable, "answered 500"},
		{"no token in it", "application/json", 200, `{"ok":false,"why":"s3cr3t"}`, fault.InvalidGrant, "without a token at access_token"},
		{"a token of another shape", "application/json", 200, `{"access_token":{"s3cr3t":1}}`, fault.InvalidGrant, "without a token at access_token"},
		{"an empty token", "application/json", 200, `{"access_token":""}`, fault.InvalidGrant, "without a token at access_token"},
		{"no JSON", "application/json", 200, `s3cr3t`, unreachable, "answered no access_token"},
		{"a token that fits no header", "application/json", 200, `{"access_token":"s3cr3t\r\nX: y"}`, unreachable, "control character"},
	} {
		e := &tokenEndpoint{answer: says(tc.status, tc.typ, tc.body)}
		p := loginProvider("https://api.example", provider.Login{Path: "/login", Body: "u={username}&p={password}", Token: "access_token"})
		_, err := mint(e, p, record("two_step", "username", "u", "password", "s3cr3t"))
		if !errors.Is(err, tc.want) || !strings.Contains(err.Error(), tc.says) || strings.Contains(err.Error(), "s3cr3t") {
			t.Errorf("%s: %v, want %s with %q", tc.name, err, tc.want, tc.says)
		}
	}
}

func TestLoginThatCannotBe(t *testing.T) {
	for _, tc := range []struct {
		name   string
		base   string
		l      provider.Login
		fields []string
		want   fault.Code
		says   string
	}{
		{"no login", "https://api.example", provider.Login{}, nil, fault.FieldMissing, "provider crm has no login"},
		{"a missing field", "https://api.example", provider.Login{Path: "/login", Body: "u={username}&p={password}"}, []string{"username", "u"}, fault.FieldMissing, "field password is missing"},
		{"a line break", "https://api.example", provider.Login{Path: "/login", Body: `{"p":"{password}"}`}, []string{"password", "s3cr3t\n"}, fault.FieldMissing, "field password has a control character"},
		{"no number where one must be", "https://api.example", provider.Login{Path: "/login", Body: `{"p":{password}}`}, []string{"password", `"s3cr3t"`}, fault.FieldMissing, "field password is no number"},
		{"out of the path", "https://api.example", provider.Login{Path: "/{password}/login"}, []string{"password", ".."}, fault.FieldMissing, "field password is a dot segment"},
		{"in the clear", "http://api.example", provider.Login{Path: "/login"}, nil, fault.CleartextRefused, "base_url of provider crm is not https"},
		{"to the record's url in the clear", "https://api.example", provider.Login{Path: "/login"}, []string{"url", "http://other.example"}, fault.CleartextRefused, "field url is not https"},
		{"no base", "", provider.Login{Path: "/login"}, nil, fault.FieldMissing, "base_url of provider crm"},
		{"a secret in the host", "https://{password}.example", provider.Login{Path: "/login"}, []string{"password", "s3cr3t"}, fault.FieldMissing, "field password is missing"},
	} {
		e, p, c := &tokenEndpoint{}, loginProvider(tc.base, tc.l), record("two_step", tc.fields...)
		_, err := mint(e, p, c)
		bad := Validate(p, c)
		if !errors.Is(err, tc.want) || !errors.Is(bad, fault.InvalidRequest) || e.posts() != 0 {
			t.Errorf("%s: %v and %v after %d requests, want %s", tc.name, err, bad, e.posts(), tc.want)
			continue
		}
		if !strings.Contains(bad.Error(), tc.says) || strings.Contains(err.Error()+bad.Error(), "s3cr3t") {
			t.Errorf("%s: %v, want %q", tc.name, bad, tc.says)
		}
	}
}

// A login is repeated when its token nears its end or is refused.
func TestLoginIsRepeated(t *testing.T) {
	n := 0
	base, _ := loginServer(t, func(asked) (int, string) {
		n++
		return 200, fmt.Sprintf(`{"access_token":"at-%d","expires_in":1}`, n)
	})
	p := loginProvider(base, provider.Login{Path: "/login", Body: "u={username}", Token: "access_token", ExpiresIn: "expires_in"})
	c := record("two_step", "username", "u")
	for want := 1; want < 3; want++ {
		i, err := Mint(t.Context(), Material{Credential: c, Provider: p, Client: plainClient(t), Renew: true})
		if err != nil || sent(t, i) != fmt.Sprintf("Bearer at-%d", want) {
			t.Fatalf("%v, want token %d", err, want)
		}
	}
}

// Whatever values a record has: the body is JSON, and says those values.
func FuzzLoginBody(f *testing.F) {
	f.Add("u", odd)
	f.Add(`","admin":true,"x":"`, `\`)
	f.Add("1e400", "\u2028")
	f.Fuzz(func(t *testing.T, user, pass string) {
		m := Material{
			Provider:   loginProvider("https://api.example", provider.Login{Path: "/login", Token: "t", Body: `{"u":"{username}","p":["{password}"],"n":{number}}`}),
			Credential: record("two_step", "username", user, "password", pass, "number", user),
		}
		k, _ := Lookup("two_step")
		for _, number := range []string{user, "7"} {
			m.Credential = record("two_step", "username", user, "password", pass, "number", number)
			call, err := callLogin(k, m)
			if err != nil {
				continue
			}
			var got struct {
				U string
				P []string
				N any
				X map[string]any `json:"-"`
			}
			d := json.NewDecoder(strings.NewReader(call.(apiCall).body))
			d.DisallowUnknownFields()
			if err := d.Decode(&got); err != nil || d.More() || got.U != user || len(got.P) != 1 || got.P[0] != pass {
				t.Errorf("%q and %q make %s: %v", user, pass, call.(apiCall).body, err)
			}
		}
	})
}
