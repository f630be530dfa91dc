package configs

import (
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
)

// ofScheme is the way of one security scheme.
func (i *importer) ofScheme(s *openapi3.SecurityScheme, scopes []string) way {
	switch s.Type {
	case "apiKey":
		return ofKey(s)
	case "http":
		return ofHTTP(s)
	case "oauth2":
		return i.ofOAuth2(s, scopes)
	case "openIdConnect":
		w := way{typ: "bearer", cost: partly}
		w.say("type", "the description names an OpenID Connect provider and no endpoints: those of %s go into [provider.oauth2], with type = \"oauth2_authorization_code\"; as it stands a credential is a token that somebody got by other means", s.OpenIdConnectUrl)
		return w
	case "mutualTLS":
		return way{typ: "mtls"}
	}
	return cannot("type %q is not known", s.Type)
}

// ofKey is the way of an API key. That of AWS is a signature, which API Gateway
// marks by an extension.
func ofKey(s *openapi3.SecurityScheme) way {
	if s.Extensions["x-amazon-apigateway-authtype"] == "awsSigv4" {
		return way{typ: "aws_sigv4"}
	}
	w := way{typ: "api_key", key: s.Name}
	p := placeForm{In: s.In, Name: s.Name, Value: "{api_key}"}
	switch {
	case s.In != "header" && s.In != "query" && s.In != "cookie":
		return cannot("in %q is no place of a request", s.In)
	case s.Name == "":
		return cannot("it has no name")
	case s.In == "header" && checkHeader(s.Name) != "":
		return cannot("%s %s", s.Name, checkHeader(s.Name))
	case s.In == "header" && strings.EqualFold(s.Name, "Authorization"):
		w.guess = true
		if word := wordBefore(s.Description); word != "" {
			p.Value = word + " {api_key}"
			w.say("place", "a guess from the description of the scheme: the word %s stands before the key", word)
			break
		}
		w.say("place", "the description does not say whether a word such as Bearer or Token stands before the key; as it is, the credential holds the whole value")
	}
	w.places = []placeForm{p}
	return w
}

var words = []*regexp.Regexp{
	regexp.MustCompile(`(?i)\b(bearer)\b`),
	regexp.MustCompile("(?i)(?:prepended|prefixed|preceded|prefix) (?:with|by) [\"'`]([A-Za-z][A-Za-z-]{0,31})[\"'` ]"),
	regexp.MustCompile(`\b([A-Z][A-Za-z-]{0,31}) [<{\[]`),
}

// wordBefore finds the word that stands before a key, as people write it down.
func wordBefore(description string) string {
	for _, w := range words {
		if m := w.FindStringSubmatch(description); m != nil {
			if strings.EqualFold(m[1], "bearer") {
				return "Bearer"
			}
			return m[1]
		}
	}
	return ""
}

// challenged are the schemes of Authorization that answer a challenge or bind a
// key, so that no stored value can be sent.
var challenged = []string{"digest", "hoba", "mutual", "negotiate", "ntlm", "scram-sha-1", "scram-sha-256", "vapid", "dpop", "gnap", "concealed", "privatetoken"}

func ofHTTP(s *openapi3.SecurityScheme) way {
	switch scheme := strings.ToLower(s.Scheme); {
	case scheme == "basic" || scheme == "bearer":
		return way{typ: scheme}
	case scheme == "oauth":
		return way{typ: "oauth1"}
	case slices.Contains(challenged, scheme):
		return cannot("Authorization: %s answers a challenge of the server", s.Scheme)
	case !fieldName.MatchString(s.Scheme):
		return cannot("%q is no scheme of Authorization", s.Scheme)
	}
	w := way{typ: "api_key", guess: true, places: []placeForm{{In: "header", Name: "Authorization", Value: s.Scheme + " {api_key}"}}}
	w.say("place", "a guess: the scheme %s is taken to be a word before a key", s.Scheme)
	return w
}

// flow is one way to a token.
type flow struct {
	typ string
	*openapi3.OAuthFlow
}

