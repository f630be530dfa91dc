package auth

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"regexp"
	"strings"

	"github.com/go-jose/go-jose/v4"

	"github.com/sallyport/sallyport/internal/secret"
)

// Bounds of RSA keys, in bits: RFC 7518 section 3.3 wants 2048; a signature of a
// very long one takes seconds.
const (
	leastRSA = 2048
	mostRSA  = 8192
)

// signingKey is a private key, and the algorithm that it signs by (RFC 7518
// section 3.1).
type signingKey struct {
	id  string // that came with it; empty: none
	alg jose.SignatureAlgorithm
	key any
}

// readKey reads a private key: PEM of PKCS #8, PKCS #1 or SEC 1, also with its
// newlines as \n or spaces; the key file of a Google service account; a JSON Web
// Key. wrong tells what is wrong and quotes nothing; empty: nothing is.
func readKey(v secret.Value) (k signingKey, wrong string) {
	text := strings.TrimSpace(v.Reveal())
	if strings.HasPrefix(text, "{") {
		return readJSONKey(text)
	}
	return readPEM(text)
}

func readJSONKey(text string) (signingKey, string) {
	var file struct {
		Key   string `json:"private_key"`
		KeyID string `json:"private_key_id"`
		Type  string `json:"kty"`
	}
	if json.Unmarshal([]byte(text), &file) != nil {
		return signingKey{}, "begins like JSON and is none"
	}
	switch {
	case file.Key != "":
		k, wrong := readPEM(file.Key)
		k.id = file.KeyID
		return k, wrong
	case file.Type != "":
		return readJWK(text)
	}
	return signingKey{}, "is JSON, but neither a service account's key file nor a JSON Web Key"
}

func readJWK(text string) (signingKey, string) {
	var j jose.JSONWebKey
	if j.UnmarshalJSON([]byte(text)) != nil || !j.Valid() || j.IsPublic() {
		return signingKey{}, "is a JSON Web Key, but no private one"
	}
	k, wrong := signing(j.Key)
	k.id = j.KeyID
	return k, wrong
}

// pemLine is a line that frames a key. Whoever keeps a key in an environment
// variable or a form may have lost the newlines around it.
var pemLine = regexp.MustCompile(`\s*(-----(?:BEGIN|END) [A-Z0-9 ]+-----)\s*`)

// unbroken gives PEM with the newlines that frame it.
func unbroken(text string) []byte {
	text = strings.NewReplacer(`\r`, "", `\n`, "\n").Replace(text)
	return []byte(pemLine.ReplaceAllString(text, "\n$1\n"))
}

func readPEM(text string) (signingKey, string) {
	for rest := unbroken(text); ; {
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil {
			return signingKey{}, "holds no private key in PEM"
		}
		switch b.Type {
		case "EC PARAMETERS", "CERTIFICATE": // may stand beside it
			continue
		}
		return readBlock(b)
	}
}

func readBlock(b *pem.Block) (signingKey, string) {
	var key any
	var err error
	switch {
	case b.Type == "ENCRYPTED PRIVATE KEY", b.Headers["DEK-Info"] != "":
		return signingKey{}, "is encrypted with a passphrase; store it without one"
	case b.Type == "OPENSSH PRIVATE KEY":
		return signingKey{}, "is in OpenSSH's own form; convert it with ssh-keygen -p -m PKCS8"
	case b.Type == "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(b.Bytes)
	case b.Type == "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(b.Bytes)
	case b.Type == "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(b.Bytes)
	default:
		return signingKey{}, "holds something else than a private key"
	}
	if err != nil { // its text may quote the key's numbers
		return signingKey{}, "is PEM, but the key in it is broken"
	}
	return signing(key)
}

// signing finds the algorithm of a key.
func signing(key any) (signingKey, string) {
	switch key := key.(type) {
	case *rsa.PrivateKey:
		if n := key.N.BitLen(); n < leastRSA || n > mostRSA {
			return signingKey{}, "is an RSA key of fewer than 2048 or more than 8192 bits"
		}
		return signingKey{alg: jose.RS256, key: key}, ""
	case *ecdsa.PrivateKey:
		alg, ok := curves[key.Params().Name]
		if !ok {
			return signingKey{}, "lies on a curve that JSON Web Signatures do not use"
		}
		return signingKey{alg: alg, key: key}, ""
	case ed25519.PrivateKey:
		return signingKey{alg: jose.EdDSA, key: key}, ""
	}
	return signingKey{}, "is of a kind that cannot sign"
}

var curves = map[string]jose.SignatureAlgorithm{"P-256": jose.ES256, "P-384": jose.ES384, "P-521": jose.ES512}
