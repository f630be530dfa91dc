package auth

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1"
	"encoding/base64"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// oauth1 signs by HMAC-SHA1 (RFC 5849 section 3.4.2), with the protocol's
// parameters in the Authorization field (section 3.5.1).
type oauth1 struct {
	consumer, token string // percent-encoded
	key             []byte
}

func prepareOAuth1(m Material) (signer, error) {
	get := m.Credential.Field
	for _, f := range []string{"consumer_key", "consumer_secret", "token", "token_secret"} {
		if wrong := fitText(get(f).Reveal()); wrong != "" {
			return nil, unfit("field %s %s", f, wrong)
		}
	}
	s := oauth1{consumer: percent(get("consumer_key").Reveal()), token: percent(get("token").Reveal())}
	s.key = []byte(percent(get("consumer_secret").Reveal()) + "&" + percent(get("token_secret").Reveal()))
	if len(s.consumer)+len(s.token) > maxHeader/2 {
		return nil, unfit("fields consumer_key and token are too long for a header field")
	}
	return s, nil
}

// percent encodes as RFC 5849 section 3.6 wants it: all but the unreserved
// characters, which url.QueryEscape does but for the space.
func percent(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }

func (s oauth1) owns() []string { return []string{"Authorization"} }

// A form's parameters are signed (section 3.4.1.3.1), other bodies are not.
func (s oauth1) needs(req *http.Request) BodyNeed {
	if hasBody(req) && isForm(req) {
		return BodyInMemory
	}
	return BodyAsItIs
}

func (s oauth1) sign(req *http.Request, now time.Time) error {
	return s.signAt(req, strconv.FormatInt(now.Unix(), 10), rand.Text())
}

// oauth1Params are the protocol's parameters. A client that signs by itself may
// have put its own into the query or the form, where they would stand beside ours.
var oauth1Params = []string{
	"oauth_consumer_key", "oauth_nonce", "oauth_signature", "oauth_signature_method", "oauth_timestamp", "oauth_token", "oauth_version",
}

func (s oauth1) signAt(req *http.Request, timestamp, nonce string) error {
	u := *req.URL
	u.RawQuery = withoutOAuth1(u.RawQuery)
	req.URL = &u
	form, err := s.form(req)
	if err != nil {
		return err
	}
	ours := []string{
		"oauth_consumer_key=" + s.consumer, "oauth_nonce=" + percent(nonce), "oauth_signature_method=HMAC-SHA1",
		"oauth_timestamp=" + timestamp, "oauth_token=" + s.token, "oauth_version=1.0",
	}
	signature, err := s.signature(req.Method, &u, ours, form)
	if err != nil {
		return err
	}
	req.Header["Authorization"] = []string{"OAuth " + quotedPairs(append(ours, "oauth_signature="+percent(signature)))}
	return nil
}

// signature over the base string (section 3.4.1); ours are encoded.
func (s oauth1) signature(method string, u *url.URL, ours []string, form string) (string, error) {
	params, err := normalized(ours, u.RawQuery, form)
	if err != nil {
		return "", err
	}
	mac := hmac.New(sha1.New, s.key)
	mac.Write([]byte(strings.ToUpper(method) + "&" + percent(baseURI(u)) + "&" + percent(params)))
	return base64.StdEncoding.EncodeToString(mac.Sum(nil)), nil
}

// form gives the body of a form, without a client's own parameters.
func (s oauth1) form(req *http.Request) (string, error) {
	if s.needs(req) == BodyAsItIs {
		return "", nil
	}
	if e := req.Header.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
		return "", refuse("the signature covers the form, which must not be compressed")
	}
	b, err := inMemory(req)
	if err != nil {
		return "", err
	}
	form := withoutOAuth1(string(b))
	if len(form) != len(b) {
		HoldBody(req, []byte(form))
	}
	return form, nil
}

func withoutOAuth1(form string) string {
	if !strings.Contains(form, "oauth") && !strings.Contains(form, "%") {
		return form
	}
	for _, name := range oauth1Params {
		form = dropKey(form, name)
	}
	return form
}

// normalized gives all parameters in order (section 3.4.1.3.2). ours are encoded.
func normalized(ours []string, forms ...string) (string, error) {
	pairs := slices.Clone(ours)
	for _, form := range forms {
		for pair := range strings.SplitSeq(form, "&") {
			if pair == "" {
				continue
			}
			name, value, _ := strings.Cut(pair, "=")
			name, badName := url.QueryUnescape(name)
			value, badValue := url.QueryUnescape(value)
			if badName != nil || badValue != nil {
				return "", refuse("a parameter of the query or the form is not validly percent-encoded, so it cannot be signed")
			}
			pairs = append(pairs, percent(name)+"="+percent(value))
		}
	}
	slices.SortFunc(pairs, func(a, b string) int { // by name, then by value: "=" is no character of either
		an, av, _ := strings.Cut(a, "=")
		bn, bv, _ := strings.Cut(b, "=")
		if c := strings.Compare(an, bn); c != 0 {
			return c
		}
		return strings.Compare(av, bv)
	})
	return strings.Join(pairs, "&"), nil
}

// baseURI is the URL that is signed (section 3.4.1.2): without its query, and
// without the port that its scheme has anyway.
func baseURI(u *url.URL) string {
	host, path := strings.ToLower(u.Host), u.EscapedPath()
	switch u.Scheme {
	case "http":
		host = strings.TrimSuffix(host, ":80")
	case "https":
		host = strings.TrimSuffix(host, ":443")
	}
	if path == "" {
		path = "/"
	}
	return u.Scheme + "://" + host + path
}

// quotedPairs gives name=value pairs as the parameters of a header field.
func quotedPairs(pairs []string) string {
	var b strings.Builder
	for i, pair := range pairs {
		if i > 0 {
			b.WriteString(", ")
		}
		name, value, _ := strings.Cut(pair, "=")
		b.WriteString(name + `="` + value + `"`)
	}
	return b.String()
}
