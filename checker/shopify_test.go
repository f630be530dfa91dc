package checker_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/checker"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
)

func shopify(base string) *provider.Provider {
	p := api(base + "/admin")
	p.Name, p.Verify = "shopify", provider.Verify{Path: "/oauth/access_scopes.json"}
	p.Places = []provider.Place{{In: "header", Name: "X-Shopify-Access-Token", Value: "{api_key}"}}
	return p
}

const shopToken = "shpat_5h0p1fy"

// handles is the list of scopes.
func handles(names ...string) http.HandlerFunc {
	var list []string
	for _, n := range names {
		list = append(list, fmt.Sprintf(`{"handle":%q}`, n))
	}
	return says(200, `{"access_scopes":[`+strings.Join(list, ",")+`]}`)
}

// shopSays is an error in Shopify's form.
func shopSays(status int, message string) http.HandlerFunc {
	return says(status, fmt.Sprintf(`{"errors":%q}`, message))
}

// The decision table of Shopify.
func TestShopify(t *testing.T) {
	needs := func(names ...string) provider.Needs { return provider.Needs{Scopes: names} }
	const good, shop = "authorization:ok scopes:ok", "127.0.0.1 (shop)"
	lacks := "authorization:ok scopes:warning"
	var many []string
	for i := range 120 {
		many = append(many, fmt.Sprintf("read_thing_%d", i))
	}
	for _, c := range []struct {
		probed
		scopes http.HandlerFunc
	}{
		{probed{name: "200", needs: needs("read_products"), lines: good, overall: checker.OK, account: shop}, handles("read_products", "write_orders")},
		{probed{name: "to write is to read", needs: needs("read_orders", "unauthenticated_read_checkouts", "customer_read_customers"), lines: good, overall: checker.OK, account: shop}, handles("write_orders", "unauthenticated_write_checkouts", "customer_write_customers")},
		{probed{name: "to read is not to write", needs: needs("write_products"), lines: lacks, overall: checker.Warning, missing: "write_products", code: fault.InsufficientScope, account: shop}, handles("read_products")},
		{probed{name: "of another API", needs: needs("read_checkouts"), lines: lacks, overall: checker.Warning, missing: "read_checkouts", code: fault.InsufficientScope, account: shop}, handles("unauthenticated_write_checkouts")},
		{probed{name: "no scope", needs: needs("read_products"), lines: lacks, overall: checker.Warning, missing: "read_products", code: fault.InsufficientScope, account: shop}, handles()},
		{probed{name: "many scopes", needs: needs("read_thing_119"), lines: good, overall: checker.OK, account: shop, says: "and 100 more"}, handles(many...)},
		{probed{name: "401", lines: "authorization:error", overall: checker.Error, code: fault.CredentialsRejected, says: "unrecognized login or wrong password"}, shopSays(401, "[API] Invalid API key or access token (unrecognized login or wrong password)")},
		{probed{name: "402, frozen", lines: "authorization:warning", overall: checker.Warning, code: fault.AccountUnpaid, says: "pays the outstanding balance"}, says(402, `{"errors":"Unavailable Shop"}`)},
		{probed{name: "403, the merchant's approval", lines: lacks, overall: checker.Warning, missing: "read_customers", code: fault.InsufficientScope}, shopSays(403, "[API] This action requires merchant approval for read_customers scope.")},
		{probed{name: "403, the merchant's approval of something", lines: lacks, overall: checker.Warning, code: fault.InsufficientScope}, shopSays(403, "[API] This action requires merchant approval for the necessary scope.")},
		{probed{name: "403, protected data", lines: "authorization:error", overall: checker.Error, code: fault.AppNotVerified, says: "protected customer data"}, shopSays(403, "[API] This app is not approved to access REST endpoints with protected customer data.")},
		{probed{name: "403, in other words", lines: "authorization:unverifiable permissions:warning", overall: checker.Warning, code: fault.InsufficientPermission}, shopSays(403, "User does not have access")},
		{probed{name: "404", lines: "authorization:error", overall: checker.Error, code: fault.WrongSurface, says: "Not Found"}, shopSays(404, "Not Found")},
		{probed{name: "423, locked", lines: "authorization:error", overall: checker.Error, code: fault.AccountInactive, says: "This store is unavailable"}, shopSays(423, "This store is unavailable")},
		{probed{name: "429", lines: "authorization:unverifiable", overall: checker.Unknown, code: fault.UpstreamRateLimited}, shopSays(429, "Exceeded 2 calls per second for api client. Reduce request rates to resume uninterrupted service.")},
		{probed{name: "200, ACCESS_DENIED", lines: lacks, overall: checker.Warning, code: fault.InsufficientScope}, says(200, `{"errors":[{"message":"Access denied for shop field.","extensions":{"code":"ACCESS_DENIED"}}]}`)},
		{probed{name: "200, THROTTLED", lines: "authorization:unverifiable", overall: checker.Unknown, code: fault.UpstreamRateLimited}, says(200, `{"errors":[{"message":"Throttled","extensions":{"code":"THROTTLED"}}]}`)},
		{probed{name: "200 with an error", lines: "authorization:unverifiable", overall: checker.Warning, says: "something"}, shopSays(200, "something")},
		{probed{name: "no list", lines: "authorization:ok scopes:unverifiable", overall: checker.Warning, code: fault.UpstreamInvalid, account: shop}, says(200, `{"shop":{}}`)},
		{probed{name: "a redirect to the login", lines: "authorization:unverifiable", overall: checker.Warning}, says(303, ``, "Location", "/admin/auth/login")},
		{probed{name: "503", lines: "authorization:unverifiable", overall: checker.Unknown}, away},
		{probed{name: "a page", lines: "authorization:unverifiable", overall: checker.Warning}, aPage},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.verified("GET /admin/oauth/access_scopes.json", c.scopes).run(t, shopify, record("api_key", "api_key", shopToken), 1, "5h0p1fy")
		})
	}
}

