package configs

import (
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/provider"
)

// documentedTypes are the credential types; which are built is not known here.
var documentedTypes = []string{
	"bearer", "api_key", "api_key_secret", "api_key_url", "basic", "basic_url", "basic_api_key",
	"oauth2_authorization_code", "oauth2_client_credentials", "oauth2_password", "oauth2_refresh_token",
	"oauth2_jwt_bearer", "oauth2_token_exchange", "oauth1", "aws_sigv4", "hmac", "github_app", "two_step", "mtls", "database",
}

func documented(name string) (known, built bool) {
	known = slices.Contains(documentedTypes, name)
	return known, known
}

// urlTypes have a field url, which is a host of their own.
var urlTypes = []string{"api_key_url", "basic_url", "basic_api_key", "github_app", "two_step"}

// providers merges the catalogue and [[provider]], and compiles the entries.
// f.Providers become the merged ones.
func (r *report) providers(f *form, tree map[string]any, types func(string) (known, built bool)) []*provider.Provider {
	builtin, err := catalogue()
	if err != nil {
		r.list = append(r.list, Fault{Detail: "built-in catalogue: " + err.Error()})
		return nil
	}
	j := &judge{report: r, types: types}
	var out []*provider.Provider
	elements := tablesOf(tree["provider"])
	named := map[string]bool{}
	for i := range f.Providers {
		if elements[i] == nil { // no table
			continue
		}
		path, name := index("provider", i), f.Providers[i].Name
		r.part(join(path, "name"), name)
		if named[name] {
			r.add(join(path, "name"), "%q is the name of two [[provider]] entries", name)
			continue
		}
		named[name] = true
		base, isBuiltin := builtin[name]
		j.defaultType(join(path, "type"), f.Providers[i].Type)
		if isBuiltin {
			f.Providers[i] = r.entry(path, merge(base.tree, elements[i]))
			r.moved(path, base.tree, f.Providers[i])
		}
		p := j.compile(path, f.Providers[i], "")
		p.Builtin, p.Configured, p.Note = isBuiltin, true, base.note
		out = append(out, p)
	}
	out = append(out, j.unnamed(builtin, named)...)
	slices.SortFunc(out, func(a, b *provider.Provider) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// unnamed compiles the entries of the catalogue that the configuration does not name.
func (j *judge) unnamed(builtin map[string]shipped, named map[string]bool) (out []*provider.Provider) {
	for _, name := range slices.Sorted(maps.Keys(builtin)) {
		if named[name] {
			continue
		}
		path := join("provider", name)
		p := j.compile(path, j.report.entry(path, builtin[name].tree), builtin[name].sum)
		p.Builtin, p.Note = true, builtin[name].note
		out = append(out, p)
	}
	return out
}

// moved warns of an instance of one's own whose token endpoint is still that of
// the built-in entry: it would be sent the instance's client and grants.
func (r *report) moved(path string, base map[string]any, f providerForm) {
	endpoints, _ := base["oauth2"].(map[string]any)
	if url, _ := endpoints["token_url"].(string); base["base_url"] != f.BaseURL && url != "" && url == f.OAuth2.TokenURL {
		r.warnings = append(r.warnings, r.display(path)+": base_url is overridden, but oauth2.token_url is still "+url)
	}
}

// entry decodes the tree of one provider, whose own parts have been judged.
func (r *report) entry(path string, tree map[string]any) providerForm {
	var f providerForm
	f.setDefaults()
	d := &decoder{report: r, built: true}
	d.table(path, tree, reflect.ValueOf(&f).Elem(), false)
	return f
}
