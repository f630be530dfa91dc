package checker_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/checker"
	"github.com/sallyport/sallyport/internal/provider"
)

// sent keeps the last request and what was in it.
type sent struct {
	req  *http.Request
	body string
}

func (s *sent) RoundTrip(req *http.Request) (*http.Response, error) {
	s.req, s.body = req, ""
	if req.Body != nil {
		b, err := io.ReadAll(req.Body)
		if err != nil {
			return nil, err
		}
		s.body = string(b)
	}
	return answer(200, "application/json", "{}").RoundTrip(req)
}

// The body of a verify request, with the fields of the record as JSON or a form
// wants them, and the credential in it where it goes there.
func TestVerifyBody(t *testing.T) {
	inBody := []provider.Place{{In: provider.InBody, Name: "key", Value: "{token}"}}
	const asJSON, asForm = "application/json", "application/x-www-form-urlencoded"
	for _, c := range []struct {
		name, body, contentType, want string
		places                        []provider.Place
	}{
		{name: "GraphQL", body: `{"query":"{ me { id } }"}`, contentType: asJSON, want: `{"query":"{ me { id } }"}`},
		{name: "a field in JSON", body: `{"email":"{email}"}`, contentType: asJSON, want: `{"email":"a\"b+c@d.example"}`},
		{name: "a field in a form", body: "email={email}&all=1", contentType: asForm, want: "email=a%22b%2Bc%40d.example&all=1"},
		{name: "JSON after white space", body: "\n [1]", contentType: asJSON, want: "\n [1]"},
		{name: "the credential in JSON", body: `{"page":1}`, contentType: asJSON, want: `{"page":1,"key":"t-1"}`, places: inBody},
		{name: "the credential in a form", body: "key=", contentType: asForm, want: "key=t-1", places: inBody},
		{name: "no body but the credential", contentType: asJSON, want: `{"key":"t-1"}`, places: inBody},
		{name: "no body"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := api("https://api.example.com")
			p.Places, p.Verify = c.places, provider.Verify{Method: http.MethodPost, Path: "/me", Body: c.body}
			s := &sent{}
			r := newChecker(s).Check(t.Context(), p, record("bearer", "token", "t-1", "email", `a"b+c@d.example`))
			if r.Status != checker.OK {
				t.Fatalf("%s: %+v", r.Status, r.Checks)
			}
			if s.body != c.want || s.req.Header.Get("Content-Type") != c.contentType {
				t.Errorf("sent %s %q; want %s %q", s.req.Header.Get("Content-Type"), s.body, c.contentType, c.want)
			}
		})
	}
}

// No secret of the type is part of a verify request but where it goes, and a field
// that is missing is named.
func TestVerifyBodyFields(t *testing.T) {
	for field, want := range map[string]string{"token": "token", "nowhere": "nowhere"} {
		p := api("https://api.example.com")
		p.Verify = provider.Verify{Method: http.MethodPost, Path: "/me", Body: `{"x":"{` + field + `}"}`}
		s := &sent{}
		r := newChecker(s).Check(t.Context(), p, record("bearer", "token", canary))
		if s.req != nil || r.Status != checker.Error || !strings.Contains(r.Checks[0].Detail, want) {
			t.Errorf("%s: sent %v; %s: %+v", field, s.req, r.Status, r.Checks)
		}
	}
}