// An entry that verifies with another request still learns the scopes, whatever
// path its base URL has.
func TestShopifyVerifiedOtherwise(t *testing.T) {
	const shop, list = "GET /admin/api/2026-01/shop.json", "GET /admin/oauth/access_scopes.json"
	otherwise := func(base string) *provider.Provider {
		p := shopify(base)
		p.BaseURL, p.Verify.Path = base+"/admin/api/2026-01", "/shop.json"
		return p
	}
	needs := provider.Needs{Scopes: []string{"read_orders"}}
	for _, c := range []probed{
		{name: "good", needs: needs, answers: map[string]http.HandlerFunc{shop: says(200, `{"shop":{"name":"Acme"}}`), list: handles("write_orders")}, lines: "authorization:ok scopes:ok", overall: checker.OK, account: "127.0.0.1 (shop)"},
		{name: "a scope for the shop is missing, and another", needs: needs, answers: map[string]http.HandlerFunc{shop: shopSays(403, "[API] This action requires merchant approval for read_customers scope."), list: handles("read_products")}, lines: "authorization:ok scopes:warning", overall: checker.Warning, missing: "read_customers read_orders", code: fault.InsufficientScope, says: "granted: read_products"},
		{name: "the list is throttled", needs: needs, answers: map[string]http.HandlerFunc{shop: says(200, `{"shop":{}}`), list: throttled}, lines: "authorization:ok scopes:unverifiable", overall: checker.Warning, code: fault.UpstreamRateLimited, account: "127.0.0.1 (shop)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, played := c.run(t, otherwise, record("api_key", "api_key", shopToken), 2, "5h0p1fy")
			for _, r := range played.seen {
				if r.Header.Get("X-Shopify-Access-Token") != shopToken || r.URL.Query().Encode() != (url.Values{}).Encode() {
					t.Errorf("%s %s without the token", r.Method, r.URL)
				}
			}
		})
	}
}
