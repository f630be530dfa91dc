package checker

import (
	"context"
	"encoding/json"
	"net/http"
	"regexp"
	"strings"

	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
)

// shopifyProbe reads the list of scopes, which every token may.
var shopifyProbe = probe{ask: askShopify, explain: explainShopify, contains: shopifyReads}

// shopifyReads: a scope to write contains the one to read the same, also of the
// Storefront and Customer Account APIs.
func shopifyReads(scope string) []string {
	for _, of := range []string{"", "unauthenticated_", "customer_"} {
		if resource, ok := strings.CutPrefix(scope, of+"write_"); ok {
			return []string{of + "read_" + resource}
		}
	}
	return nil
}

// shopifyScopes is where a token's scopes are listed, whatever path the base URL has.
const shopifyScopes = "/admin/oauth/access_scopes.json"

func askShopify(ctx context.Context, a *asker, first reply) {
	if first.means == provider.Unpaid || first.means == provider.Inactive { // every answer of a shop that is closed
		return
	}
	r := first
	if !strings.HasSuffix(a.p.Verify.Path, "/access_scopes.json") {
		r = a.root(ctx, shopifyScopes)
	}
	if u, err := a.base(a.inj); err == nil && first.good() {
		a.belongs(u.Hostname(), "shop")
	}
	var list struct {
		Scopes []struct{ Handle string } `json:"access_scopes"`
	}
	v, noted := a.lines[Scopes]
	switch {
	case r.decode(&list) && list.Scopes != nil:
	case noted: // what the verify request asked for
		return
	default:
		a.note(Scopes, r.unanswered().unsure())
		return
	}
	has := make([]string, 0, len(list.Scopes))
	for _, s := range list.Scopes {
		has = append(has, s.Handle)
	}
	if noted {
		a.note(Scopes, a.among(v, has))
		return
	}
	a.granted(has)
}

// shopifyWants is where Shopify's words name a scope that the merchant did not approve.
var shopifyWants = regexp.MustCompile(`merchant approval for (\w+_\w+)`)

// explainShopify adds Shopify's words, and what its statuses mean.
func explainShopify(a *asker, r reply, v verdict) verdict {
	said := shopifyMessage(r)
	switch {
	case r.fault != nil, r.good():
		return v
	case r.means == provider.Scope:
		if m := shopifyWants.FindStringSubmatch(said); m != nil {
			a.note(Scopes, lacking(fault.InsufficientScope, []string{m[1]}, detailOf(r.String(), m[1:2])))
		}
		return v
	case r.status == http.StatusPaymentRequired:
		return v.saying(said).saying("the shop is frozen until its owner pays the outstanding balance")
	case r.status == http.StatusLocked:
		return v.saying(said).saying("the shop is locked: its owner has to ask Shopify's support")
	case r.status == http.StatusUnauthorized:
		return v.saying(said).saying("the token is wrong, or the app was uninstalled from the shop")
	}
	return v.saying(said)
}

// shopifyMessage gives what an error says: a text, or texts by what they are about.
func shopifyMessage(r reply) string {
	var body struct{ Errors any }
	_ = json.Unmarshal(r.body, &body) // what is no JSON says nothing
	text, _ := body.Errors.(string)
	return text
}
