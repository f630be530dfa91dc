package proxy

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
)

// signedRig has a credential that signs for service, and an upstream that tells the digest and the hash that was signed.
func signedRig(t testing.TB, service string) *rig {
	t.Helper()
	digest := func(w http.ResponseWriter, r *http.Request) {
		h := sha256.New()
		n, err := io.Copy(h, r.Body)
		fmt.Fprintf(w, "%x %d %v %s %s", h.Sum(nil), n, err, r.Header.Get("X-Amz-Content-Sha256"), r.Header.Get("Authorization"))
	}
	return newRig(t, digest, func(r *rig) {
		r.store.Add("api/main", "aws_sigv4", "access_key_id", "AKIA", "secret_access_key", canary, "region", "eu-west-1", "service", service)
		r.providers(&provider.Provider{
			Name: "api", Hosts: []string{r.upstream.authority}, BaseURL: "https://" + r.upstream.authority, Type: "aws_sigv4",
			Configured: true, Limits: provider.Limits{MaxWait: -1}, Fingerprint: "1",
		})
	})
}

// A body that is signed is in memory up to replay_limit. Beyond it S3 takes what is not signed; others take nothing.
func TestSignedBodies(t *testing.T) {
	for _, service := range []string{"s3", "ses"} {
		r := signedRig(t, service)
		for _, h2 := range []bool{false, true} {
			c := r.client(h2)
			for what, size := range map[string]int{"none": 0, "small": 5, "the limit": 1 << 20, "beyond it": 1<<20 + 1, "far beyond": 5 << 20} {
				for _, known := range []bool{true, false} {
					data := strings.Repeat("x", size)
					req, err := http.NewRequest(http.MethodPut, r.url("/k?b=2&a=1"), strings.NewReader(data))
					if err != nil {
						t.Fatal(err)
					}
					if !known {
						req.Body, req.ContentLength = io.NopCloser(strings.NewReader(data)), -1
					}
					name := fmt.Sprintf("%s, %s, length known %v, h2 %v", service, what, known, h2)
					got := r.do(c, req)
					if size > 1<<20 && service != "s3" {
						wantFault(t, name, got, fault.InvalidRequest)
						continue
					}
					sum := sha256.Sum256([]byte(data))
					digest := hex.EncodeToString(sum[:])
					signed := map[bool]string{true: digest, false: "UNSIGNED-PAYLOAD"}[size <= 1<<20]
					if service != "s3" {
						signed = ""
					}
					if want := fmt.Sprintf("%s %d <nil> %s AWS4-HMAC-SHA256 Credential=AKIA/", digest, size, signed); got.StatusCode != 200 || !strings.HasPrefix(got.body, want) {
						t.Errorf("%s: %d %.200s, want %s", name, got.StatusCode, got.body, want)
					}
				}
			}
		}
		waitFor(t, func() bool { return r.srv.used.replay.Load() == 0 })
		r.noCanary("aws_sigv4", r.log.String())
	}
}

// What would be kept beyond the memory for bodies is sent unsigned to S3, and refused for others.
func TestSignedBodiesBeyondThePool(t *testing.T) {
	for service, status := range map[string]int{"s3": 200, "ses": 503} {
		r := signedRig(t, service)
		r.srv.used.replay.Add(replayPool)
		req, err := http.NewRequest(http.MethodPut, r.url("/k"), strings.NewReader(strings.Repeat("x", 1000)))
		if err != nil {
			t.Fatal(err)
		}
		got := r.do(r.client(false), req)
		if got.StatusCode != status || status == 200 && !strings.Contains(got.body, " 1000 <nil> UNSIGNED-PAYLOAD ") {
			t.Errorf("%s: %d %s", service, got.StatusCode, got.body)
		}
		r.srv.used.replay.Add(-replayPool)
	}
}
