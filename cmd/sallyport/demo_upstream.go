package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// demoUpstream is the world outside for the demo: an API that asks each of its
// parts for another credential, over TLS under its own authority and over plain
// HTTP, and an OAuth 2.0 token endpoint.
type demoUpstream struct {
	Plain, TLS string // authorities
	CA         []byte // PEM
	Secrets    demoSecrets
	servers    []*http.Server

	mu     sync.Mutex
	live   map[string]bool // access tokens that the API accepts
	minted []string        // access tokens ever given
	moved  bool            // the password was changed
	seen   []demoSeen
}

// demoSecrets is what the API asks for. It is made anew for each demo.
type demoSecrets struct{ APIKey, Password, ClientSecret, Bearer string }

func (s demoSecrets) all() []string { return []string{s.APIKey, s.Password, s.ClientSecret, s.Bearer} }

// demoSeen is one request as it reached the API.
type demoSeen struct {
	Path, Body string
	Status     int
	Header     http.Header
}

func startDemoUpstream() (*demoUpstream, error) {
	u := &demoUpstream{live: map[string]bool{}, Secrets: demoSecrets{
		APIKey: "key-" + rand.Text(), Password: "pass-" + rand.Text(),
		ClientSecret: "client-" + rand.Text(), Bearer: "bearer-" + rand.Text(),
	}}
	cert, ca, err := demoCertificate()
	if err != nil {
		return nil, err
	}
	u.CA = ca
	if u.Plain, err = u.serve(nil); err != nil {
		return nil, err
	}
	u.TLS, err = u.serve(&tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12})
	return u, err
}

func (u *demoUpstream) serve(config *tls.Config) (authority string, err error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	s := &http.Server{
		Handler: u.handler(), TLSConfig: config, ReadHeaderTimeout: 10 * time.Second, ErrorLog: log.New(io.Discard, "", 0),
	}
	u.servers = append(u.servers, s)
	if config == nil {
		go func() { _ = s.Serve(ln) }()
	} else {
		go func() { _ = s.ServeTLS(ln, "", "") }()
	}
	return ln.Addr().String(), nil
}

// Close ends the servers.
func (u *demoUpstream) Close() {
	for _, s := range u.servers {
		_ = s.Close()
	}
}

func (u *demoUpstream) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/orders/", u.guarded("", func(r *http.Request) bool { return r.Header.Get("X-Api-Key") == u.Secrets.APIKey }))
	mux.HandleFunc("/parcels/", u.guarded("Bearer", func(r *http.Request) bool {
		return r.Header.Get("Authorization") == "Bearer "+u.Secrets.Bearer
	}))
	mux.HandleFunc("/crm/", u.guarded("Basic", func(r *http.Request) bool {
		user, pass, _ := r.BasicAuth()
		return user == "flow" && pass == u.Secrets.Password && !u.moved
	}))
	mux.HandleFunc("/ledger/", u.guarded(`Bearer error="invalid_token"`, func(r *http.Request) bool {
		h := r.Header.Get("Authorization")
		return len(h) > len("Bearer ") && u.live[h[len("Bearer "):]]
	}))
	mux.HandleFunc("POST /oauth/token", u.token)
	return mux
}

// guarded answers 200 to whom accept lets in, else 401 with the challenge.
func (u *demoUpstream) guarded(challenge string, accept func(*http.Request) bool) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(io.LimitReader(r.Body, 1<<20))
		u.mu.Lock()
		defer u.mu.Unlock()
		status := http.StatusOK
		if !accept(r) {
			status = http.StatusUnauthorized
			if challenge != "" {
				w.Header().Set("WWW-Authenticate", challenge)
			}
		}
		u.seen = append(u.seen, demoSeen{Path: r.URL.Path, Body: string(body), Status: status, Header: r.Header.Clone()})
		demoJSON(w, status, map[string]any{"path": r.URL.Path, "status": http.StatusText(status)})
	}
}

// token is the client credentials grant of RFC 6749 section 4.4.
func (u *demoUpstream) token(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 1<<16)
	id, secret, _ := r.BasicAuth()
	if secret, _ = url.QueryUnescape(secret); id != "demo" || secret != u.Secrets.ClientSecret {
		w.Header().Set("WWW-Authenticate", "Basic")
		demoJSON(w, http.StatusUnauthorized, map[string]any{"error": "invalid_client"})
		return
	}
	if r.PostFormValue("grant_type") != "client_credentials" {
		demoJSON(w, http.StatusBadRequest, map[string]any{"error": "unsupported_grant_type"})
		return
	}
	t := "token-" + rand.Text()
	u.mu.Lock()
	defer u.mu.Unlock()
	u.live[t], u.minted = true, append(u.minted, t)
	demoJSON(w, http.StatusOK, map[string]any{"access_token": t, "token_type": "Bearer", "expires_in": 3600})
}

// Expire makes the API refuse every token it has given, long before the hour is over.
func (u *demoUpstream) Expire() {
	u.mu.Lock()
	defer u.mu.Unlock()
	clear(u.live)
}

// ChangePassword makes the stored password wrong.
func (u *demoUpstream) ChangePassword() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.moved = true
}

// Minted gives the access tokens that were ever given.
func (u *demoUpstream) Minted() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return append([]string(nil), u.minted...)
}

// Seen gives the requests that reached the API, and forgets them.
func (u *demoUpstream) Seen() []demoSeen {
	u.mu.Lock()
	defer u.mu.Unlock()
	seen := u.seen
	u.seen = nil
	return seen
}

func demoJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

// demoCertificate makes an authority and a certificate of 127.0.0.1 under it.
func demoCertificate() (cert tls.Certificate, ca []byte, err error) {
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return cert, nil, err
	}
	now := time.Now()
	root := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Sallyport demo API"}, NotBefore: now.Add(-time.Hour),
		NotAfter: now.Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	caDER, err := x509.CreateCertificate(rand.Reader, root, root, caKey.Public(), caKey)
	if err != nil {
		return cert, nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return cert, nil, err
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "127.0.0.1"}, NotBefore: root.NotBefore, NotAfter: root.NotAfter,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, root, key.Public(), caKey)
	if err != nil {
		return cert, nil, err
	}
	cert = tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	return cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: caDER}), nil
}
