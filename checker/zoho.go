package checker

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"strings"
)

// zohoProbe is of all of Zoho's products. Its introspection endpoint takes the
// client's secret in the header only.
var zohoProbe = probe{ask: askZoho, explain: explainZoho, contains: zohoScopes, clientAuth: "basic"}

// askZoho reads whose the credential is from the verify requests of CRM, Mail and
// Books.
func askZoho(_ context.Context, a *asker, first reply) {
	var body struct {
		Users []struct {
			Email   string
			Profile struct{ Name string }
		}
		Data          []struct{ PrimaryEmailAddress string }
		Organizations []struct{ Name string }
	}
	if !first.decode(&body) {
		return
	}
	switch {
	case len(body.Users) > 0:
		a.belongs(body.Users[0].Email, body.Users[0].Profile.Name)
	case len(body.Data) > 0:
		a.belongs(body.Data[0].PrimaryEmailAddress, "")
	case len(body.Organizations) > 0:
		a.belongs(body.Organizations[0].Name, "organization")
	}
}

// zohoOperations are what the last part of a scope allows; ALL is all of them.
var zohoOperations = []string{"READ", "CREATE", "UPDATE", "DELETE"}

// zohoScopes: SERVICE.GROUP.ALL contains the group's other operations. Zoho's pages
// spell operations in either case.
func zohoScopes(scope string) []string {
	i := strings.LastIndexByte(scope, '.')
	group, op := scope[:i+1], strings.ToUpper(scope[i+1:])
	if i < 0 || op != "ALL" && !slices.Contains(zohoOperations, op) {
		return nil
	}
	ops := []string{op}
	if op == "ALL" {
		ops = append(ops, zohoOperations...)
	}
	var names []string
	for _, o := range ops {
		names = append(names, group+o, group+strings.ToLower(o))
	}
	return names
}

// explainZoho names Zoho's code, and the mistake that looks like a wrong token.
func explainZoho(a *asker, r reply, v verdict) verdict {
	var body struct {
		Code    any // a word, or a number
		Message string
	}
	if r.good() || json.Unmarshal(r.body, &body) != nil {
		return v
	}
	code, _ := body.Code.(string)
	v = v.saying(cmp.Or(code, body.Message))
	if dc := a.text("dc"); r.means.Rejects() && dc != "" {
		v = v.saying("a token of another data centre than " + dc + " is refused alike")
	}
	return v
}
