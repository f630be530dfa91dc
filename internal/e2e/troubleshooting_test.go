package e2e

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/testserver"
)

// troubled is a daemon with one provider for each trouble, the servers behind
// them being real: nginx answers as the providers do.
type troubled struct {
	*testserver.Daemon
	ca     *testserver.CA
	nginx  *testserver.Nginx
	as     *testserver.OIDC
	client *http.Client
}

// troubleNginx answers by path as the providers do, and on further addresses with
// certificates that are not as they should be.
const troubleNginx = `
ssl_certificate {good}; ssl_certificate_key {good}; default_type application/json;
server { listen {api} ssl; server_name localhost;
	location /expired/ { add_header WWW-Authenticate 'Bearer error="invalid_token", error_description="The access token expired"' always; return 401; }
	location /permission/ { return 403 '{"message":"you may not"}'; }
	location /key/ { if ($http_x_api_key != "right") { return 401 '{"message":"Invalid API key"}'; } return 200 '{}'; }
	location /place/ { if ($http_x_api_key = "") { return 401 '{"message":"No API key found in request: the X-Api-Key header is required"}'; } return 200 '{}'; }
	location /query/ { if ($arg_apikey = "") { return 401 '{"fault":{"faultstring":"Failed to resolve API Key variable request.queryparam.apikey"}}'; } return 200 '{}'; }
	location /prefix/ { if ($http_authorization !~ "^Bearer ") { return 401 '{"message":"Format is Authorization: Bearer [token]"}'; } return 200 '{}'; }
	location /limited/ { add_header Retry-After 3600 always; return 429 '{}'; }
	location /slack-scope/ { return 200 '{"ok":false,"error":"missing_scope","needed":"channels:read","provided":"chat:write"}'; }
	location /slack-channel/ { return 200 '{"ok":false,"error":"channel_not_found"}'; }
	location /google-quota/ { return 403 '{"error":{"code":403,"errors":[{"domain":"youtube.quota","reason":"quotaExceeded"}]}}'; }
	location /github-bad/ { return 401 '{"message":"Bad credentials","documentation_url":"https://docs.github.com/rest"}'; }
	location /github-permission/ { return 403 '{"message":"Resource not accessible by personal access token"}'; }
}
server { listen {plain}; return 200 '{}'; }
server { listen {expired} ssl; ssl_certificate {expiredpem}; ssl_certificate_key {expiredpem}; return 200 '{}'; }
server { listen {selfsigned} ssl; ssl_certificate {selfpem}; ssl_certificate_key {selfpem}; return 200 '{}'; }
server { listen {wrongname} ssl; ssl_certificate {wrongpem}; ssl_certificate_key {wrongpem}; return 200 '{}'; }
server { listen {unknown} ssl; ssl_certificate {unknownpem}; ssl_certificate_key {unknownpem}; return 200 '{}'; }
`

