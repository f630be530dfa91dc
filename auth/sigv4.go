package auth

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/sallyport/sallyport/internal/provider"
)

// maxSigners bounds the signing keys that are kept for one credential: hosts, and
// so services, are the runner's choice.
const maxSigners = 64

// sigv4 signs with an AWS Signature Version 4
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html).
//
// Of the header the fields that AWS asks for are signed: Host, Content-Type,
// Content-MD5 and X-Amz-*. The query goes out in the order that was signed.
type sigv4 struct {
	own       awsScope // of the record; empty parts: the host tells
	creds     aws.Credentials
	rewritten bool // a place fills the body: what the runner says of it does not hold
	signers   *lru.Cache[awsScope, *v4.Signer]
}

func prepareSigV4(m Material) (signer, error) {
	get := m.Credential.Field
	for _, f := range []string{"access_key_id", "secret_access_key", "session_token"} {
		if wrong := fitHeader(get(f).Reveal()); wrong != "" {
			return nil, unfit("field %s %s", f, wrong)
		}
	}
	if strings.ContainsAny(get("access_key_id").Reveal(), "/=, ") {
		return nil, unfit("field access_key_id has a character that an access key id has not")
	}
	s := &sigv4{own: awsScope{get("region").Reveal(), get("service").Reveal()}, creds: aws.Credentials{
		AccessKeyID: get("access_key_id").Reveal(), SecretAccessKey: get("secret_access_key").Reveal(), SessionToken: get("session_token").Reveal(),
	}}
	s.rewritten = slices.ContainsFunc(m.Provider.Places, func(p provider.Place) bool { return p.In == provider.InBody })
	s.signers, _ = lru.New[awsScope, *v4.Signer](maxSigners) // it refuses only a size below one
	return s, s.checkScope(m)
}

// checkScope refuses a record that would do for no host of the provider.
func (s *sigv4) checkScope(m Material) error {
	for _, f := range []struct{ name, value string }{{"region", s.own.region}, {"service", s.own.service}} {
		if f.value != "" && !awsName.MatchString(f.value) {
			return unfit("field %s has a character that no name of AWS has", f.name)
		}
	}
	var err error
	for _, host := range awsHosts(m) {
		if host == "" {
			return nil // known only when a request comes
		}
		if _, err = s.scope(host); err == nil {
			return nil
		}
	}
	return err
}

// awsHosts gives the hosts of the provider, without ports; an empty one stands
// for those that only a request tells.
func awsHosts(m Material) (hosts []string) {
	if u, err := url.Parse(expanded(m, m.Provider.BaseURL)); err == nil && u.Host != "" {
		hosts = append(hosts, u.Hostname())
	}
	for _, pattern := range m.Provider.Hosts {
		host := expanded(m, pattern)
		if strings.ContainsAny(host, "*{") {
			host = ""
		}
		if u, err := url.Parse("//" + host); err == nil {
			hosts = append(hosts, u.Hostname())
		}
	}
	return hosts
}

// expanded gives a template with the record's fields, itself if they do not do.
func expanded(m Material, template string) string {
	if s, err := provider.Expand(template, m.Credential.Text); err == nil {
		return s
	}
	return template
}

// scope of a request to host: the record's, else what the host tells.
func (s *sigv4) scope(host string) (awsScope, error) {
	w, read := s.own, awsScope{}
	if w.region == "" || w.service == "" {
		read = awsScopeOf(host)
	}
	if w.service == "" {
		w.service = read.service
	}
	if w.region == "" {
		w.region = read.region
	}
	switch {
	case w.service == "":
		return w, unfit("field service is missing, and the host %s does not tell it", host)
	case w.region == "":
		return w, unfit("field region is missing, and the host %s does not tell it", host)
	}
	return w, nil
}

// Fields of the signature. The payload's hash is the runner's too: sign looks at
// what it says first.
const (
	amzHash  = "X-Amz-Content-Sha256"
	amzDate  = "X-Amz-Date"
	amzToken = "X-Amz-Security-Token"
)

func (s *sigv4) owns() []string { return []string{"Authorization", amzDate, amzToken} }

