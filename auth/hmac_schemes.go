package auth

import (
	"crypto/md5"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/secret"
)

// keyed is what the schemes share: a key, its name, and the Authorization field.
type keyed struct {
	id  string
	key []byte
}

func (keyed) owns() []string                   { return []string{"Authorization"} }
func (keyed) needs(req *http.Request) BodyNeed { return BodyAsItIs }

// hawk is the header of https://github.com/mozilla/hawk/blob/main/API.md, with
// SHA-256. A payload that is small is signed along.
type hawk struct{ keyed }

func prepareHawk(id string, key secret.Value) (signer, string) {
	return hawk{keyed{id, []byte(key.Reveal())}}, ""
}

func (hawk) needs(req *http.Request) BodyNeed {
	if hasBody(req) {
		return BodyIfSmall
	}
	return BodyAsItIs
}

func (s hawk) sign(req *http.Request, now time.Time) error {
	return s.signAt(req, strconv.FormatInt(now.Unix(), 10), rand.Text()[:16], "")
}

func (s hawk) signAt(req *http.Request, ts, nonce, ext string) error {
	host, port := strings.ToLower(req.URL.Hostname()), req.URL.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[req.URL.Scheme]
	}
	payload, field := "", `Hawk id="`+s.id+`", ts="`+ts+`", nonce="`+nonce+`"`
	if b, ok := req.Body.(heldBody); ok {
		sum := sha256.Sum256([]byte("hawk.1.payload\n" + mediaType(req) + "\n" + string(b.all) + "\n"))
		payload = base64.StdEncoding.EncodeToString(sum[:])
		field += `, hash="` + payload + `"`
	}
	if ext != "" {
		field += `, ext="` + ext + `"`
	}
	text := strings.Join([]string{"hawk.1.header", ts, nonce, strings.ToUpper(req.Method), req.URL.RequestURI(), host, port, payload, ext, ""}, "\n")
	req.Header["Authorization"] = []string{field + `, mac="` + mac(sha256.New, s.key, text) + `"`}
	return nil
}

// sinch is the signed request of an application
// (https://developers.sinch.com/docs/voice/api-reference/authentication/signed-request).
type sinch struct{ keyed }

func prepareSinch(id string, key secret.Value) (signer, string) {
	k, wrong := base64Key(key, base64.StdEncoding)
	return sinch{keyed{id, k}}, wrong
}

func (sinch) owns() []string { return []string{"Authorization", "X-Timestamp"} }

func (sinch) needs(req *http.Request) BodyNeed {
	if hasBody(req) {
		return BodyInMemory
	}
	return BodyAsItIs
}

func (s sinch) sign(req *http.Request, now time.Time) error {
	body, err := inMemory(req)
	if err != nil {
		return err
	}
	digest, at := "", now.UTC().Format(time.RFC3339)
	if len(body) > 0 {
		sum := md5.Sum(body)
		digest = base64.StdEncoding.EncodeToString(sum[:])
	}
	text := strings.Join([]string{req.Method, digest, req.Header.Get("Content-Type"), "x-timestamp:" + at, req.URL.EscapedPath()}, "\n")
	req.Header["X-Timestamp"] = []string{at}
	req.Header["Authorization"] = []string{"Application " + s.id + ":" + mac(sha256.New, s.key, text)}
	return nil
}

// worldline is v1HMAC of Worldline's (GlobalCollect, Ingenico, Direct) server API
// (https://docs.direct.worldline-solutions.com/en/integration/api-developer-guide/authentication).
type worldline struct{ keyed }

func prepareWorldline(id string, key secret.Value) (signer, string) {
	return worldline{keyed{id, []byte(key.Reveal())}}, ""
}

func (worldline) owns() []string { return []string{"Authorization", "Date"} }

func (s worldline) sign(req *http.Request, now time.Time) error {
	resource := req.URL.EscapedPath()
	if req.URL.RawQuery != "" {
		query, err := url.PathUnescape(req.URL.RawQuery) // signed as it reads, not as it is written
		if err != nil {
			return refuse("the query is not validly percent-encoded, so it cannot be signed")
		}
		resource += "?" + query
	}
	date := httpDate(now)
	text := req.Method + "\n" + req.Header.Get("Content-Type") + "\n" + date + "\n" + named(req.Header, "x-gcs-") + resource + "\n"
	req.Header["Date"] = []string{date}
	req.Header["Authorization"] = []string{"GCS v1HMAC:" + s.id + ":" + mac(sha256.New, s.key, text)}
	return nil
}

// googleMaps signs URLs of the Google Maps Platform
// (https://developers.google.com/maps/documentation/maps-static/digital-signature).
// The API key or client id goes into the query by a place of the provider.
type googleMaps struct{ keyed }

func prepareMaps(id string, key secret.Value) (signer, string) {
	k, wrong := base64Key(key, base64.URLEncoding)
	return googleMaps{keyed{id, k}}, wrong
}

func (googleMaps) owns() []string { return nil }

func (s googleMaps) sign(req *http.Request, _ time.Time) error {
	u := *req.URL
	u.RawQuery = dropKey(u.RawQuery, "signature")
	u.RawQuery = appendPair(u.RawQuery, "signature="+macIn(base64.URLEncoding, sha1.New, s.key, u.RequestURI()))
	req.URL = &u
	return nil
}
