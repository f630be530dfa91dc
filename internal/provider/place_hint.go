package provider

import (
	"net/http"
	"regexp"
	"slices"
	"strings"
)

// PlaceHint tells where a provider that refuses a request looks for its
// credential, and where it goes now, as a sentence for a person: "the provider
// asks for the header X-Api-Key; the credential goes into Authorization". It is
// empty if the answer does not tell, or tells what is done already. peek is as
// for Meaning; the request that was answered, if resp has it, shows the scheme of
// Authorization, and whether a name that the answer gives is a part of what was
// sent. Nothing of the credential is in it. named: the answer names that place or
// prefix, and none of ours, nor says that a credential was found; a challenge of
// another scheme alone is no such word.
func (p *Provider) PlaceHint(resp *http.Response, peek []byte) (hint string, named bool) {
	if !wordy(resp.StatusCode) {
		return "", false
	}
	switch v := resp.Header.Get(amazonError); {
	case strings.HasPrefix(v, "MissingAuthenticationToken"):
		return "an AWS gateway found no signature (type aws_sigv4); it answers so to a path and a method that it does not have, too", true
	case strings.HasPrefix(v, "IncompleteSignature"):
		return "the provider asks for an AWS signature (type aws_sigv4); it answers so to a path that it does not have, too", true
	}
	if bearerError(resp.Header) != OK { // it was found
		return "", false
	}
	spots := p.spots(resp.Request)
	text := bodyText{raw: peek, header: resp.Header}
	want, said, ok := wantedBy(resp.Header, &text, spots)
	if !ok || sentAs(resp.Request, want.name) {
		return "", false
	}
	hint = want.against(spots)
	return hint, hint != "" && said && !text.containsAny(presentTexts...) && !text.namesBut(want, spots)
}

// namesBut reports whether the text names a place of ours, or the scheme that we use,
// beside the field that it wants.
func (t *bodyText) namesBut(wanted spot, spots []spot) bool {
	plain := string(t.plain())
	for _, w := range wants {
		for _, m := range w.words.FindAllStringSubmatch(plain, -1) {
			s := w.spot(m)
			if other := s.in != wanted.in || !strings.EqualFold(s.name, wanted.name); other && s.against(spots) == "" {
				return true
			}
		}
	}
	return slices.ContainsFunc(spots, func(s spot) bool {
		return (s.scheme == "Bearer" || s.scheme == "Basic") && t.containsAny([]byte(strings.ToLower(s.scheme)))
	})
}

// spot is one place of a request.
type spot struct {
	in     In // header, query, cookie or body
	name   string
	scheme string // in front of a header's value; empty: none
	unsure bool   // scheme is not known
}

// schemes of Authorization that are known to carry a key, a token or a password.
var schemes = []string{"Basic", "Bearer", "Token", "ApiKey", "Digest", "OAuth"}

// knownScheme gives a scheme in the spelling that is told; empty: it is not known.
func knownScheme(s string) string {
	i := slices.IndexFunc(schemes, func(k string) bool { return strings.EqualFold(k, s) })
	if i < 0 {
		return ""
	}
	return schemes[i]
}

// basicTypes are the credential types whose own place is HTTP Basic.
var basicTypes = []string{"basic", "basic_url", "basic_api_key", "api_key_secret"}

// spots are where a credential of p goes; req may be nil.
func (p *Provider) spots(req *http.Request) []spot {
	if len(p.Places) == 0 {
		return p.ownSpots(req)
	}
	all := make([]spot, 0, len(p.Places))
	for _, place := range p.Places {
		prefix, _, _ := strings.Cut(place.Value, "{")
		s := spot{in: place.In, name: place.Name}
		switch place.In {
		case InBasic:
			s = spot{in: InHeader, name: "Authorization", scheme: "Basic"}
		case InHeader:
			s.scheme = strings.TrimSpace(prefix)
		}
		all = append(all, s)
	}
	return all
}

// ownSpots are those of a credential's type: as the request shows, or else as the
// provider's usual type has it.
func (p *Provider) ownSpots(req *http.Request) []spot {
	s := spot{in: InHeader, name: "Authorization", scheme: "Bearer"}
	switch {
	case req != nil && req.Header.Get("Authorization") == "":
		return nil
	case req != nil:
		scheme, _, _ := strings.Cut(req.Header.Get("Authorization"), " ")
		s.scheme = knownScheme(scheme)
		s.unsure = s.scheme == ""
	case slices.Contains(basicTypes, p.Type):
		s.scheme = "Basic"
	}
	return []spot{s}
}

// wantedBy reads where an answer says that the credential belongs; said: not by the
// scheme of a challenge alone.
func wantedBy(h http.Header, text *bodyText, spots []spot) (want spot, said, ok bool) {
	challenges := ParseChallenges(h.Values("WWW-Authenticate"))
	for _, c := range challenges { // as Azure API Management has it
		if in := In(c.Params["type"]); (in == InHeader || in == InQuery) && spotName.MatchString(c.Params["name"]) {
			return spot{in: in, name: c.Params["name"], unsure: true}, true, true
		}
	}
	plain := string(text.plain())
	for _, w := range wants {
		if m := w.words.FindStringSubmatch(plain); m != nil {
			return w.spot(m), true, true
		}
	}
	if text.containsAny(presentTexts...) || text.containsAny(doubts...) { // it was found: some servers challenge for Basic whatever they take
		return spot{}, false, false
	}
	want, ok = wantedScheme(challenges, spots)
	return want, false, ok
}

