package testserver

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"time"
)

// Issuer signs JSON Web Tokens (ES256).
type Issuer struct{ key *ecdsa.PrivateKey }

// NewIssuer makes one with a key of its own.
func NewIssuer(tb testing.TB) *Issuer { return &Issuer{newKey(tb)} }

// PublicKey is its key as PEM.
func (i *Issuer) PublicKey(tb testing.TB) string {
	tb.Helper()
	der, err := x509.MarshalPKIXPublicKey(i.key.Public())
	if err != nil {
		tb.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

// Token gives a JSON Web Token with the claims.
func (i *Issuer) Token(tb testing.TB, claims map[string]any) string {
	tb.Helper()
	part := func(v any) string {
		data, err := json.Marshal(v)
		if err != nil {
			tb.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(data)
	}
	text := part(map[string]string{"alg": "ES256", "typ": "JWT"}) + "." + part(claims)
	sum := sha256.Sum256([]byte(text))
	r, s, err := ecdsa.Sign(rand.Reader, i.key, sum[:])
	if err != nil {
		tb.Fatal(err)
	}
	sig := make([]byte, 64) // RFC 7518 section 3.4
	r.FillBytes(sig[:32])
	s.FillBytes(sig[32:])
	return text + "." + base64.RawURLEncoding.EncodeToString(sig)
}

// Kubernetes is the part of a Kubernetes API server that Vault asks: its TokenReview.
type Kubernetes struct {
	URL, CA string // CA: PEM
	*Issuer

	mu    sync.Mutex
	known map[string]string // who a token belongs to; "": nobody any more
}

// StartKubernetes starts one that knows no service account's token yet.
func StartKubernetes(tb testing.TB) *Kubernetes {
	tb.Helper()
	k := &Kubernetes{Issuer: NewIssuer(tb), known: map[string]string{}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /apis/authentication.k8s.io/v1/tokenreviews", k.review)
	ca := NewCA(tb)
	leaf, _ := ca.Leaf(tb, "127.0.0.1")
	s := httptest.NewUnstartedServer(mux)
	s.TLS = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{leaf}}
	s.StartTLS()
	tb.Cleanup(s.Close)
	k.URL, k.CA = s.URL, string(ca.PEM)
	return k
}

// ServiceAccount makes a token of the service account sidecar in the namespace flows; each call makes another.
func (k *Kubernetes) ServiceAccount(tb testing.TB) string {
	tb.Helper()
	return k.Account(tb, "sidecar", k.URL)
}

// Account makes a token of a service account in the namespace flows for an audience; each call makes another.
func (k *Kubernetes) Account(tb testing.TB, name, audience string) string {
	tb.Helper()
	k.mu.Lock()
	defer k.mu.Unlock()
	now, user := time.Now().Unix(), "system:serviceaccount:flows:"+name
	token := k.Token(tb, map[string]any{
		"iss": k.URL, "sub": user, "aud": []string{audience}, "iat": now, "exp": now + 3600,
		"jti":           strconv.Itoa(len(k.known)),
		"kubernetes.io": map[string]any{"namespace": "flows", "serviceaccount": map[string]string{"name": name, "uid": "uid-1"}},
	})
	k.known[token] = user
	return token
}

// Forget makes every token that was given so far invalid.
func (k *Kubernetes) Forget() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for token := range k.known {
		k.known[token] = ""
	}
}

func (k *Kubernetes) review(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Spec struct {
			Token     string   `json:"token"`
			Audiences []string `json:"audiences"`
		} `json:"spec"`
	}
	if json.NewDecoder(r.Body).Decode(&in) != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	k.mu.Lock()
	user := k.known[in.Spec.Token]
	k.mu.Unlock()
	status := map[string]any{"authenticated": user != ""}
	if user != "" {
		status["audiences"] = in.Spec.Audiences
		status["user"] = map[string]any{"username": user, "uid": "uid-1"}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "status": status})
}