func (s *sigv4) sign(req *http.Request, now time.Time) error {
	where, err := s.scope(req.URL.Hostname())
	if err != nil {
		return err
	}
	u := *req.URL
	if u.RawQuery, err = unsigned(u.RawQuery); err != nil {
		return err
	}
	if where.s3() {
		u.Path, u.RawPath = strictPath(u.EscapedPath())
	}
	req.URL = &u
	hash, err := s.hash(req, where)
	if err != nil {
		return err
	}
	toSign := signable(req, where)
	delete(toSign.Header, amzHash)
	setHash(req.Header, "")
	if where.s3() || where.service == "aoss" {
		toSign.Header[amzHash] = []string{hash}
		setHash(req.Header, hash)
	}
	err = s.signer(where).SignHTTP(context.Background(), s.creds, toSign, hash, where.service, where.region, now,
		func(o *v4.SignerOptions) { o.DisableURIPathEscaping = where.s3() })
	if err != nil {
		return errors.New("sigv4: a request could not be signed") // the library names no error; it may come to quote
	}
	for _, name := range s.owns() {
		if v := toSign.Header[name]; len(v) > 0 {
			req.Header[name] = v
		}
	}
	u.RawQuery, req.Host = toSign.URL.RawQuery, toSign.Host
	return s.resign(req, where, hash, now)
}

func (s *sigv4) signer(where awsScope) *v4.Signer {
	if known, ok := s.signers.Get(where); ok {
		return known
	}
	made := v4.NewSigner()
	s.signers.Add(where, made)
	return made
}

// signable gives what of req is signed.
func signable(req *http.Request, where awsScope) *http.Request {
	u := *req.URL
	if !where.s3() {
		u.Path, u.RawPath = plainPath(u.EscapedPath())
	}
	h := http.Header{}
	for name, values := range req.Header {
		if strings.HasPrefix(name, "X-Amz-") || name == "Content-Type" || name == "Content-Md5" {
			h[name] = values
		}
	}
	return &http.Request{Method: req.Method, URL: &u, Host: req.Host, Header: h}
}

// presigned are the parameters of a signature in the query, of version 4 and of
// S3's version 2.
var (
	presigned = []string{
		"X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires", "X-Amz-SignedHeaders", "X-Amz-Signature", amzToken,
	}
	presigned2 = []string{"AWSAccessKeyId", "Signature", "Expires"}
)

// unsigned gives a query without a signature of the runner's own.
func unsigned(raw string) (string, error) {
	for _, name := range presigned {
		raw = dropKey(raw, name)
	}
	q, err := url.ParseQuery(raw)
	if err != nil {
		return "", refuse("the query is not validly encoded, so it cannot be signed")
	}
	if q.Has(presigned2[0]) && q.Has(presigned2[1]) {
		for _, name := range presigned2 {
			raw = dropKey(raw, name)
		}
	}
	return raw, nil
}

// strictPath encodes a path as S3 does before it compares: every byte but the
// unreserved ones and the slash. An encoded slash stays one.
func strictPath(escaped string) (plain, raw string) {
	var b strings.Builder
	for i := 0; i < len(escaped); i++ {
		c := escaped[i]
		if c == '%' && i+2 < len(escaped) {
			if v, err := url.PathUnescape(escaped[i : i+3]); err == nil && len(v) == 1 {
				c, i = v[0], i+2
				if c == '/' {
					b.WriteString("%2F")
					continue
				}
			}
		}
		if c == '/' {
			b.WriteByte(c)
			continue
		}
		b.WriteString(percent(string([]byte{c})))
	}
	return unescapedPath(b.String()), b.String()
}

// plainPath gives a path without dot segments and doubled slashes, as services
// but S3 sign it.
func plainPath(escaped string) (plain, raw string) {
	raw = escaped
	if strings.Contains(raw, "//") || strings.Contains(raw, "/.") {
		raw = path.Clean(raw)
		for _, end := range []string{"/", "/.", "/.."} {
			if strings.HasSuffix(escaped, end) && raw != "/" {
				raw += "/"
				break
			}
		}
	}
	return unescapedPath(raw), raw
}

func unescapedPath(raw string) string {
	if p, err := url.PathUnescape(raw); err == nil {
		return p
	}
	return raw
}