func (i *importer) ofOAuth2(s *openapi3.SecurityScheme, scopes []string) way {
	if s.Flows == nil {
		return cannot("it has no flows")
	}
	flows := slices.DeleteFunc([]flow{
		{"oauth2_authorization_code", s.Flows.AuthorizationCode},
		{"oauth2_client_credentials", s.Flows.ClientCredentials},
		{"oauth2_password", s.Flows.Password},
	}, func(f flow) bool { return f.OAuthFlow == nil })
	w := way{cost: impossible, why: "it has no flow that is known"}
	for _, f := range flows {
		f.OAuthFlow = i.absolute(f.OAuthFlow)
		switch why := unfitFlow(f); {
		case why != "":
			w.why = f.typ + ": " + why
			w.say("oauth2", "left out: %s", w.why)
		case w.cost == impossible:
			w.cost, w.typ = whole, f.typ
			w.oauth2 = oauth2Form{AuthorizationURL: f.AuthorizationURL, TokenURL: f.TokenURL, RefreshURL: f.RefreshURL}
			w.scopes(f, scopes)
		case f.TokenURL != w.oauth2.TokenURL:
			w.say("oauth2", "left out: %s, whose token_url is another, %s", f.typ, f.TokenURL)
		default:
			w.types = append(w.types, f.typ)
		}
	}
	if w.cost == impossible && s.Flows.Implicit != nil {
		w.typ, w.cost = "bearer", partly
		w.say("type", "the description has the implicit flow only, which gives nothing that lasts: a credential is a token that somebody got by other means")
		w.notes = slices.DeleteFunc(w.notes, func(n note) bool { return n.key == "oauth2" })
	}
	for _, name := range slices.Sorted(maps.Keys(s.Flows.Extensions)) {
		if !strings.HasPrefix(name, "x-") {
			w.say("type", "left out: the flow %s", name)
		}
	}
	return w
}

// unfitFlow says what keeps a flow out, or nothing.
func unfitFlow(f flow) string {
	if f.TokenURL == "" {
		return "it names no tokenUrl"
	}
	for _, u := range []struct{ key, s string }{{"authorizationUrl", f.AuthorizationURL}, {"tokenUrl", f.TokenURL}, {"refreshUrl", f.RefreshURL}} {
		if u.s == "" {
			continue
		}
		if _, err := checkURL(u.s, onLoopback(u.s)); err != nil {
			return fmt.Sprintf("%s %v", u.key, err)
		}
	}
	if f.typ == "oauth2_authorization_code" && f.AuthorizationURL == "" {
		return "it names no authorizationUrl"
	}
	return ""
}

// absolute resolves a flow's URLs, which may be relative to the API's.
func (i *importer) absolute(f *openapi3.OAuthFlow) *openapi3.OAuthFlow {
	out := *f
	for _, u := range []*string{&out.AuthorizationURL, &out.TokenURL, &out.RefreshURL} {
		if strings.HasPrefix(*u, "/") && !strings.HasPrefix(*u, "//") {
			authority, _, _ := strings.Cut(strings.TrimPrefix(i.form.BaseURL, "https://"), "/")
			*u = "https://" + authority + *u
			continue
		}
		if parsed, err := url.Parse(*u); err == nil && *u != "" && !parsed.IsAbs() {
			*u = i.form.BaseURL + "/" + *u
		}
	}
	return &out
}

// scopes are those that the whole API asks for; the others are told.
func (w *way) scopes(f flow, asked []string) {
	fit := func(s string) bool {
		return s != "" && !strings.ContainsAny(s, "\"\\") && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
	}
	for _, s := range asked {
		if fit(s) && !slices.Contains(w.oauth2.Scopes, s) {
			w.oauth2.Scopes = append(w.oauth2.Scopes, s)
		}
	}
	var left []string
	for _, s := range slices.Sorted(maps.Keys(f.Scopes)) {
		if fit(s) && !slices.Contains(w.oauth2.Scopes, s) {
			left = append(left, s)
		}
	}
	if len(left) > 0 {
		w.say("oauth2", "scopes that the description has besides, for scopes = [...]: %s", strings.Join(left, " "))
	}
}