// newTroubled runs the servers, and a daemon with a provider and a credential for each trouble.
func newTroubled(t *testing.T) *troubled {
	t.Helper()
	w := &troubled{ca: testserver.NewCA(t), as: testserver.StartOIDC(t, testserver.OIDCOptions{})}
	_, good := w.ca.Leaf(t, "localhost")
	_, expired := w.ca.Expired(t, "localhost")
	_, self := testserver.SelfSigned(t, "localhost")
	_, wrong := w.ca.Leaf(t, "other.example", "another.example")
	_, unknown := testserver.NewCA(t).Leaf(t, "localhost")
	w.nginx = testserver.StartNginx(t, strings.NewReplacer(
		"{good}", good, "{expiredpem}", expired, "{selfpem}", self, "{wrongpem}", wrong, "{unknownpem}", unknown,
	).Replace(troubleNginx), "api", "plain", "expired", "selfsigned", "wrongname", "unknown")
	lost, reset := testserver.StartToxiproxy(t, w.nginx.Addr["plain"]), testserver.StartToxiproxy(t, w.nginx.Addr["plain"])

	w.Daemon = testserver.Prepare(t, strings.Replace(open, "[proxy]\n", "[proxy]\nupstream_timeout = \"1s\"\n", 1)+
		w.behind("expired", "bearer", "")+w.behind("permission", "bearer", "")+
		w.behind("key", "api_key", inHeader("X-Api-Key", "{api_key}"))+w.behind("place", "api_key", "")+w.behind("query", "api_key", "")+
		w.behind("prefix", "api_key", inHeader("Authorization", "{api_key}"))+w.behind("limited", "bearer", "")+
		w.behind("slack-scope", "bearer", "")+w.behind("slack-channel", "bearer", "")+w.behind("google-quota", "bearer", "")+
		w.behind("github-bad", "bearer", "")+w.behind("github-permission", "bearer", "")+
		w.behind("authorization", "oauth2_client_credentials", "[provider.oauth2]\ntoken_url = \""+w.as.TokenURL+"\"\n")+
		w.behind("token-certificate", "oauth2_client_credentials", "[provider.oauth2]\ntoken_url = \"https://"+local(w.nginx.Addr["expired"])+"/token\"\n")+
		w.at("refused", "http://"+local(testserver.FreeAddr(t)))+w.at("dns", "https://no-such-host.invalid")+
		w.at("timeout", "http://"+local(lost.Addr))+w.at("reset", "http://"+local(reset.Addr))+
		w.at("certificate-expired", "https://"+local(w.nginx.Addr["expired"]))+w.at("certificate-self-signed", "https://"+local(w.nginx.Addr["selfsigned"]))+
		w.at("certificate-wrong-name", "https://"+local(w.nginx.Addr["wrongname"]))+w.at("certificate-unknown-authority", "https://"+local(w.nginx.Addr["unknown"])))
	w.Serve(t)
	lost.Lose(t)
	reset.Reset(t, 0)
	w.client = w.Client(t)
	return w
}

// local is a loopback address by the name that the certificates have.
func local(addr string) string {
	_, port, _ := strings.Cut(addr, ":")
	return "localhost:" + port
}

func inHeader(name, value string) string {
	return "[[provider.place]]\nin = \"header\"\nname = \"" + name + "\"\nvalue = \"" + value + "\"\n"
}

// behind is a provider under a path of nginx.
func (w *troubled) behind(name, kind, more string) string {
	addr := local(w.nginx.Addr["api"])
	return w.entry(name, kind, addr, "https://"+addr+"/"+name, "paths = [\"/"+name+"\"]\n", more)
}

// at is a provider of its own host.
func (w *troubled) at(name, base string) string {
	u, _ := url.Parse(base)
	return w.entry(name, "bearer", u.Host, base, "", "")
}

func (w *troubled) entry(name, kind, host, base, keys, more string) string {
	return `
[[provider]]
name = "` + name + `"
hosts = ["` + host + `"]
base_url = "` + base + `"
type = "` + kind + `"
ca_file = "` + w.ca.File + `"
allow_cleartext = true
` + keys + `[provider.verify]
path = "/verify"
` + more
}

// store keeps a credential, whatever its provider says of it.
func (w *troubled) store(t *testing.T, provider, kind string, fields map[string]string) {
	t.Helper()
	path := "/api/v1/credentials/default/production/" + provider + "/default?force=true"
	if status, body := w.Call(t, http.MethodPut, path, map[string]any{"type": kind, "fields": fields}); status != http.StatusCreated && status != http.StatusOK {
		t.Fatalf("PUT %s: %d %s", provider, status, body)
	}
}

// whatFlowGets is what a runner is told: our own problem, or what an upstream's answer means.
type whatFlowGets struct {
	status                int
	code                  fault.Code
	detail, cause, remedy string
}

// ask sends a runner's request.
func (w *troubled) ask(t *testing.T, address string) whatFlowGets {
	t.Helper()
	resp, err := w.client.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, _ := io.ReadAll(resp.Body)
	_, details, _ := strings.Cut(resp.Header.Get("Proxy-Status"), `details="`)
	code, _, _ := strings.Cut(details, `"`)
	got := whatFlowGets{status: resp.StatusCode, code: fault.Code(code)}
	if resp.Header.Get("Content-Type") == fault.ContentType {
		var p fault.Problem
		if err := json.Unmarshal(body, &p); err != nil || p.Code != got.code || p.Actor == "" {
			t.Errorf("the problem is %s, Proxy-Status says %s", body, got.code)
		}
		got.detail, got.cause, got.remedy = p.Detail, p.Cause, strings.Join(p.Remedy, "\n")
	}
	return got
}

