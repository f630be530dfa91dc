package checker_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/checker"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
)

func stripe(base string) *provider.Provider {
	p := api(base)
	p.Name, p.Verify = "stripe", provider.Verify{Path: "/v1/balance"}
	return p
}

// A restricted and a secret key. Stripe quotes the end of a key.
const (
	restrictedKey = "rk_live_51JCanaryCanaryCanaryCanaryBYBoGA"
	secretKey     = "sk_live_51JCanaryCanaryCanaryCanaryBYBoGA"
)

const stripeBalance = `{"object":"balance","available":[{"amount":666670,"currency":"usd"}],"livemode":true,"pending":[]}`

// stripeSays is an error in Stripe's form.
func stripeSays(status int, code, message string) http.HandlerFunc {
	return says(status, fmt.Sprintf(`{"error":{"code":%q,"message":%q,"type":"invalid_request_error"}}`, code, message))
}

// stripeLacks is the refusal of a restricted key for want of a permission.
func stripeLacks(permission string) http.HandlerFunc {
	return stripeSays(403, "", "The provided key 'rk_live_"+strings.Repeat("*", 93)+"BYBoGA' does not have the required permissions for this endpoint on account 'acct_1PJBLEBBLEfV'. Having the '"+permission+"' permission would allow this request to continue.")
}

// The decision table of Stripe.
func TestStripe(t *testing.T) {
	needs := func(names ...string) provider.Needs { return provider.Needs{Permissions: names} }
	good := says(200, stripeBalance)
	for _, c := range []struct {
		probed
		balance http.HandlerFunc
	}{
		{probed{name: "200, a restricted key", lines: "authorization:ok", overall: checker.OK, says: "it is a restricted key"}, good},
		{probed{name: "200, a secret key", cred: record("api_key", "api_key", secretKey), lines: "authorization:ok", overall: checker.OK, says: "it is a secret key"}, good},
		{probed{name: "200, a secret key may do all", cred: record("api_key", "api_key", secretKey), needs: needs("rak_charge_read"), lines: "authorization:ok permissions:ok", overall: checker.OK}, good},
		{probed{name: "200, what a restricted key may do is not told", needs: needs("rak_charge_read"), lines: "authorization:ok permissions:unverifiable", overall: checker.Warning}, good},
		{probed{name: "200, a key of the test mode in production", cred: record("api_key", "api_key", "sk_test_51JCanaryBYBoGA"), lines: "authorization:warning", overall: checker.Warning, code: fault.WrongSurface, says: "it is a secret key of the test mode"}, good},
		{probed{name: "200, a token of an app, of the test mode", cred: record("bearer", "token", "app-t0ken"), lines: "authorization:ok", overall: checker.OK, says: "a token of the test mode"}, says(200, strings.ReplaceAll(stripeBalance, "true", "false"))},
		{probed{name: "403 proves the key, and names the permission", lines: "authorization:ok permissions:warning", overall: checker.Warning, missing: "rak_webhook_write", code: fault.InsufficientPermission, account: "acct_1PJBLEBBLEfV (account)", says: "Having the 'rak_webhook_write' permission"}, stripeLacks("rak_webhook_write")},
		{probed{name: "403, as it was seen", lines: "authorization:ok permissions:warning", overall: checker.Warning, missing: "rak_webhook_write", code: fault.InsufficientPermission, account: "acct_1 (account)"},
			stripeSays(403, "", "The provided key 'rk_live_****only' does not have the required permissions for this endpoint on account 'acct_1'. Having the 'rak_webhook_write' permission would allow this request to continue.")},
		{probed{name: "403, of a permission that is needed", needs: needs("rak_balance_read", "rak_charge_read"), lines: "authorization:ok permissions:warning", overall: checker.Warning, missing: "rak_balance_read", code: fault.InsufficientPermission, account: "acct_1PJBLEBBLEfV (account)"}, stripeLacks("rak_balance_read")},
		{probed{name: "403, who may not read may not write", needs: needs("rak_balance_write"), lines: "authorization:ok permissions:warning", overall: checker.Warning, missing: "rak_balance_write", code: fault.InsufficientPermission, account: "acct_1PJBLEBBLEfV (account)"}, stripeLacks("rak_balance_read")},
		{probed{name: "403, who may not write may read", needs: needs("rak_webhook_read"), lines: "authorization:ok permissions:unverifiable", overall: checker.Warning, account: "acct_1PJBLEBBLEfV (account)"}, stripeLacks("rak_webhook_write")},
		{probed{name: "403, of one that nobody needs", needs: needs("rak_charge_read"), lines: "authorization:ok permissions:unverifiable", overall: checker.Warning, account: "acct_1PJBLEBBLEfV (account)", says: "for want of another: rak_balance_read"}, stripeLacks("rak_balance_read")},
		{probed{name: "403, of an app", lines: "authorization:ok permissions:warning", overall: checker.Warning, code: fault.InsufficientPermission, account: "acct_1 (account)", says: "This application"},
			stripeSays(403, "oauth_not_supported", "This application does not have the required permissions for this endpoint on account 'acct_1'.")},
		{probed{name: "403, more permissions of an app", lines: "authorization:ok permissions:warning", overall: checker.Warning, code: fault.InsufficientPermission},
			stripeSays(403, "more_permissions_required_for_application", "x")},
		{probed{name: "403, a list of addresses", lines: "authorization:error", overall: checker.Error, code: fault.OrganizationPolicy, says: "your IP address (192.0.2.7)"},
			stripeSays(403, "", "The API key provided does not allow requests from your IP address (192.0.2.7).")},
		{probed{name: "401, not known", lines: "authorization:error", overall: checker.Error, code: fault.CredentialsRejected, says: "Invalid API Key provided: [redacted]"},
			stripeSays(401, "", "Invalid API Key provided: rk_live_*********BYBoGA")},
		{probed{name: "401, expired", lines: "authorization:error", overall: checker.Error, code: fault.CredentialsRejected, says: "or was rolled"},
			stripeSays(401, "api_key_expired", "Expired API Key provided: rk_live_*********BYBoGA")},
		{probed{name: "the other mode, which is a key all the same", lines: "authorization:warning", overall: checker.Warning, code: fault.WrongSurface, says: "the credential is accepted: No such customer: 'cus_1'; a similar object exists in live mode, but a test mode key was used"},
			stripeSays(404, "resource_missing", "No such customer: 'cus_1'; a similar object exists in live mode, but a test mode key was used to make this request.")},
		{probed{name: "a publishable key", cred: record("api_key", "api_key", "pk_live_51JCanaryBYBoGA"), lines: "authorization:error", overall: checker.Error, code: fault.WrongSurface, says: "publishable"},
			stripeSays(403, "secret_key_required", "This API call cannot be made with a publishable API key. Please use a secret API key.")},
		{probed{name: "200 with nothing in it", lines: "authorization:unverifiable", overall: checker.Warning, says: "with nothing in it"}, nothing},
		{probed{name: "200, a restricted key of the test mode", cred: record("api_key", "api_key", "rk_test_51JCanaryBYBoGA"), lines: "authorization:warning", overall: checker.Warning, code: fault.WrongSurface, says: "it is a restricted key of the test mode"}, good},
		{probed{name: "429", lines: "authorization:unverifiable", overall: checker.Unknown, code: fault.UpstreamRateLimited, says: "Request rate limit exceeded"}, stripeSays(429, "rate_limit", "Request rate limit exceeded.")},
		{probed{name: "503", lines: "authorization:unverifiable", overall: checker.Unknown}, away},
		{probed{name: "a page", lines: "authorization:unverifiable", overall: checker.Warning}, aPage},
		{probed{name: "200 with an error", lines: "authorization:unverifiable", overall: checker.Warning}, stripeSays(200, "", "x")},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, _ := c.verified("GET /v1/balance", c.balance).run(t, stripe, record("api_key", "api_key", restrictedKey), 1, "Canary", "BYBoGA", "app-t0ken")
			if app := strings.Contains(c.name, "of an app"); c.code == fault.InsufficientPermission && !app && r.Fault.Actor != fault.User {
				t.Errorf("%s is to act: %q; want whoever makes the keys", r.Fault.Actor, r.Fault.Remedy)
			}
			if c.code == fault.WrongSurface && (r.Fault.Actor != fault.User || !strings.Contains(r.Fault.Remedy[0], "the right key")) {
				t.Errorf("%s is to act: %q; want whoever has the keys to store the right one", r.Fault.Actor, r.Fault.Remedy)
			}
		})
	}
}

