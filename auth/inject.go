package auth

import (
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/sallyport/sallyport/internal/provider"
	"github.com/sallyport/sallyport/internal/secret"
)

// Injector puts a credential on a request. It is immutable and used by many
// requests at once.
type Injector struct {
	Minted, Expiry time.Time        // zero Expiry: it does not expire
	Ends           time.Time        // of what nothing renews, a certificate or a token that says so itself: when a person must act; zero: not known, or it does not end
	Scope          []string         // that the token endpoint gave, or as NAME:LEVEL the permissions of an installation; nil: not told
	Upstream       *url.URL         // of credentials with a url, without a trailing slash; nil: the provider's
	Certificate    *tls.Certificate // of mtls; its connections are pooled apart

	owned     []string // canonical names of the header fields it replaces
	filled    []string // what is filled, to find two places that fill the same
	constants []constant
	set       []func(*http.Request) error
	body      bool
	wants     func(*http.Request) BodyNeed // of a signature; nil: nothing
	cookies   bool
	stored    bool           // its token was in the record: nobody was asked for it
	token     secret.Value   // the access token that it carries; empty: it carries none
	keys      []secret.Value // that a record of a static kind gives it
	early     float64        // by how much of the margin it is renewed before that: up to a tenth, or later
	redact    redaction
}

// constant is a field of the provider's, set where the runner sent none.
type constant struct {
	name   string
	values []string
}

// newInjector compiles the places of a record once, so that a request only pays
// for setting what is ready.
func newInjector(k Kind, m Material, get getField) (*Injector, error) {
	i := &Injector{Minted: m.now()}
	var err error
	if i.Upstream, err = k.upstream(get); err != nil {
		return nil, err
	}
	places, err := k.places(m.Provider, get)
	if err != nil {
		return nil, err
	}
	for _, p := range places {
		if err := i.add(p, get); err != nil {
			return nil, err
		}
	}
	for _, h := range m.Provider.Headers {
		i.constants = append(i.constants, constant{http.CanonicalHeaderKey(h.Name), []string{h.Value}})
	}
	return i, nil
}

// Inject puts the credential on req. It changes req.Header in place and replaces
// req.URL and the body where it must: req is a copy of the runner's request that
// shares no header map with it. What the runner sent in the places that the
// credential owns is removed first, in every spelling. Errors are *fault.Fault:
// of places in the body and of signatures, invalid_request; of a record that does
// not do for this request, field_missing; of a certificate without TLS to show it
// in, cleartext_refused.
func (i *Injector) Inject(req *http.Request) error {
	if req.Header == nil {
		req.Header = http.Header{}
	}
	for name := range req.Header {
		if i.replaces(name) {
			delete(req.Header, name)
		}
	}
	for _, c := range i.constants {
		if v := req.Header[c.name]; len(v) == 0 || len(v) == 1 && v[0] == "" {
			req.Header[c.name] = c.values
		}
	}
	for _, set := range i.set {
		if err := set(req); err != nil {
			return err
		}
	}
	return nil
}

// Owns reports whether a header field, in any spelling, is one that the injector sets.
func (i *Injector) Owns(header string) bool {
	return i.replaces(header) || i.cookies && sameField(header, "Cookie")
}

// BodyPlace reports whether Inject puts something into the request's body.
func (i *Injector) BodyPlace() bool { return i.body }

// BodyNeed is what Inject needs of a request's body.
type BodyNeed int

// The needs.
const (
	BodyAsItIs   BodyNeed = iota // nothing
	BodyIfSmall                  // HoldBody, if it is small; one that is large may stream
	BodyInMemory                 // HoldBody
)

// BodyNeed tells what Inject needs of the body of req, whose URL and header are
// those that it will have there.
func (i *Injector) BodyNeed(req *http.Request) BodyNeed {
	switch {
	case i.body:
		return BodyInMemory
	case i.wants == nil:
		return BodyAsItIs
	}
	return i.wants(req)
}

// RedactURL gives s, a Location or the like, without the secret that Inject puts
// into the query; unchanged where it puts none.
func (i *Injector) RedactURL(s string) string { return i.redact.apply(s) }

// Begins reports whether the token, or a key or password of the record, begins so:
// providers tell the kinds of their keys by prefixes.
func (i *Injector) Begins(prefix string) bool {
	return i.token.HasPrefix(prefix) || slices.ContainsFunc(i.keys, func(v secret.Value) bool { return v.HasPrefix(prefix) })
}

