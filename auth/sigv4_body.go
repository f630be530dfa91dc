package auth

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"regexp"
	"strings"
	"time"

	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// What stands for the hash of a payload.
const (
	emptyPayload    = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" // of no byte
	unsignedPayload = "UNSIGNED-PAYLOAD"
	unsignedChunks  = "STREAMING-UNSIGNED-PAYLOAD-TRAILER" // aws-chunked, with a checksum behind it
	signedChunks    = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD" // aws-chunked, each chunk signed
)

var sha256Hex = regexp.MustCompile(`^[0-9a-f]{64}$`)

// saidHash is what the runner says of the payload; empty: nothing.
func saidHash(h http.Header) string {
	for name, v := range h {
		if sameField(name, amzHash) && len(v) == 1 {
			return v[0]
		}
	}
	return ""
}

// setHash sets the field; empty removes it, in every spelling.
func setHash(h http.Header, hash string) {
	for name := range h {
		if sameField(name, amzHash) {
			delete(h, name)
		}
	}
	if hash != "" {
		h[amzHash] = []string{hash}
	}
}

// asClaimed reports whether the payload's hash is what the runner says, so that
// its body need not be read. S3 compares it with what arrives.
func (s *sigv4) asClaimed(req *http.Request, where awsScope) bool {
	if s.rewritten || !where.s3() {
		return false
	}
	switch c := saidHash(req.Header); c {
	case unsignedPayload:
		return req.URL.Scheme == "https"
	case unsignedChunks, signedChunks:
		return true
	default:
		return sha256Hex.MatchString(c)
	}
}

// needs implements signer.
func (s *sigv4) needs(req *http.Request) BodyNeed {
	where, err := s.scope(req.URL.Hostname())
	switch {
	case err != nil, !hasBody(req), s.asClaimed(req, where), streams(req):
		return BodyAsItIs // or sign will tell
	case where.s3() && req.URL.Scheme == "https":
		return BodyIfSmall
	}
	return BodyInMemory
}

// streams: the body is in the chunks of a signature that could not be made anew,
// or that the service does not know.
func streams(req *http.Request) bool { return strings.HasPrefix(saidHash(req.Header), "STREAMING-") }

// hash gives what is signed for the payload.
func (s *sigv4) hash(req *http.Request, where awsScope) (string, error) {
	_, held := req.Body.(heldBody)
	switch {
	case !hasBody(req):
		return emptyPayload, nil
	case s.asClaimed(req, where):
		return saidHash(req.Header), nil
	case streams(req):
		return "", refuse("the body is signed in a streaming way that cannot be signed anew; have the client send " + unsignedPayload +
			", " + unsignedChunks + " or " + signedChunks)
	case !held && where.s3() && req.URL.Scheme == "https":
		return unsignedPayload, nil
	}
	b, err := inMemory(req)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:]), nil
}

// resign signs the chunks of a body anew: each signature covers the one before,
// the first that of the request.
func (s *sigv4) resign(req *http.Request, where awsScope, hash string, now time.Time) error {
	if hash != signedChunks {
		return nil
	}
	_, signature, _ := strings.Cut(req.Header.Get("Authorization"), "Signature=")
	seed, err := hex.DecodeString(signature)
	if err != nil {
		return refuse("the request could not be signed")
	}
	anew := func(body io.ReadCloser) io.ReadCloser {
		return newChunkSigner(body, v4.NewStreamSigner(s.creds, where.service, where.region, seed), now)
	}
	req.Body = anew(req.Body)
	if again := req.GetBody; again != nil {
		req.GetBody = func() (io.ReadCloser, error) {
			body, err := again()
			if err != nil {
				return nil, err
			}
			return anew(body), nil
		}
	}
	return nil
}