// LK-06: of a key that an answer quotes in part no part is in a report: neither in
// a step, nor in a detail, nor in a header field.
func TestKeysQuotedInPart(t *testing.T) {
	for _, quote := range []string{"rk_live_***BYBoGA", "rk_live_51JC" + strings.Repeat("*", 200) + "BYBoGA", strings.Repeat("*", 20) + "BYBoGA"} {
		c := probed{name: quote, lines: "authorization:error", overall: checker.Error, code: fault.CredentialsRejected}
		answer := func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Key", quote)
			stripeSays(401, "", "Invalid API Key provided: "+quote)(w, r)
		}
		r, _ := c.verified("GET /v1/balance", answer).run(t, stripe, record("api_key", "api_key", restrictedKey), 1)
		for n := 5; n < len(restrictedKey); n++ {
			for i := len("rk_live_"); i+n <= len(restrictedKey); i++ {
				wantNoSecret(t, r, restrictedKey[i:i+n])
			}
		}
	}
}

// LK-06: a key at the place where a long text is cut leaves no half of it.
func TestKeysInLongTexts(t *testing.T) {
	for pad := 900; pad < 1040; pad += 7 {
		c := probed{name: "long", lines: "authorization:error", overall: checker.Error, code: fault.CredentialsRejected}
		answer := stripeSays(401, "", strings.Repeat("x", pad)+restrictedKey+strings.Repeat("y", 2000))
		r, _ := c.verified("GET /v1/balance", answer).run(t, stripe, record("api_key", "api_key", restrictedKey), 1, "51JCan", "Canary", "BYBoGA")
		if n := len(line(r, checker.Authorization).Detail); n > 1100 {
			t.Errorf("a detail of %d bytes", n)
		}
	}
}