// checked is what matters of a report.
type checked struct {
	Status string `json:"status"`
	Fault  *struct {
		Code   fault.Code  `json:"code"`
		Cause  string      `json:"cause"`
		Remedy []string    `json:"remedy"`
		Actor  fault.Actor `json:"actor"`
		Detail string      `json:"detail"`
	} `json:"fault"`
	Checks []struct{ Name, Status, Detail string } `json:"checks"`
}

func (w *troubled) check(t *testing.T, provider string) (c checked, body string) {
	t.Helper()
	status, body := w.Call(t, http.MethodPost, "/api/v1/credentials/default/production/"+provider+"/default/check", map[string]any{})
	if err := json.Unmarshal([]byte(body), &c); err != nil || status != http.StatusOK {
		t.Fatalf("check %s: %d %s", provider, status, body)
	}
	return c, body
}

// Each row of the list by which people look for what is wrong ends as its own code,
// for a flow through the proxy and in a check, with a cause and a remedy.
func TestTroubleshooting(t *testing.T) {
	w := newTroubled(t)
	api := "https://" + local(w.nginx.Addr["api"])
	for _, tt := range []struct {
		row, provider string
		flow, check   fault.Code
		status        int      // of the answer that the flow gets
		overall       string   // of the report
		says          []string // in our own answer; where the upstream's passes, in the report
	}{
		{"authorization failed", "authorization", fault.InvalidClient, fault.InvalidClient, 502, "error", []string{"answered 401 with invalid_client"}},
		{"token expired", "expired", fault.CredentialsRejected, fault.CredentialsRejected, 401, "error", nil},
		{"insufficient permissions", "permission", fault.InsufficientPermission, fault.InsufficientPermission, 403, "warning", nil},
		{"invalid API key", "key", fault.CredentialsRejected, fault.CredentialsRejected, 401, "error", nil},
		{"wrong place of a key: header", "place", fault.CredentialMisplaced, fault.CredentialMisplaced, 401, "error", []string{"asks for the header X-Api-Key; the credential goes into Authorization"}},
		{"wrong place of a key: query", "query", fault.CredentialMisplaced, fault.CredentialMisplaced, 401, "error", []string{"asks for the query parameter apikey; the credential goes into Authorization"}},
		{"missing prefix of a key", "prefix", fault.CredentialMisplaced, fault.CredentialMisplaced, 401, "error", []string{"asks for Bearer in Authorization; the credential goes there without a prefix"}},
		{"rate limited", "limited", fault.UpstreamRateLimited, fault.UpstreamRateLimited, 429, "unknown", nil},
		{"Slack missing_scope", "slack-scope", fault.InsufficientScope, fault.InsufficientScope, 200, "warning", nil},
		{"Slack channel_not_found", "slack-channel", fault.ResourceNotShared, fault.ResourceNotShared, 200, "warning", nil},
		{"Google quota exceeded", "google-quota", fault.QuotaExceeded, fault.QuotaExceeded, 403, "unknown", nil},
		{"GitHub bad credentials", "github-bad", fault.CredentialsRejected, fault.CredentialsRejected, 401, "error", nil},
		{"GitHub resource not accessible", "github-permission", fault.InsufficientPermission, fault.InsufficientPermission, 403, "warning", nil},

		{"connection refused", "refused", fault.ConnectionRefused, fault.ConnectionRefused, 502, "unknown", []string{"Nothing listens"}},
		{"host name not known", "dns", fault.DNSFailure, fault.DNSFailure, 502, "unknown", nil},
		{"timeout", "timeout", fault.Timeout, fault.Timeout, 504, "unknown", nil},
		{"connection reset", "reset", fault.ConnectionReset, fault.ConnectionReset, 502, "unknown", nil},
		{"certificate expired", "certificate-expired", fault.TLSCertificate, fault.TLSCertificate, 502, "unknown", []string{"has expired", "asked for localhost", "names: localhost", "issuer: Test CA", "must renew it"}},
		{"certificate self-signed", "certificate-self-signed", fault.TLSCertificate, fault.TLSCertificate, 502, "unknown", []string{"is self-signed", "issuer: itself", "to this very certificate"}},
		{"certificate of another name", "certificate-wrong-name", fault.TLSCertificate, fault.TLSCertificate, 502, "unknown", []string{"for another name", "asked for localhost", "names: other.example, another.example", "one of the certificate's names"}},
		{"certificate of an unknown authority", "certificate-unknown-authority", fault.TLSCertificate, fault.TLSCertificate, 502, "unknown", []string{"authority is not trusted", "issuer: Test CA", "set ca_file"}},
		{"certificate of a token endpoint", "token-certificate", fault.TokenEndpointUnreachable, fault.TokenEndpointUnreachable, 503, "unknown", []string{"has expired", "asked for localhost", "must renew it"}},
	} {
		t.Run(tt.row, func(t *testing.T) {
			address := api + "/" + tt.provider + "/x"
			if slices.Contains([]fault.Code{fault.ConnectionRefused, fault.DNSFailure, fault.Timeout, fault.ConnectionReset, fault.TLSCertificate}, tt.flow) {
				address = w.base(t, tt.provider) + "/x"
			}
			switch tt.provider {
			case "authorization", "token-certificate":
				w.store(t, tt.provider, "oauth2_client_credentials", map[string]string{"client_id": "m2m", "client_secret": canary + "-wrong"})
			case "key", "place", "query", "prefix":
				w.store(t, tt.provider, "api_key", map[string]string{"api_key": canary + "-wrong"})
			default:
				w.store(t, tt.provider, "bearer", map[string]string{"token": canary + "-wrong"})
			}
			got := w.ask(t, address)
			if got.status != tt.status || got.code != tt.flow {
				t.Errorf("HM-16: the flow gets %d %s: %s; want %d %s", got.status, got.code, got.detail, tt.status, tt.flow)
			}
			report, body := w.check(t, tt.provider)
			text := body
			if got.cause != "" {
				text = got.detail + "\n" + got.cause + "\n" + got.remedy
			}
			for _, words := range tt.says {
				if !strings.Contains(text, words) {
					t.Errorf("HM-16: nobody is told %q: %s", words, text)
				}
			}
			if f := report.Fault; f == nil || f.Code != tt.check || report.Status != tt.overall || f.Cause == "" || len(f.Remedy) == 0 || f.Actor == "" {
				t.Errorf("the check tells %s; want %s with %s", body, tt.overall, tt.check)
			} else if own := tt.check == fault.Timeout; got.cause != "" && (f.Cause == got.cause) == own { // a check has a time of its own
				t.Errorf("the check's cause is %q, the flow's %q", f.Cause, got.cause)
			}
			if strings.Contains(body, canary) {
				t.Errorf("the report holds the secret: %s", body)
			}
		})
	}
	if strings.Contains(w.Log(), canary) {
		t.Error("the log holds a secret")
	}
}

