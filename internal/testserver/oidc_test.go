package testserver

import (
	"crypto/tls"
	"net/http"
	"net/url"
	"testing"
	"time"
)

func TestOIDCOverTLS(t *testing.T) {
	ca := NewCA(t)
	_, file := ca.Leaf(t, "127.0.0.1")
	server := StartOIDC(t, OIDCOptions{Cert: file, Key: file, ClientTTL: time.Minute})
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca.Pool()}}
	defer tr.CloseIdleConnections()
	client := &http.Client{Transport: tr}
	for secret, want := range map[string]int{"s3cr3t:/+%": http.StatusOK, "wrong": http.StatusUnauthorized} {
		resp, err := client.PostForm(server.TokenURL, url.Values{"grant_type": {"client_credentials"}, "client_id": {"m2m-post"}, "client_secret": {secret}})
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("secret %q is answered %d, want %d", secret, resp.StatusCode, want)
		}
	}
	if got := server.Grants(t, client); got["client_credentials:ok"] != 1 {
		t.Errorf("grants %v", got)
	}
}
