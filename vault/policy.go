package vault

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/credential"
)

// Grant is what a policy must allow at one path.
type Grant struct {
	Path         string   `json:"path"`         // as in a policy: without /v1, and a * at its end stands for the rest of a path
	Capabilities []string `json:"capabilities"` // sorted: create, delete, list, read, update
	Why          string   `json:"why"`

	depth int // how many names of a record's path the * stands for
}

// GrantOptions say what a daemon does beyond what VaultOptions tell.
type GrantOptions struct {
	Folders  []credential.Ref // whose records it uses: WORKSPACE/ENVIRONMENT each; the zero Ref is every workspace
	ReadOnly bool             // it writes no record
	Transit  string           // the key of [store] key, KEY or MOUNT/KEY; "": none

	// Assume is told each path whose secrets engine Vault does not tell, because there is no login or it is denied. Our
	// own mount then counts as KV version 2. If nil, that is an error.
	Assume func(path string, err error)
}

// Grants gives the least that a daemon with these settings needs of Vault's policies: for its records, for what Refer
// was told, for the key of its store and for its token. It asks Vault only what the settings do not tell: the engine at
// a path.
func (v *Vault) Grants(ctx context.Context, o GrantOptions) ([]Grant, error) {
	var g grants
	if err := v.recordGrants(ctx, &g, o); err != nil {
		return nil, err
	}
	if err := v.referenceGrants(ctx, &g, o); err != nil {
		return nil, err
	}
	g.settle()
	if o.Transit != "" {
		v.transitGrants(&g, o.Transit)
	}
	v.tokenGrants(&g)
	return g.list, nil
}

// recordGrants are for our own records.
func (v *Vault) recordGrants(ctx context.Context, g *grants, o GrantOptions) error {
	folders := outermost(o.Folders)
	if len(folders) == 0 {
		return nil
	}
	m, err := v.kv(ctx)
	if err != nil {
		if o.Assume == nil {
			return err
		}
		o.Assume(v.o.Mount, err)
		m = mount{v.o.Mount, 2}
	}
	for _, f := range folders {
		v.folderGrants(g, m, f, o.ReadOnly)
	}
	v.appGrants(g, m, folders, o.ReadOnly)
	for _, f := range folders {
		if f.Workspace == "" {
			continue
		}
		g.add(m.at("metadata", v.name(""))+"/", "names of the workspaces, for listings of all; what lies in the others stays hidden", "list")
		if f.Environment != "" {
			g.add(m.at("metadata", v.name(f.Workspace))+"/", "names of the environments of "+f.Workspace+", for the same", "list")
		}
	}
	return nil
}

// folderGrants are for the records of one folder.
func (v *Vault) folderGrants(g *grants, m mount, f credential.Ref, readOnly bool) {
	parts := slices.DeleteFunc([]string{f.Workspace, f.Environment}, func(s string) bool { return s == "" })
	whose := strings.Join(parts, "/")
	if whose == "" {
		whose = "every workspace"
	}
	below(g, m, v.name(strings.Join(parts, "/")), 4-len(parts), "records of "+whose, "what is added and what is refreshed", readOnly)
}

// below adds the grants for all the secrets of a folder, which lie depth names deep in it.
func below(g *grants, m mount, folder string, depth int, what, stored string, readOnly bool) {
	at := func(kind, why string, capabilities ...string) {
		g.add(m.at(kind, folder+"/*"), what+": "+why, capabilities...).depth = depth
	}
	switch {
	case m.kv == 2 && readOnly:
		at("data", "read them", "read")
		at("metadata", "find them by name", "list")
	case m.kv == 2:
		at("data", "read them, store "+stored, "create", "read", "update")
		at("metadata", "find them by name, remove them with all their versions", "delete", "list")
	case readOnly:
		at("", "find and read them", "list", "read")
	default:
		at("", "find and read them, store "+stored+", remove them", "create", "delete", "list", "read", "update")
	}
}

