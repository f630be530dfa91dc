package configs

import (
	"cmp"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

const envPrefix = "SALLYPORT_"

// otherVariables begin like ours but set no key: those of the commands and the
// tests, and what Kubernetes sets in every pod beside a service called sallyport.
var otherVariables = []string{
	"SALLYPORT_CONFIG", "SALLYPORT_STATE_DIR", "SALLYPORT_CALLER_TOKEN", "SALLYPORT_TEST_*",
	"SALLYPORT_PORT", "SALLYPORT_PORT_*", "SALLYPORT_SERVICE_*",
}

// vaultVariables are Vault's own: they count where Vault is used, for keys that
// nothing else sets.
var vaultVariables = []struct {
	name, path string
	key        func(*Vault) *string
}{
	{"VAULT_ADDR", "vault.address", func(v *Vault) *string { return &v.Address }},
	{"VAULT_NAMESPACE", "vault.namespace", func(v *Vault) *string { return &v.Namespace }},
	{"VAULT_CACERT", "vault.ca_file", func(v *Vault) *string { return &v.CAFile }},
}

// environment splits NAME=VALUE; of a name that comes twice the last counts.
func environment(environ []string) map[string]string {
	env := make(map[string]string, len(environ))
	for _, e := range environ {
		if name, value, ok := strings.Cut(e, "="); ok {
			env[name] = value
		}
	}
	return env
}

// variable is one key that the environment can set.
type variable struct {
	path string
	typ  reflect.Type
}

// variables gives the keys of all tables but arrays of tables by the name of
// their variable: proxy.listen is SALLYPORT_PROXY_LISTEN.
func variables() map[string]variable {
	vars := map[string]variable{}
	addVariables(vars, "", reflect.TypeFor[form]())
	return vars
}

func addVariables(vars map[string]variable, path string, t reflect.Type) {
	for _, f := range keysOf(t) {
		typ, key := t.Field(f.index).Type, join(path, f.name)
		switch {
		case isTable(typ):
			addVariables(vars, key, typ)
		case typ.Kind() == reflect.Slice && isTable(typ.Elem()), typ.Kind() == reflect.Map:
		default:
			vars[envPrefix+strings.ToUpper(strings.ReplaceAll(key, ".", "_"))] = variable{key, typ}
		}
	}
}

// overlay sets the keys of tree that the environment names.
func (r *report) overlay(tree map[string]any, env map[string]string) {
	vars := variables()
	for _, name := range slices.Sorted(maps.Keys(env)) {
		v, ok := vars[name]
		if !ok {
			r.stray(name, vars)
			continue
		}
		value, ok := fromText(env[name], v.typ)
		if !ok {
			r.list = append(r.list, Fault{Key: name, Detail: strconv.Quote(env[name]) + " is not " + wanted(v.typ)})
			continue
		}
		if put(tree, strings.Split(v.path, "."), value) {
			r.env[v.path] = name
		}
	}
}

// stray tells a variable that begins like ours but is nobody's.
func (r *report) stray(name string, vars map[string]variable) {
	known := func(pattern string) bool {
		begin, open := strings.CutSuffix(pattern, "*")
		return name == pattern || open && strings.HasPrefix(name, begin)
	}
	if !strings.HasPrefix(name, envPrefix) || slices.ContainsFunc(otherVariables, known) {
		return
	}
	hint := ""
	if near := nearest(name, slices.Sorted(maps.Keys(vars))); near != "" {
		hint = "; did you mean " + near + "?"
	}
	r.list = append(r.list, Fault{Key: name, Detail: "is an environment variable that sets no key" + hint})
}

// put sets a key, making the tables above it. Where the file has something else
// in the place of a table it sets nothing: that is a fault of its own.
func put(tree map[string]any, keys []string, value any) bool {
	for _, k := range keys[:len(keys)-1] {
		if tree[k] == nil {
			tree[k] = map[string]any{}
		}
		next, ok := tree[k].(map[string]any)
		if !ok {
			return false
		}
		tree = next
	}
	tree[keys[len(keys)-1]] = value
	return true
}

// fromText gives a variable's text as TOML would have parsed it for a key of
// type t; lists are separated by commas.
func fromText(s string, t reflect.Type) (any, bool) {
	if t.Kind() == reflect.Slice {
		elements := []any{}
		for _, part := range strings.FieldsFunc(s, func(r rune) bool { return r == ',' }) {
			e, ok := fromText(strings.TrimSpace(part), t.Elem())
			if !ok {
				return nil, false
			}
			elements = append(elements, e)
		}
		return elements, true
	}
	switch t.Kind() {
	case reflect.Bool:
		b, err := strconv.ParseBool(s)
		return b, err == nil
	case reflect.Int:
		n, err := strconv.ParseInt(s, 10, 64)
		return n, err == nil
	case reflect.Float64:
		f, err := strconv.ParseFloat(s, 64)
		return f, err == nil
	}
	return s, true
}

func wanted(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Slice:
		return "a list of whole numbers, separated by commas"
	case reflect.Bool:
		return "true or false"
	case reflect.Int:
		return "a whole number"
	}
	return "a number"
}

// vaultDefaults lets Vault's variables set what tree does not.
func (r *report) vaultDefaults(v *Vault, tree map[string]any, env map[string]string) {
	table, _ := tree["vault"].(map[string]any)
	for _, e := range vaultVariables {
		_, key, _ := strings.Cut(e.path, ".")
		if _, ok := table[key]; !ok && env[e.name] != "" {
			*e.key(v), r.env[e.path] = env[e.name], e.name
		}
	}
}

// skipVerify refuses to be told not to verify Vault's certificate.
func (r *report) skipVerify(env map[string]string) {
	if skip, err := strconv.ParseBool(cmp.Or(env["VAULT_SKIP_VERIFY"], "false")); skip || err != nil {
		r.list = append(r.list, Fault{Key: "VAULT_SKIP_VERIFY", Detail: "is refused: Vault's certificate is always verified; unset it and use vault.ca_file or VAULT_CACERT"})
	}
}

// used names the variables that count in f, sorted.
func (r *report) used(f *form, env map[string]string) []string {
	names := slices.Collect(maps.Values(r.env))
	if env["VAULT_TOKEN"] != "" && f.usesVault() && f.Vault.Auth.Method == "token" && f.Vault.Auth.TokenFile == "" {
		names = append(names, "VAULT_TOKEN")
	}
	slices.Sort(names)
	return names
}
