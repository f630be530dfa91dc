package auth

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/internal/fault"
)

const deviceCode = `{"device_code":"d3v1ce","user_code":"WDJB-MJHT","verification_uri":"https://crm.example/device","expires_in":900,"interval":5}`

// RFC 8628: the server is asked at its interval, 5 s more after each slow_down,
// until it gives a token, a refusal or the end of the code.
func TestDevicePolling(t *testing.T) {
	type asked struct {
		status int
		body   string
	}
	pending, slow := asked{400, `{"error":"authorization_pending"}`}, asked{400, `{"error":"slow_down"}`}
	for _, tc := range []struct {
		name    string
		device  string
		answers []asked // the last one goes on
		want    fault.Code
		polls   int
		took    time.Duration
	}{
		{"granted at once", deviceCode, []asked{{200, goodToken}}, "", 1, 5 * time.Second},
		{"pending", deviceCode, []asked{pending, pending, {200, goodToken}}, "", 3, 15 * time.Second},
		{"pending, as GitHub says it", deviceCode, []asked{{200, `{"error":"authorization_pending"}`}, {200, goodToken}}, "", 2, 10 * time.Second},
		{"slower", deviceCode, []asked{slow, pending, slow, {200, goodToken}}, "", 4, (5 + 10 + 10 + 15) * time.Second},
		{"its own interval", strings.Replace(deviceCode, `"interval":5`, `"interval":"1"`, 1), []asked{pending, {200, goodToken}}, "", 2, 2 * time.Second},
		{"no interval", strings.Replace(deviceCode, `,"interval":5`, "", 1), []asked{{200, goodToken}}, "", 1, 5 * time.Second},
		{"a server that fails for a while", deviceCode, []asked{{503, ""}, {502, "x"}, {200, goodToken}}, "", 3, (5 + 10 + 15) * time.Second},
		{"no", deviceCode, []asked{pending, {400, `{"error":"access_denied"}`}}, fault.AccessDenied, 2, 10 * time.Second},
		{"no, as Microsoft says it", deviceCode, []asked{{400, `{"error":"authorization_declined"}`}}, fault.AccessDenied, 1, 5 * time.Second},
		{"expired", deviceCode, []asked{pending, {400, `{"error":"expired_token"}`}}, fault.AuthorizationIncomplete, 2, 10 * time.Second},
		{"a wrong client", deviceCode, []asked{{401, `{"error":"invalid_client"}`}}, fault.InvalidClient, 1, 5 * time.Second},
		{"an empty grant", deviceCode, []asked{{200, `{}`}}, fault.TokenEndpointUnreachable, 1, 5 * time.Second},
		{"nobody comes", strings.Replace(deviceCode, "900", "60", 1), []asked{pending}, fault.AuthorizationIncomplete, 11, time.Minute},
		{"nobody comes, without an end", strings.Replace(deviceCode, `"expires_in":900,`, "", 1), []asked{pending}, fault.AuthorizationIncomplete, 119, 10 * time.Minute},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFlows(t, nil)
				f.server.device = tc.device
				f.server.answer = func(n int, _ url.Values) (int, string, string) {
					a := tc.answers[min(n, len(tc.answers))-1]
					return a.status, "application/json", a.body
				}
				start := time.Now()
				c := f.begin(t, ConnectRequest{Flow: FlowDevice, Scopes: []string{"a"}})
				if c.UserCode != "WDJB-MJHT" || c.VerificationURI != "https://crm.example/device" {
					t.Fatalf("began as %+v", c)
				}
				var got Connect
				for got.State != ConnectDone && got.State != ConnectFailed {
					time.Sleep(100 * time.Millisecond)
					got, _ = f.Get(c.ID)
				}
				if took := time.Since(start).Truncate(time.Second); took != tc.took {
					t.Errorf("it took %v, want %v", took, tc.took)
				}
				posts := f.server.posts()
				if n := len(posts); n < tc.polls || n > tc.polls+1 {
					t.Errorf("asked %d times, want %d", n, tc.polls)
				}
				if posts[0].Get("grant_type") != deviceGrant || posts[0].Get("device_code") != "d3v1ce" {
					t.Errorf("asked with %v", posts[0])
				}
				if tc.want != "" {
					failsWith(t, got, tc.want, "")
				} else if got.State != ConnectDone {
					t.Errorf("%s: %v", got.State, got.Fault)
				}
				if text := fmt.Sprint(got.Steps, got.Fault, f.log); strings.Contains(text, "d3v1ce") || len(got.Steps) > 8 {
					t.Errorf("the device code is shown, or there are too many steps: %s", text)
				}
				f.end()
				synctest.Wait()
			})
		})
	}
}

// Odd and hostile answers of the device authorization endpoint begin nothing.
func TestDeviceAnswers(t *testing.T) {
	for name, body := range map[string]string{
		"nothing":           ``,
		"a page":            `<html>`,
		"no code":           `{"user_code":"u","verification_uri":"https://crm.example/"}`,
		"no user code":      `{"device_code":"d","verification_uri":"https://crm.example/"}`,
		"a control":         `{"device_code":"d","user_code":"\u001b[2J","verification_uri":"https://crm.example/"}`,
		"no address":        `{"device_code":"d","user_code":"u"}`,
		"a script":          `{"device_code":"d","user_code":"u","verification_uri":"javascript:alert(1)"}`,
		"a file":            `{"device_code":"d","user_code":"u","verification_uri":"file:///etc/passwd"}`,
		"a user in it":      `{"device_code":"d","user_code":"u","verification_uri":"https://crm.example@evil.example/"}`,
		"an option":         `{"device_code":"d","user_code":"u","verification_uri":"--help"}`,
		"an error":          `{"error":"unauthorized_client"}`,
		"a long user code":  `{"device_code":"d","user_code":"` + strings.Repeat("u", 100) + `","verification_uri":"https://crm.example/"}`,
		"a line in the URI": `{"device_code":"d","user_code":"u","verification_uri":"https://crm.example/\nx"}`,
	} {
		f := newFlows(t, nil)
		f.server.device = body
		got, err := f.Begin(t.Context(), ConnectRequest{Provider: f.p, Ref: crmRef(t), ClientID: "web", Flow: FlowDevice})
		if code := fault.From(err).Code; err == nil || code != fault.TokenEndpointUnreachable && code != fault.InvalidClient {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
		if len(f.server.posts()) > 0 {
			t.Errorf("%s: the token endpoint was asked", name)
		}
	}
	f := newFlows(t, nil)
	f.server.device = `{"device_code":"d","user_code":"u","verification_url":"https://crm.example/","verification_uri_complete":"javascript:x"}` // Google's spelling
	if got := f.begin(t, ConnectRequest{Flow: FlowDevice}); got.VerificationURI != "https://crm.example/" || got.VerificationURIComplete != "" {
		t.Errorf("began as %+v", got)
	}
}