// appGrants are for the OAuth clients of providers. Whoever uses the records of some workspaces only may use the shared
// ones, and not change them: that is for who may do so for all.
func (v *Vault) appGrants(g *grants, m mount, folders []credential.Ref, readOnly bool) {
	if folders[0].Workspace == "" {
		below(g, m, v.appName(""), 2, "OAuth clients", "those that are added", readOnly)
		return
	}
	g.add(m.at("data", v.appName("+")), "shared OAuth clients: read them; sallyport app add and rm of such a one are for a wider token", "read")
	g.add(m.at("metadata", v.appName(""))+"/", "names of the shared OAuth clients, and of the workspaces that have their own", "list")
	for i, f := range folders {
		if i == 0 || folders[i-1].Workspace != f.Workspace {
			below(g, m, v.appName(f.Workspace), 1, "OAuth clients of "+f.Workspace, "those that are added", readOnly)
		}
	}
}

// outermost sorts folders and leaves out those that lie in another.
func outermost(folders []credential.Ref) []credential.Ref {
	var out []credential.Ref
	for _, f := range slices.SortedFunc(slices.Values(folders), credential.Ref.Compare) { // a folder comes before what lies in it
		if len(out) == 0 || !f.In(out[len(out)-1]) {
			out = append(out, f)
		}
	}
	return out
}

// transitGrants are for the key that wraps ours.
func (v *Vault) transitGrants(g *grants, key string) {
	t := v.Transit(key)
	g.add(t.path("encrypt"), "the key of what is sealed on the disk: wrap it, once", "update")
	g.add(t.path("decrypt"), "the key of what is sealed on the disk: unwrap it, at each start", "update")
}

// tokenGrants are for the token itself.
func (v *Vault) tokenGrants(g *grants) {
	g.add("auth/token/lookup-self", "the token: how long it lives, and whether it is still good when a call is denied", "read")
	if v.o.Method != "agent" { // it renews its own
		g.add("auth/token/renew-self", "the token: live longer", "update")
	}
	if v.o.RevokeOnExit && v.o.ownToken() {
		g.add("auth/token/revoke-self", "the token: end with the daemon (revoke_on_exit)", "update")
	}
	g.add("sys/capabilities-self", "sallyport vault check: what the token may do", "update")
}

// ownToken reports whether the token comes from a login of ours.
func (o *VaultOptions) ownToken() bool { return o.Method != "token" && o.Method != "agent" }

// grants collects them, one for each path.
type grants struct{ list []Grant }

// add gives the grant of a path, with these capabilities among its own.
func (g *grants) add(path, why string, capabilities ...string) *Grant {
	i := slices.IndexFunc(g.list, func(h Grant) bool { return h.Path == path })
	if i < 0 {
		g.list = append(g.list, Grant{Path: path, Why: why})
		i = len(g.list) - 1
	}
	h := &g.list[i]
	h.Capabilities = union(h.Capabilities, capabilities)
	return h
}

func union(a, b []string) []string {
	all := slices.Concat(a, b)
	slices.Sort(all)
	return slices.Compact(all)
}

// settle looks at the exact paths that match a pattern too: of a policy's paths the most exact one counts alone. So it
// has what the pattern has, or is left out where that is enough.
func (g *grants) settle() {
	var list []Grant
	for _, h := range g.list {
		i := slices.IndexFunc(g.list, func(p Grant) bool {
			return h.depth == 0 && p.depth > 0 && strings.HasPrefix(h.Path, strings.TrimSuffix(p.Path, "*"))
		})
		if i < 0 {
			list = append(list, h)
			continue
		}
		if h.Capabilities = union(h.Capabilities, g.list[i].Capabilities); len(h.Capabilities) > len(g.list[i].Capabilities) {
			list = append(list, h)
		}
	}
	g.list = list
}

// quoted makes a path a string of HCL.
var quoted = strings.NewReplacer(`\`, `\\`, `"`, `\"`)

// Policy writes grants as a policy in HCL, formatted as vault policy fmt does. A comment says what each is for.
func Policy(grants []Grant) string {
	var b strings.Builder
	for i, g := range grants {
		if i > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "# %s\npath \"%s\" {\n  capabilities = [\"%s\"]\n}\n", g.Why, quoted.Replace(g.Path), strings.Join(g.Capabilities, `", "`))
	}
	return b.String()
}
