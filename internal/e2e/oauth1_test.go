package e2e

import (
	"net/http"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/testserver"
)

// Python's oauthlib, which others verify with, takes each request that is signed here, once.
func TestOAuth1(t *testing.T) {
	t.Parallel()
	ca := testserver.NewCA(t)
	_, cert := ca.Leaf(t, "localhost", "127.0.0.1")
	addr := testserver.StartOAuth1(t, cert)
	d := testserver.Sallyport(t, open+`
[[provider]]
name = "shop"
hosts = ["`+addr+`"]
base_url = "https://`+addr+`"
type = "oauth1"
ca_file = "`+ca.File+`"
[provider.verify]
path = "/me"
`)
	d.Put(t, "default/production/shop/default", "oauth1", testserver.OAuth1Fields())
	env, url := d.CurlEnv(t), "https://"+addr
	runner := []string{"-f", "-H", `Authorization: OAuth oauth_consumer_key="dummy", oauth_signature="dummy"`}
	for what, args := range map[string][]string{
		"plain":                      {url + "/me"},
		"no path":                    {url},
		"a query":                    {url + "/x?b=2&a=1&a=0&empty=&none"},
		"a query that is encoded":    {url + "/x?q=a%20b+c%2Bd&%C3%BC=%c3%bc&sym=%21*'()~-._"},
		"a path that is encoded":     {url + "/a%20b/%C3%BC/(x)?q=1"},
		"a form":                     {"--data", "status=Hello%20Ladies%20%2b%20Gentlemen%2c&a=1", url + "/post?x=1"},
		"a form with a charset":      {"-H", "Content-Type: application/x-www-form-urlencoded; charset=utf-8", "--data", "a=1&a=2", url + "/post"},
		"JSON":                       {"-H", "Content-Type: application/json", "--data", `{"a":"b=c&d"}`, url + "/post"},
		"a file":                     {"-F", "a=b", url + "/post"},
		"another method":             {"-X", "DELETE", url + "/x?id=7"},
		"the runner's own signature": {"--data", "oauth_token=dummy&a=1", url + "/x?oauth_signature=dummy&oauth_nonce=1&b=2"},
	} {
		for _, version := range []string{"--http1.1", "--http2"} {
			if out, errs, exit := testserver.Curl(t, env, append(append([]string{version}, runner...), args...)...); exit != 0 || out != "signed" {
				t.Errorf("%s %s: exit %d %s %s", what, version, exit, errs, out)
			}
		}
	}
	for _, field := range []string{"consumer_key", "consumer_secret", "token", "token_secret"} {
		f := testserver.OAuth1Fields()
		f[field] = "wrong" + canary
		status, body := d.Call(t, http.MethodPut, "/api/v1/credentials/default/production/shop/wrong", map[string]any{"type": "oauth1", "fields": f})
		if status != http.StatusUnprocessableEntity || field != "consumer_key" && strings.Contains(body, canary) {
			t.Errorf("a wrong %s: status %d, want 422: %s", field, status, body)
		}
	}
	if strings.Contains(d.Log(), "token secret") {
		t.Error("the log shows a secret")
	}
}
