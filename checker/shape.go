package checker

import (
	"regexp"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/auth"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
	"github.com/sallyport/sallyport/internal/secret"
)

// defect is what can be seen in a field without asking anybody.
type defect struct {
	code fault.Code
	kind fault.Kind
	text string
	sure bool // whatever the provider says: a key that only looks unusual may be good
}

// Patterns of what gets pasted along with a key.
var (
	outerSpace = regexp.MustCompile(`^\s|\s$`)
	innerSpace = regexp.MustCompile(`\s`)
	scheme     = regexp.MustCompile(`(?i)^(bearer|basic|token|apikey|authorization:)\s`)
	quotes     = regexp.MustCompile("^\".*\"$|^'.*'$|^`.*`$")
	pem        = regexp.MustCompile(`-----BEGIN `)
)

// keyFields are the fields that hold a key or token as providers make them: one word.
var keyFields = []string{"token", "api_key", "api_secret", "access_token", "refresh_token", "client_secret", "secret_access_key"}

// OneWord reports whether a field holds a key or token as providers make them:
// white space at its ends is no part of it.
func OneWord(field string) bool { return slices.Contains(keyFields, field) }

// Trimmed gives r with a warning of fields that came with white space at their
// ends, which was left out before the check.
func (r *Report) Trimmed(fields []string) *Report {
	if len(fields) == 0 {
		return r
	}
	c := *r
	c.Checks = slices.Clone(r.Checks)
	for i, l := range c.Checks {
		if l.Name == Authorization {
			c.Checks[i].Detail = l.Detail + "; white space at the ends of " + strings.Join(fields, ", ") + " was left out"
			if l.Status == OK {
				c.Checks[i].Status = Warning
			}
		}
	}
	if c.Status == OK {
		c.Status = Warning
	}
	return &c
}

// look is what keys of a provider look like.
type look struct {
	like    *regexp.Regexp // keys that its API takes
	another map[string]*regexp.Regexp
	trial   *regexp.Regexp // those of its test mode; nil: there is none
	hint    string         // how the key begins, for people
}

// looks by the provider's name, or by what stands before the first dash of it, as
// it says itself or as scanners of leaked keys know them. Nobody writes it.
var looks = map[string]look{
	"github": {
		like: regexp.MustCompile(`^(ghp|gho|ghu|ghs)_[A-Za-z0-9_]{36,255}$|^github_pat_|^[0-9a-f]{40}$`), hint: "ghp_ or github_pat_",
		another: map[string]*regexp.Regexp{"a refresh token, not an access token": regexp.MustCompile(`^ghr_`)},
	},
	"gitlab": {
		like: regexp.MustCompile(`^glpat-`), hint: "glpat-",
		another: map[string]*regexp.Regexp{"a token of a runner, trigger, feed, agent or deployment, which the API does not take": regexp.MustCompile(`^gl(rt|ptt|ft|agent|dt)-`)},
	},
	"slack": {
		like: regexp.MustCompile(`^xox[a-z](-|\.)`), hint: "xoxb- or xoxp-",
		another: map[string]*regexp.Regexp{
			"an app-level token, which the Web API does not take": regexp.MustCompile(`^xapp-`),
			"a refresh token, not an access token":                regexp.MustCompile(`^xox[er]-`),
		},
	},
	"stripe": {
		like: regexp.MustCompile(`^(sk|rk)_(live|test)_`), trial: regexp.MustCompile(`^(sk|rk)_test_`), hint: "sk_ or rk_",
		another: map[string]*regexp.Regexp{
			"a publishable key; the secret key is needed":           regexp.MustCompile(`^pk_(live|test)_`),
			"the signing secret of a webhook; an API key is needed": regexp.MustCompile(`^whsec_`),
		},
	},
	"notion":                  {like: regexp.MustCompile(`^(ntn|secret)_`), hint: "ntn_ or secret_"},
	"mailchimp-transactional": {like: regexp.MustCompile(`^md-`), hint: "md-"},
	"activecampaign":          {like: regexp.MustCompile(`^[0-9a-f]{72}$`), hint: "72 hexadecimal digits"},
	"mailjet":                 {like: regexp.MustCompile(`^[0-9a-f]{32}$`), hint: "32 hexadecimal digits"},
	"copper":                  {like: regexp.MustCompile(`^[0-9a-f]{32}$`), hint: "32 hexadecimal digits"},
	"clickup":                 {like: regexp.MustCompile(`^pk_`), hint: "pk_"},
	"brevo":                   {like: regexp.MustCompile(`^xkeysib-`), hint: "xkeysib-"},
	"hubspot":                 {like: regexp.MustCompile(`^pat-[a-z]{2}`), hint: "pat-"},
	"shopify":                 {like: regexp.MustCompile(`^shp[a-z]{2}_`), hint: "shpat_"},
	"zoho":                    {like: regexp.MustCompile(`^1000\.`), hint: "1000."},
}