// base is the base URL of a provider as the daemon tells it.
func (w *troubled) base(t *testing.T, provider string) string {
	t.Helper()
	stdout, stderr, exit := w.Run(t, "provider", "show", provider, "--json")
	var p struct {
		BaseURL string `json:"base_url"`
	}
	if err := json.Unmarshal([]byte(stdout), &p); err != nil || exit != 0 || p.BaseURL == "" {
		t.Fatalf("provider show: %d %s %s", exit, stdout, stderr)
	}
	return p.BaseURL
}

// The rows that only a consent shows: a redirect URI that is not registered, and
// Google's refusals of an app.
func TestTroubleshootingConsent(t *testing.T) {
	connect := func(t *testing.T, w *consentWorld) (id, address string) {
		t.Helper()
		w.app(t)
		status, body := w.Call(t, http.MethodPost, "/api/v1/credentials/default/production/crm/default/connect", map[string]any{})
		var c struct {
			ID               string `json:"id"`
			AuthorizationURL string `json:"authorization_url"`
		}
		if err := json.Unmarshal([]byte(body), &c); err != nil || status != http.StatusAccepted {
			t.Fatalf("connect: %d %s", status, body)
		}
		return c.ID, c.AuthorizationURL
	}
	ends := func(t *testing.T, w *consentWorld, id string, want fault.Code, words string) {
		t.Helper()
		var body string
		for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
			if _, body = w.Call(t, http.MethodGet, "/api/v1/connects/"+id, nil); strings.Contains(body, `"state":"failed"`) {
				break
			}
		}
		if !strings.Contains(body, `"code":"`+string(want)+`"`) || !strings.Contains(body, words) || !strings.Contains(body, `"remedy":["`) {
			t.Errorf("the connect tells %s; want %s with %q", body, want, words)
		}
	}
	t.Run("redirect URI mismatch", func(t *testing.T) {
		t.Parallel()
		w := prepareConsentWorld(t, testserver.OIDCOptions{}, "[admin]\npublic_url = \"https://sallyport.example\"\n")
		w.Serve(t)
		id, _ := connect(t, w)
		ends(t, w, id, fault.RedirectURIMismatch, "https://sallyport.example/oauth/callback")
	})
	for _, tt := range []struct {
		answer, description string
		want                fault.Code
	}{
		{"org_internal", "", fault.AppNotVerified},
		{"access_denied", "x has not completed the Google verification process. The app is currently being tested.", fault.AppNotVerified},
		{"admin_policy_enforced", "", fault.OrganizationPolicy},
		{"access_denied", "", fault.AccessDenied},
	} {
		t.Run("Google access blocked: "+tt.answer+" "+tt.description, func(t *testing.T) {
			t.Parallel()
			w := newConsentWorld(t, testserver.OIDCOptions{}, true)
			id, address := connect(t, w)
			at, err := url.Parse(address)
			if err != nil {
				t.Fatal(err)
			}
			back := url.Values{"state": {at.Query().Get("state")}, "error": {tt.answer}}
			if tt.description != "" {
				back.Set("error_description", tt.description)
			}
			if status, page := w.returns(t, at.Query().Get("redirect_uri")+"?"+back.Encode()); status != http.StatusBadRequest {
				t.Errorf("the page is %d %s", status, page)
			}
			ends(t, w, id, tt.want, tt.answer)
		})
	}
}