// wantedScheme is a challenge of another scheme than the one that is sent.
func wantedScheme(challenges []Challenge, spots []spot) (spot, bool) {
	want := spot{in: InHeader, name: "Authorization"}
	for _, c := range challenges {
		scheme := knownScheme(c.Scheme)
		if scheme == "OAuth" { // Jira names it to everybody
			continue
		}
		if scheme != "" && slices.ContainsFunc(spots, func(s spot) bool { return strings.EqualFold(s.scheme, scheme) }) {
			return spot{}, false
		}
		if want.scheme == "" {
			want.scheme = scheme
		}
	}
	return want, want.scheme != ""
}

// spotName is what a header or a query parameter may be called here: a longer
// word could be a key that a server repeats.
var spotName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]{1,39}$`)

// want is one way to say where a credential belongs.
type want struct {
	words *regexp.Regexp
	spot  func(m []string) spot
}

// Parts of the expressions: a name in quotes of any kind, and one that is a name
// without them.
const (
	quotedName = "\\\\?['\"`]([A-Za-z][A-Za-z0-9_-]{1,39})\\\\?['\"`]"
	bareName   = `\b([A-Za-z]{1,15}(?:-[A-Za-z0-9]{1,20}){1,4}|apikey|Authorization)\b`
	bareParam  = `\b([a-z]{1,15}(?:[_-][a-z]{1,15}){1,3}|apikey|key|token|auth)\b`
	query      = `(?:query|url|get)(?: string)? param(?:eter)?s?`
)

// wants, the surest first. Nobody writes it.
var wants = []want{
	{regexp.MustCompile(`request\.header\.([A-Za-z][A-Za-z0-9_-]{1,39})`), inHeader}, // Apigee
	{regexp.MustCompile(`request\.queryparam\.([A-Za-z][A-Za-z0-9_-]{1,39})`), inQuery},
	{regexp.MustCompile(`(?i)\bauthorization: (bearer|basic|token|apikey)\b`), withScheme},
	{regexp.MustCompile(`(?i)\busing (?:http )?(bearer|basic) auth`), withScheme},
	{regexp.MustCompile(`(?i)\bauthorization header must (?:start|begin) with (?:the )?\\?['"` + "`" + `]?(bearer|basic|token|apikey)\b`), withScheme},
	{regexp.MustCompile(`(?i)` + quotedName + ` (?:request |http )?header\b`), inHeader},
	{regexp.MustCompile(`(?i)\bheaders? (?:field |named )?` + quotedName), inHeader},
	{regexp.MustCompile(`(?i)` + quotedName + ` (?:as an? )?` + query), inQuery},
	{regexp.MustCompile(`(?i)\b` + query + `:? (?:named )?` + quotedName), inQuery},
	{regexp.MustCompile(`(?i)` + bareName + ` (?:request |http )?headers?\b`), inHeader},
	{regexp.MustCompile(`(?i)\bheaders?:? ` + bareName), inHeader},
	{regexp.MustCompile(`(?i)` + bareParam + ` ` + query), inQuery},
	{regexp.MustCompile(`(?i)\b` + query + `:? ` + bareParam), inQuery},
	{regexp.MustCompile(`(?i)\b(x-(?:[a-z0-9]{1,20}-){0,3}(?:key|token|auth|secret))\b`), inHeader},
}

func inHeader(m []string) spot { return spot{in: InHeader, name: m[1], unsure: true} }

func inQuery(m []string) spot { return spot{in: InQuery, name: m[1]} }

func withScheme(m []string) spot {
	return spot{in: InHeader, name: "Authorization", scheme: knownScheme(m[1])}
}

// against compares what is wanted with what is done.
func (s spot) against(spots []spot) string {
	here := make([]string, 0, len(spots))
	for _, have := range spots {
		if have.in == s.in && strings.EqualFold(have.name, s.name) {
			return s.prefixHint(have)
		}
		here = append(here, have.String())
	}
	asks := "the provider asks for " + s.asked()
	if len(here) == 0 {
		return asks
	}
	return asks + "; the credential goes into " + strings.Join(here, " and ")
}

// prefixHint is about the same field: only what stands before the value may differ.
func (s spot) prefixHint(have spot) string {
	if s.unsure || have.unsure || s.in != InHeader || strings.EqualFold(s.scheme, have.scheme) {
		return ""
	}
	asks := "the provider asks for " + s.scheme + " in " + s.name
	if have.scheme == "" {
		return asks + "; the credential goes there without a prefix"
	}
	return asks + "; the credential goes there as " + have.scheme
}

func (s spot) asked() string {
	switch {
	case s.in == InQuery:
		return "the query parameter " + s.name
	case s.scheme != "":
		return "the header " + s.name + " with " + s.scheme
	}
	return "the header " + s.name
}

// String is the spot as a place where something goes.
func (s spot) String() string {
	switch s.in {
	case InQuery:
		return "the query parameter " + s.name
	case InCookie:
		return "the cookie " + s.name
	case InBody:
		return "the body member " + s.name
	}
	return s.name
}

// minSecret is the length from which a word that was sent may be a secret.
const minSecret = 8

// sentAs reports whether a name is a part of what was sent: a server that repeats
// a key says nothing about its place.
func sentAs(req *http.Request, name string) bool {
	if req == nil || len(name) < minSecret {
		return false
	}
	for _, values := range req.Header {
		if slices.ContainsFunc(values, func(v string) bool { return strings.Contains(v, name) }) {
			return true
		}
	}
	if req.URL == nil {
		return false
	}
	for _, values := range req.URL.Query() {
		if slices.ContainsFunc(values, func(v string) bool { return strings.Contains(v, name) }) {
			return true
		}
	}
	return false
}
