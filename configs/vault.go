package configs

import (
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/provider"
)

var transitKey = regexp.MustCompile(`^transit:[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$`)

func (r *report) store(s *Store) {
	if s.Key != "" && !transitKey.MatchString(s.Key) {
		r.add("store.key", `%q is no key; use "transit:KEY", the name of a key of Vault's transit engine`, s.Key)
	}
}

// vault judges the table [vault] where Vault is used.
func (r *report) vault(f *form) {
	v := &f.Vault
	switch {
	case v.Address == "":
		r.add("vault.address", "is empty, but %s; set it or VAULT_ADDR, for example https://vault.internal:8200", whyVault(f))
	case strings.HasPrefix(v.Address, "unix:"):
		if !path.IsAbs(socketOf(v.Address)) {
			r.add("vault.address", "%q names no absolute path; use unix:///PATH", v.Address)
		}
	default:
		r.url("vault.address", v.Address, true)
	}
	v.Mount, v.Prefix = strings.Trim(v.Mount, "/"), strings.Trim(v.Prefix, "/")
	for _, s := range []struct{ key, path string }{{"vault.mount", v.Mount}, {"vault.prefix", v.Prefix}, {"vault.auth.mount", strings.Trim(v.Auth.Mount, "/")}} {
		if s.path != "" && !vaultPath(s.path) {
			r.add(s.key, "%q is not a path in Vault; use names with / between them", s.path)
		}
	}
	if v.Mount == "" {
		r.add("vault.mount", `is empty; use the path of the KV engine, for example "secret"`)
	}
	if (v.ClientCertFile == "") != (v.ClientKeyFile == "") {
		r.add("vault", "client_cert_file and client_key_file belong together; set both or none")
	}
	r.vaultAuth(v)
}

// whyVault says what makes the daemon use Vault.
func whyVault(f *form) string {
	switch {
	case f.Store.Backend == "vault":
		return `store.backend is "vault"`
	case f.Store.Key != "":
		return "store.key is a key in Vault"
	}
	return "a [[credential]] lies in Vault"
}

// socketOf gives the path of unix:///PATH, or of unix:/PATH.
func socketOf(address string) string {
	return strings.TrimPrefix(strings.TrimPrefix(address, "unix:"), "//")
}

func vaultPath(s string) bool {
	return path.Clean(s) == s && !strings.HasPrefix(s, "/") && !strings.HasPrefix(s, "..") && !strings.ContainsAny(s, "?#%\\ ") && !hasControl(s)
}

// vaultAuth tells what the chosen method lacks.
func (r *report) vaultAuth(v *Vault) {
	a := v.Auth
	for _, need := range []struct{ method, key, value string }{
		{"approle", "role_id_file", a.RoleIDFile},
		{"kubernetes", "role", a.Role},
		{"jwt", "jwt_file", a.JWTFile},
		{"userpass", "username", a.Username},
		{"userpass", "password_file", a.PasswordFile},
	} {
		if a.Method == need.method && need.value == "" {
			r.add("vault.auth."+need.key, "is empty; method %q needs it", a.Method)
		}
	}
	if a.SecretIDWrapped && a.SecretIDFile == "" {
		r.add("vault.auth.secret_id_wrapped", "needs secret_id_file, the file that holds the wrapping token")
	}
	if a.Method == "cert" && v.ClientCertFile == "" {
		r.add("vault.client_cert_file", `is empty; method "cert" logs in with it`)
	}
	if a.Method == "cert" && v.Address != "" && !strings.HasPrefix(v.Address, "https://") {
		r.add("vault.auth.method", `"cert" logs in by TLS, but vault.address is %s; use https://`, v.Address)
	}
}

// credentials judges and compiles [[credential]].
func (r *report) credentials(f *form, table *provider.Table, types func(string) (known, built bool)) []Credential {
	seen := map[credential.Ref]bool{}
	var out []Credential
	for i, c := range f.Credentials {
		key := index("credential", i)
		ref := credential.Ref{Workspace: c.Workspace, Environment: c.Environment, Provider: c.Provider, Name: c.Name}
		for _, p := range []struct{ key, s string }{{"workspace", c.Workspace}, {"environment", c.Environment}, {"provider", c.Provider}, {"name", c.Name}} {
			r.part(join(key, p.key), p.s)
		}
		if seen[ref] {
			r.add(key, "is the second one of %s; a reference names one secret", ref)
		}
		seen[ref] = true
		if p := table.Get(c.Provider); p != nil {
			r.credentialType(join(key, "type"), c.Type, p, types)
		} else if credential.ValidPart(c.Provider) {
			r.add(join(key, "provider"), "%q is not a provider%s", c.Provider, r.hintProvider(c.Provider, table))
		}
		c.Path = strings.Trim(c.Path, "/")
		if !vaultPath(c.Path) || !strings.Contains(c.Path, "/") {
			r.add(join(key, "path"), `%q is not the path of a secret; use MOUNT/PATH as vault kv get takes it, for example "kv/team-a/crm", without data/`, c.Path)
		}
		for _, name := range slices.Sorted(maps.Keys(c.Fields)) {
			if name == "" || c.Fields[name] == "" {
				r.add(join(join(key, "fields"), name), "is empty; write OURS = \"THEIRS\", the names of two fields")
			}
		}
		out = append(out, Credential{ref, c.Type, c.Path, c.Fields})
	}
	return out
}

func (r *report) credentialType(key, name string, p *provider.Provider, types func(string) (known, built bool)) {
	known, built := types(name)
	switch {
	case name == "":
	case !known:
		r.add(key, "%q is not a credential type%s", name, hint(name, documentedTypes))
	case !built:
		r.add(key, "%q is not built yet", name)
	case name != p.Type && !slices.Contains(p.Types, name):
		r.add(key, "%q is not a type that provider %s accepts; use %s", name, p.Name, listWords(append([]string{p.Type}, p.Types...)))
	}
}
