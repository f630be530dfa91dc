package checker

import (
	"encoding/json"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/secret"
)

// told are the form members of a token request that are no secret.
var told = []string{"grant_type", "scope", "audience", "resource", "token_type_hint"}

// proofs are the form members that are made for one request, were just given, or
// come from a file: no field of the record holds them.
var proofs = []string{"assertion", "client_assertion", "subject_token", "token"}

// form gives a form body with its secret members redacted; another body is not shown.
func (r *recorder) form(req *http.Request) string {
	if req.GetBody == nil || req.ContentLength <= 0 || req.ContentLength > peekLimit {
		return ""
	}
	body, err := req.GetBody()
	if err != nil {
		return ""
	}
	defer func() { _ = body.Close() }()
	b, err := io.ReadAll(io.LimitReader(body, peekLimit))
	if err != nil {
		return ""
	}
	if t, _, _ := mime.ParseMediaType(req.Header.Get("Content-Type")); t != "application/x-www-form-urlencoded" {
		r.learnProofs(textsOf(b))
		return secret.Redacted
	}
	v, err := url.ParseQuery(string(b))
	if err != nil {
		return ""
	}
	r.learnProofs(v)
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(v)) {
		shown := secret.Redacted
		if slices.Contains(told, k) {
			shown = v.Get(k)
		}
		parts = append(parts, k+"="+shown)
	}
	return secret.Redact(strings.Join(parts, "&"), r.secrets...)
}

// learnProofs makes secrets of the proofs in a token request: a server may send
// them back.
func (r *recorder) learnProofs(v url.Values) {
	for _, k := range proofs {
		r.secrets = append(r.secrets, secret.New(v.Get(k)))
	}
}

// textsOf gives the members of a JSON object that are texts; none where it is none.
func textsOf(body []byte) url.Values {
	var object map[string]any
	_ = json.Unmarshal(body, &object) // what is no object has no members
	v := url.Values{}
	for name, member := range object {
		if text, ok := member.(string); ok {
			v.Set(name, text)
		}
	}
	return v
}
