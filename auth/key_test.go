package auth

import (
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"strings"
	"sync"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/sallyport/sallyport/internal/secret"
)

// testKeys are one of each kind; making them takes a while.
var testKeys = sync.OnceValue(func() map[string]crypto.Signer {
	m := map[string]crypto.Signer{}
	m["RSA"], _ = rsa.GenerateKey(rand.Reader, 2048)
	m["P-256"], _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	m["other"], _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	m["P-384"], _ = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	m["P-521"], _ = ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	m["P-224"], _ = ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	_, m["Ed25519"], _ = ed25519.GenerateKey(rand.Reader)
	return m
})

func pemOf(typ string, der []byte, err error) string {
	if err != nil {
		panic(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: typ, Bytes: der}))
}

// pkcs8 gives a key of testKeys as PEM.
func pkcs8(name string) string {
	der, err := x509.MarshalPKCS8PrivateKey(testKeys()[name])
	return pemOf("PRIVATE KEY", der, err)
}

func pkcs1() string {
	return pemOf("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(testKeys()["RSA"].(*rsa.PrivateKey)), nil)
}

func sec1(name string) string {
	der, err := x509.MarshalECPrivateKey(testKeys()[name].(*ecdsa.PrivateKey))
	return pemOf("EC PRIVATE KEY", der, err)
}

func asJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

func TestReadKey(t *testing.T) {
	escaped := func(s string) string { return strings.ReplaceAll(s, "\n", `\n`) }
	jwk := func(name string) string { return asJSON(jose.JSONWebKey{Key: testKeys()[name], KeyID: "k-1"}) }
	certificate := pemOf("CERTIFICATE", []byte("x"), nil)
	for _, tc := range []struct {
		name, text, key string
		alg             jose.SignatureAlgorithm
		id              string
	}{
		{"PKCS #8 RSA", pkcs8("RSA"), "RSA", jose.RS256, ""},
		{"PKCS #1", pkcs1(), "RSA", jose.RS256, ""},
		{"PKCS #8 EC", pkcs8("P-256"), "P-256", jose.ES256, ""},
		{"SEC 1", sec1("P-256"), "P-256", jose.ES256, ""},
		{"P-384", sec1("P-384"), "P-384", jose.ES384, ""},
		{"P-521", sec1("P-521"), "P-521", jose.ES512, ""},
		{"Ed25519", pkcs8("Ed25519"), "Ed25519", jose.EdDSA, ""},
		{"newlines as they stand in JSON", escaped(pkcs8("RSA")), "RSA", jose.RS256, ""},
		{"newlines of Windows", strings.ReplaceAll(pkcs8("RSA"), "\n", "\r\n"), "RSA", jose.RS256, ""},
		{"newlines of Windows as in JSON", strings.ReplaceAll(pkcs8("P-256"), "\n", `\r\n`), "P-256", jose.ES256, ""},
		{"newlines that became spaces", strings.ReplaceAll(pkcs8("RSA"), "\n", " "), "RSA", jose.RS256, ""},
		{"newlines that are gone", strings.ReplaceAll(pkcs1(), "\n", ""), "RSA", jose.RS256, ""},
		{"white space around", "\n  " + sec1("P-256") + "\t\n", "P-256", jose.ES256, ""},
		{"as openssl ecparam writes it", pemOf("EC PARAMETERS", []byte{6, 8}, nil) + sec1("P-256"), "P-256", jose.ES256, ""},
		{"behind its certificate", certificate + pkcs8("RSA"), "RSA", jose.RS256, ""},
		{"a Google service account's file", asJSON(map[string]string{"type": "service_account", "private_key": pkcs8("RSA"), "private_key_id": "g-1"}), "RSA", jose.RS256, "g-1"},
		{"a JSON Web Key, RSA", jwk("RSA"), "RSA", jose.RS256, "k-1"},
		{"a JSON Web Key, EC", jwk("P-256"), "P-256", jose.ES256, "k-1"},
		{"a JSON Web Key, OKP", jwk("Ed25519"), "Ed25519", jose.EdDSA, "k-1"},
	} {
		k, wrong := readKey(secret.New(tc.text))
		if wrong != "" || k.alg != tc.alg || k.id != tc.id {
			t.Errorf("%s: %q, alg %s, id %q; want %s, %q", tc.name, wrong, k.alg, k.id, tc.alg, tc.id)
			continue
		}
		verified(t, k, testKeys()[tc.key].Public())
	}
}

// verified signs with a key and verifies by its public part.
func verified(t *testing.T, k signingKey, public crypto.PublicKey) {
	t.Helper()
	token, err := k.sign(map[string]any{"a": "b"})
	if err != nil {
		t.Fatal(err)
	}
	s, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{k.alg})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Verify(public); err != nil {
		t.Errorf("%s: its signature does not verify: %v", k.alg, err)
	}
}