func (i *Injector) replaces(header string) bool {
	for _, o := range i.owned {
		if sameField(header, o) {
			return true
		}
	}
	return false
}

// sameField compares field names as servers do that turn them into variables:
// without case, a dash like an underscore.
func sameField(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if fold(a[i]) != fold(b[i]) {
			return false
		}
	}
	return true
}

func fold(c byte) byte {
	switch {
	case 'A' <= c && c <= 'Z':
		return c + 'a' - 'A'
	case c == '_':
		return '-'
	}
	return c
}

// add compiles one place.
func (i *Injector) add(p provider.Place, get getField) error {
	if err := i.claim(p); err != nil {
		return err
	}
	switch p.In {
	case provider.InHeader:
		return i.addHeader(p, get)
	case provider.InBasic:
		return i.addBasic(p, get)
	case provider.InQuery:
		return i.addQuery(p, get)
	case provider.InCookie:
		return i.addCookie(p, get)
	case provider.InBody:
		return i.addBody(p, get)
	}
	return unfit("place: %q is not a part of a request; use header, query, cookie, body or basic", p.In)
}

// claim refuses two places that would fill the same thing.
func (i *Injector) claim(p provider.Place) error {
	what := part(p)
	if slices.Contains(i.filled, what) {
		return unfit("two places fill the %s", what)
	}
	i.filled = append(i.filled, what)
	return nil
}

// part names what a place fills, as servers see it.
func part(p provider.Place) string {
	if p.In == provider.InBasic {
		return "header authorization"
	}
	return string(p.In) + " " + strings.ReplaceAll(strings.ToLower(p.Name), "_", "-")
}

func (i *Injector) addHeader(p provider.Place, get getField) error {
	if !httpguts.ValidHeaderFieldName(p.Name) || reserved(p.Name) {
		return unfit("place: %q is not a header field that a credential can use", p.Name)
	}
	v, err := fill(p.Value, get, fitHeader)
	if err != nil {
		return err
	}
	if wrong := fitHeader(v); wrong != "" {
		return unfit("place: the value of header %s %s", p.Name, wrong)
	}
	i.setHeader(p.Name, v)
	return nil
}

func (i *Injector) addBasic(p provider.Place, get getField) error {
	user, err := fill(p.Username, get, fitUser)
	if err != nil {
		return err
	}
	pass, err := fill(p.Password, get, fitText)
	if err != nil {
		return err
	}
	i.setHeader("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(user+":"+pass)))
	return nil
}

// setHeader shares one value list among all requests: its capacity is its
// length, so that nobody can append to it.
func (i *Injector) setHeader(name, value string) {
	name = http.CanonicalHeaderKey(name)
	values := []string{value}
	i.owned = append(i.owned, name)
	i.set = append(i.set, func(req *http.Request) error {
		req.Header[name] = values
		return nil
	})
}

// reserved fields frame or route the message; no credential lives there.
func reserved(name string) bool {
	n := strings.ToLower(name)
	return strings.HasPrefix(n, "proxy-") || strings.HasPrefix(n, "sallyport-") || slices.Contains([]string{
		"host", "connection", "content-length", "expect", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade",
	}, n)
}

// upstream reads the url of kinds that have one.
func (k Kind) upstream(get getField) (*url.URL, error) {
	if !k.has("url") || get("url").Empty() {
		return nil, nil
	}
	u, err := parseURL(get("url").Reveal())
	if err != nil {
		return nil, unfit("field url %v", err)
	}
	return u, nil
}

// parseURL reads an absolute http or https URL without userinfo, query and
// fragment. A trailing slash is dropped. Errors quote nothing.
func parseURL(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	switch {
	case err != nil, fitText(s) != "", strings.Contains(s, " "):
		return nil, fmt.Errorf("is not a URL")
	case u.Scheme != "http" && u.Scheme != "https", u.Host == "", u.Hostname() == "":
		return nil, fmt.Errorf("must be an absolute http or https URL")
	case u.User != nil:
		return nil, fmt.Errorf("must not hold a user name or password")
	case u.RawQuery != "", u.ForceQuery, strings.Contains(s, "#"):
		return nil, fmt.Errorf("must have no query and no fragment")
	}
	u.Path, u.RawPath = strings.TrimRight(u.Path, "/"), strings.TrimRight(u.RawPath, "/")
	return u, nil
}