// A provider's no to a flow shows in the credential's status and metric until it
// takes the credential again; what is no word on the credential changes nothing.
func TestRejectionShowsInStatus(t *testing.T) {
	ca := testserver.NewCA(t)
	_, good := ca.Leaf(t, "localhost")
	n := testserver.StartNginx(t, `ssl_certificate `+good+`; ssl_certificate_key `+good+`; default_type application/json;
server { listen {api} ssl;
	location /limited { return 429 '{}'; }
	location /scope { return 403 '{"error":"insufficient_scope"}'; }
	location / { if ($http_authorization != "Bearer right") { return 401 '{"message":"Bad credentials"}'; } return 200 '{}'; }
}`, "api")
	base := "https://" + local(n.Addr["api"])
	d := testserver.Sallyport(t, open+`
[[provider]]
name = "crm"
hosts = ["`+local(n.Addr["api"])+`"]
base_url = "`+base+`"
type = "bearer"
ca_file = "`+ca.File+`"
`)
	client := d.Client(t)
	const ref = "default/production/crm/default"
	shows := func(what, path string, want string, code any) {
		t.Helper()
		if path != "" {
			resp, err := client.Get(base + path)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
		}
		_, body := d.Call(t, http.MethodGet, "/api/v1/credentials/"+ref, nil)
		var v struct {
			Status    string         `json:"status"`
			LastError map[string]any `json:"last_error"`
		}
		if err := json.Unmarshal([]byte(body), &v); err != nil || v.Status != want || code != nil && v.LastError["code"] != code || code == nil && v.LastError != nil && v.LastError["code"] == "credentials_rejected" {
			t.Errorf("%s: %s; want %s with %v", what, body, want, code)
		}
		_, metrics := d.Call(t, http.MethodGet, "/metrics", nil)
		if !strings.Contains(metrics, `sallyport_credential_status{credential="`+ref+`",status="`+want+`"} 1`) {
			t.Errorf("%s: no metric credential_status %s", what, want)
		}
	}
	d.Put(t, ref, "bearer", map[string]string{"token": "right"})
	shows("good", "/x", "warning", nil) // there is no verify request
	d.Put(t, ref, "bearer", map[string]string{"token": canary + "-old"})
	shows("stored", "", "warning", nil)
	shows("a limit", "/limited", "warning", nil)
	shows("refused", "/x", "error", "credentials_rejected")
	shows("a limit later", "/limited", "error", "credentials_rejected")
	shows("a scope later", "/scope", "error", "credentials_rejected")
	d.Put(t, ref, "bearer", map[string]string{"token": "right"})
	shows("changed", "", "warning", nil)
	shows("good again", "/x", "warning", nil)
	if strings.Contains(d.Log(), canary) {
		t.Error("the log holds the secret")
	}
}
