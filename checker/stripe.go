package checker

import (
	"cmp"
	"context"
	"encoding/json"
	"regexp"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
)

// stripeProbe reads the balance, or how Stripe refuses it. Nothing else is asked:
// what a restricted key may do Stripe tells only one refusal at a time.
var stripeProbe = probe{ask: askStripe, explain: explainStripe}

// stripeKinds are what keys are to Stripe, by how they begin.
var stripeKinds = map[string]string{
	"sk_live_": "a secret key", "sk_test_": "a secret key of the test mode",
	"rk_live_": "a restricted key", "rk_test_": "a restricted key of the test mode",
}

// stripeKind gives what the key is, else the mode of the token by what the answer
// says of it; empty: neither is told.
func stripeKind(a *asker, r reply) string {
	if kind := stripeKinds[a.begins("sk_live_", "sk_test_", "rk_live_", "rk_test_")]; kind != "" {
		return kind
	}
	var body struct{ Livemode *bool }
	if r.decode(&body) && body.Livemode != nil && !*body.Livemode {
		return "a token of the test mode"
	}
	return ""
}

// Stripe's words on what a key lacks, and whose it is.
var (
	stripeLacks   = regexp.MustCompile(`'(rak_[a-z0-9_]+)'`)
	stripeAccount = regexp.MustCompile(`\bon account '(acct_[0-9A-Za-z]+)'`)
)

func askStripe(_ context.Context, a *asker, first reply) {
	said := stripeError(first)
	if m := stripeAccount.FindStringSubmatch(said.Message); m != nil {
		a.belongs(m[1], "account")
	}
	switch {
	case first.means == provider.Permission:
		v := stripePermissions(a.needs.Permissions, said.Message, first)
		if a.begins("rk_live_", "rk_test_") != "" {
			v = v.ofKey()
		}
		a.note(Permissions, v)
	case !first.good() || a.begins("sk_live_", "sk_test_") == "":
	case len(a.needs.Permissions) > 0:
		a.note(Permissions, ok("a secret key may do all that the API does"))
	default:
		a.without(Permissions)
	}
}

// stripePermissions judges a refusal of the verify request, which the flows of a
// restricted key may never make: where it is said what they need, only that counts.
func stripePermissions(needs []string, message string, r reply) verdict {
	var lacks []string
	for _, m := range stripeLacks.FindAllStringSubmatch(message, maxNames) {
		lacks = append(lacks, m[1])
	}
	missing := short(sortedUnique(lacks))
	if len(needs) > 0 {
		missing = slices.DeleteFunc(slices.Clone(needs), func(n string) bool {
			return !slices.ContainsFunc(lacks, func(l string) bool { return stripeImplies(n, l) })
		})
	}
	switch {
	case len(missing) > 0:
		return lacking(fault.InsufficientPermission, missing, "missing: "+named(missing)).saying(message)
	case len(needs) > 0:
		return unverifiable("Stripe does not show: " + named(needs) + "; it refuses the verify request for want of another: " + cmp.Or(named(short(lacks)), r.String()))
	}
	return lacking(fault.InsufficientPermission, nil, r.String()).saying(message)
}

// stripeImplies reports whether who has permission has part too: to write implies
// to read.
func stripeImplies(permission, part string) bool {
	resource, writes := strings.CutSuffix(permission, "_write")
	return permission == part || writes && part == resource+"_read"
}

// stripeFault is what an error says.
type stripeFault struct{ Code, Message string }

func stripeError(r reply) stripeFault {
	var body struct{ Error stripeFault }
	if r.good() || json.Unmarshal(r.body, &body) != nil {
		return stripeFault{}
	}
	return body.Error
}

// explainStripe says what the key is, and in Stripe's words why it was refused.
func explainStripe(a *asker, r reply, v verdict) verdict {
	switch said := stripeError(r); {
	case r.fault != nil:
	case r.good() && v.status == OK:
		if kind := stripeKind(a, r); kind != "" {
			v.detail = "it is " + kind
		}
	case r.good():
	case r.means == provider.Permission: // the line of the permissions says it
	case said.Code == "api_key_expired":
		return v.saying(said.Message).saying("it has expired, or was rolled: its account has a newer one")
	case r.means == provider.Surface:
		return stripeSurface(r, said, v).saying(said.Message)
	default:
		return v.saying(said.Message)
	}
	return v
}

// stripeSurface is the verdict on a key of another kind, which is refused, or of
// the other mode, which is taken: it looks at other data.
func stripeSurface(r reply, said stripeFault, v verdict) verdict {
	if strings.Contains(said.Message, "a similar object exists in") {
		v = verdict{status: Warning, detail: r.String() + "; the credential is accepted", fault: v.fault}
	}
	v.fault = v.fault.Of(fault.KeyOfOther)
	return v
}