func TestReadKeyRefuses(t *testing.T) {
	small, _ := rsa.GenerateKey(rand.Reader, 1024)
	exchange, _ := ecdh.X25519().GenerateKey(rand.Reader)
	x25519, err := x509.MarshalPKCS8PrivateKey(exchange)
	public, publicErr := x509.MarshalPKIXPublicKey(testKeys()["RSA"].Public())
	legacy := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Headers: map[string]string{"Proc-Type": "4,ENCRYPTED", "DEK-Info": "AES-128-CBC,00"}, Bytes: []byte("c4n4ry")})
	for _, tc := range []struct{ name, text, says string }{
		{"nothing", "", "holds no private key in PEM"},
		{"any text", "c4n4ry", "holds no private key in PEM"},
		{"a broken frame", "-----BEGIN PRIVATE KEY-----\nc4n4ry", "holds no private key in PEM"},
		{"no base64", "-----BEGIN PRIVATE KEY-----\nc4n4ry!\n-----END PRIVATE KEY-----", "holds no private key in PEM"},
		{"no key", pemOf("PRIVATE KEY", []byte("c4n4ry"), nil), "the key in it is broken"},
		{"a PKCS #1 key that says PKCS #8", strings.ReplaceAll(pkcs1(), "RSA PRIVATE", "PRIVATE"), "the key in it is broken"},
		{"half a key", pemOf("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(testKeys()["RSA"].(*rsa.PrivateKey))[:600], nil), "the key in it is broken"},
		{"a public key", pemOf("PUBLIC KEY", public, publicErr), "something else than a private key"},
		{"a certificate alone", pemOf("CERTIFICATE", []byte("c4n4ry"), nil), "holds no private key in PEM"},
		{"encrypted", pemOf("ENCRYPTED PRIVATE KEY", []byte("c4n4ry"), nil), "passphrase"},
		{"encrypted as of old", string(legacy), "passphrase"},
		{"OpenSSH", pemOf("OPENSSH PRIVATE KEY", []byte("c4n4ry"), nil), "ssh-keygen"},
		{"too short", pemOf("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(small), nil), "fewer than 2048"},
		{"a curve of no algorithm", sec1("P-224"), "curve"},
		{"a key for agreements", pemOf("PRIVATE KEY", x25519, err), "cannot sign"},
		{"broken JSON", `{"private_key":"c4n4ry"`, "begins like JSON"},
		{"other JSON", `{"key":"c4n4ry"}`, "neither a service account's"},
		{"a service account without a key", `{"private_key":"c4n4ry"}`, "holds no private key"},
		{"a public JSON Web Key", asJSON(jose.JSONWebKey{Key: testKeys()["RSA"].Public()}), "no private one"},
		{"a shared JSON Web Key", `{"kty":"oct","k":"YzRuNHJ5"}`, "no private one"},
		{"a broken JSON Web Key", `{"kty":"RSA","n":"c4n4ry"}`, "no private one"},
	} {
		_, wrong := readKey(secret.New(tc.text))
		if !strings.Contains(wrong, tc.says) || strings.Contains(wrong, "c4n4ry") {
			t.Errorf("%s: %q, want %q", tc.name, wrong, tc.says)
		}
	}
}

// Whatever is stored as a key: it is refused in our own words, or it signs.
func FuzzReadKey(f *testing.F) {
	for _, text := range []string{
		pkcs8("P-256"), sec1("P-384"), pkcs8("Ed25519"), strings.ReplaceAll(pkcs8("Ed25519"), "\n", `\n`), pkcs1(),
		asJSON(jose.JSONWebKey{Key: testKeys()["P-256"]}), `{"private_key":"x","private_key_id":1}`, `{"kty":"OKP","crv":"Ed25519","x":"","d":""}`,
		"-----BEGIN A-----\nx: y\n\n-----END A-----",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		k, wrong := readKey(secret.New(text))
		if wrong != "" {
			if len(wrong) > 90 || strings.ContainsAny(wrong, "\n{") {
				t.Errorf("it says %q", wrong)
			}
			return
		}
		if _, err := k.sign(map[string]any{"a": 1}); err != nil {
			t.Errorf("a key of %s does not sign: %v", k.alg, err)
		}
	})
}