// looksOf gives how keys of a provider look; false: it is not known.
func looksOf(name string) (look, bool) {
	if l, ok := looks[name]; ok {
		return l, true
	}
	family, _, _ := strings.Cut(name, "-")
	l, ok := looks[family]
	return l, ok
}

// telling are beginnings that no other provider's keys have.
var telling = map[string]*regexp.Regexp{
	"github": regexp.MustCompile(`^(ghp|gho|ghu|ghs|ghr)_[A-Za-z0-9]{20}|^github_pat_`), "gitlab": regexp.MustCompile(`^glpat-`),
	"slack": regexp.MustCompile(`^xox[abp]-[0-9]|^xoxe[.-]`), "stripe": regexp.MustCompile(`^(sk|rk)_(live|test)_`), "brevo": regexp.MustCompile(`^xkeysib-`),
	"shopify": regexp.MustCompile(`^shpat_`), "hubspot": regexp.MustCompile(`^pat-(na|eu)[0-9]-`),
}

// defects looks at the fields of the record; the first found comes first. No
// value is part of what is told.
func (t *trial) defects() []defect {
	kind, _ := auth.Lookup(auth.TypeOf(t.p, t.cred))
	var found []defect
	for _, field := range kind.Fields() {
		if v := t.cred.Field(field); !v.Empty() && slices.Contains(keyFields, field) && !v.Matches(pem) {
			found = append(found, pasted(field, v, t.whole(field))...)
		}
	}
	if kind.Grant == "" && len(found) == 0 {
		found = t.kindOfKey(kind)
	}
	return found
}

// whole reports whether a field is all of Authorization, the scheme too, as of
// entries that were made of an OpenAPI description.
func (t *trial) whole(field string) bool {
	return slices.ContainsFunc(t.p.Places, func(p provider.Place) bool {
		return p.In == provider.InHeader && strings.EqualFold(p.Name, "Authorization") && strings.HasPrefix(p.Value, "{"+field+"}")
	})
}

// pasted finds what came along with a key; whole: a scheme belongs to it.
func pasted(field string, v secret.Value, whole bool) []defect {
	form := func(text string) []defect {
		return []defect{{fault.CredentialMisplaced, fault.KeyPasted, "the field " + field + " " + text, true}}
	}
	switch {
	case v.Matches(scheme) && !whole:
		return form("begins with the name of a scheme, such as Bearer, that was pasted along with the key; the key alone is needed")
	case v.Matches(outerSpace):
		return form("begins or ends with white space")
	case v.Matches(quotes):
		return form("stands in quotes that are no part of the key")
	case v.Matches(innerSpace) && !whole:
		return form("has white space in it")
	}
	return nil
}

// kindOfKey finds keys of another kind, mode or provider.
func (t *trial) kindOfKey(kind auth.Kind) []defect {
	var found []defect
	known, ok := looksOf(t.p.Name)
	for _, field := range []string{"token", "api_key", "api_secret"} {
		v := t.cred.Field(field)
		if v.Empty() || !slices.Contains(kind.Required, field) {
			continue
		}
		if other := keyOf(t.p.Name, v); other != "" {
			return []defect{{fault.WrongSurface, fault.KeyOfOther, "the field " + field + " holds what looks like a key of " + other, true}}
		}
		for what, pattern := range known.another {
			if v.Matches(pattern) {
				return []defect{{fault.WrongSurface, fault.KeyOfOther, "the field " + field + " holds " + what, true}}
			}
		}
		switch {
		case known.trial != nil && v.Matches(known.trial) && t.cred.Ref.Environment == "production":
			found = append(found, defect{fault.WrongSurface, fault.KeyOfOther, "the environment is production, and the key is of the test mode", true})
		case ok && !v.Matches(known.like):
			found = append(found, defect{fault.CredentialsRejected, "", "keys of " + t.p.Name + " look otherwise (" + known.hint + ")", false})
		}
	}
	return found
}

// keyOf names another provider whose keys begin so; empty: none is known.
func keyOf(name string, v secret.Value) string {
	family, _, _ := strings.Cut(name, "-")
	if _, known := looksOf(name); !known {
		return ""
	}
	for other, pattern := range telling {
		if other != name && other != family && v.Matches(pattern) {
			return other
		}
	}
	return ""
}

// shaped adds to the verdict on the authorization what can be seen in the record.
func (t *trial) shaped(v verdict) verdict {
	for _, d := range t.defects() {
		switch {
		case v.status == OK && d.sure:
			v = warning(d.code, v.detail+"; but "+d.text)
			v.fault = v.fault.Of(d.kind)
		case v.status == OK:
		case v.fault != nil && v.fault.Code == fault.CredentialsRejected:
			v.detail += "; " + d.text
			v.fault = fault.New(d.code, d.text, nil).Of(d.kind)
		default:
			v.detail += "; " + d.text
		}
	}
	return v
}
