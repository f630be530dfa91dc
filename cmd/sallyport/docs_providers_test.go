package main

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/auth"
	"github.com/sallyport/sallyport/internal/provider"
)

// providersPage is docs/providers.md.
func providersPage(t *testing.T) string {
	t.Helper()
	all := builtin(t)
	var b strings.Builder
	b.WriteString("# Built-in providers\n\n" + generated +
		"A built-in provider owns its hosts in workspaces that have a credential for it. The first type is the default; `credential add NAME [--type TYPE]`\n" +
		"asks for the fields of a type. `{field}` in a host or a path is a field of the record, one label of a host's name. Verify: a read-only request that\n" +
		"only a working credential passes; without one a check is `unverifiable`, unless a token endpoint proves the credential or the provider tells\n" +
		"otherwise. A `[[provider]]` of the same name in the configuration overrides keys of an entry; its file is `configs/catalogue/NAME.toml`.\n\n" +
		"| provider | types | hosts | verify |\n|---|---|---|---|\n")
	for _, p := range all {
		fmt.Fprintf(&b, "| [%s](#%s) | %s | %s | %s |\n", p.Name, p.Name, code(append([]string{p.Type}, p.Types...)), hostsText(p), yes(p.Verify.Path != ""))
	}
	for _, p := range all {
		providerSection(t, &b, p)
	}
	return b.String()
}

func hostsText(p *provider.Provider) string {
	hosts := code(p.Hosts)
	switch {
	case hosts == "" && slices.Contains(append([]string{p.Type}, p.Types...), "database"), p.Name == "ftp":
		hosts = "not proxied"
	case hosts == "":
		hosts = "`url` of the record"
	}
	if len(p.Paths) > 0 {
		hosts += ", below " + code(p.Paths)
	}
	return hosts
}

func providerSection(t *testing.T, b *strings.Builder, p *provider.Provider) {
	t.Helper()
	fmt.Fprintf(b, "\n## %s\n\n%s\n\n", p.Name, p.Note)
	if p.Unverified {
		b.WriteString("**Unverified**: what is known here of this provider was not checked against it.\n\n")
	}
	b.WriteString("| type | fields | goes to |\n|---|---|---|\n")
	for _, typ := range append([]string{p.Type}, p.Types...) {
		kind, ok := auth.Lookup(typ)
		if !ok {
			t.Fatalf("%s: no type %s", p.Name, typ)
		}
		fmt.Fprintf(b, "| `%s` | %s | %s |\n", typ, code(viewOf(p).needs(kind)), goesTo(t, p, kind))
	}
	b.WriteString("\n")
	for _, f := range facts(p) {
		fmt.Fprintf(b, "- %s\n", f)
	}
}

// facts are the lines that tell the rest of an entry.
func facts(p *provider.Provider) []string {
	list := []string{"Hosts: " + hostsText(p)}
	if p.BaseURL != "" {
		list = append(list, "Base URL: `"+p.BaseURL+"`")
	}
	verify := "Verify: none"
	if v := p.Verify; v.Path != "" {
		verify = "Verify: `" + v.Method + " " + v.Path + "`"
		if v.Body != "" {
			verify += " with `" + v.Body + "`"
		}
	}
	list = append(list, verify)
	for _, h := range p.Headers {
		list = append(list, "Sent where the runner sends none: `"+h.Name+": "+h.Value+"`")
	}
	if limits := limitsText(p.Limits); limits != "" {
		list = append(list, "Limits of a credential: "+limits)
	}
	list = append(list, tokenFacts(p)...)
	for what, names := range map[string][]string{"Scopes that flows need": p.Needs.Scopes, "Permissions that flows need": p.Needs.Permissions, "Scopes that flows need of OAuth tokens": p.Needs.OAuthScopes} {
		if len(names) > 0 {
			list = append(list, what+": "+code(names))
		}
	}
	slices.Sort(list[1:])
	return list
}

func tokenFacts(p *provider.Provider) (list []string) {
	for what, url := range map[string]string{"revoked": p.OAuth2.RevocationURL, "introspected": p.OAuth2.IntrospectionURL} {
		if url != "" {
			list = append(list, "Tokens can be "+what)
		}
	}
	if p.OAuth2.TokenURL != "" && !p.Refresh.Rotates {
		list = append(list, "Refresh tokens are good for many uses")
	}
	if p.Refresh.Idle > 0 {
		list = append(list, fmt.Sprintf("Refresh tokens lapse after %d days without use", int(p.Refresh.Idle.Hours()/24)))
	}
	return list
}

func limitsText(l provider.Limits) string {
	var parts []string
	for _, r := range l.Rates {
		parts = append(parts, r.String())
	}
	if l.Concurrency > 0 {
		parts = append(parts, fmt.Sprintf("%d at once", l.Concurrency))
	}
	return strings.Join(parts, ", ")
}

var placeholder = regexp.MustCompile(`<([a-z0-9_]+)>`)

// goesTo tells where a credential goes: what it adds to a request.
func goesTo(t *testing.T, p *provider.Provider, kind auth.Kind) string {
	t.Helper()
	switch {
	case p.Name == "ftp":
		return "`USER` and `PASS` of the login"
	case kind.Grant == "" && len(kind.Places) == 0: // signed, or no request at all
		return kind.Doc
	}
	var out []string
	for _, part := range injectedParts(t, p, kind) {
		name, _, _ := strings.Cut(part, ": ")
		constant := slices.ContainsFunc(p.Headers, func(h provider.Header) bool { return http.CanonicalHeaderKey(h.Name) == name })
		if constant {
			continue
		}
		for _, place := range p.Places { // spelled as the provider does
			if http.CanonicalHeaderKey(place.Name) == name {
				part = place.Name + strings.TrimPrefix(part, name)
			}
		}
		part = placeholder.ReplaceAllString(part, "{$1}")
		switch {
		case strings.HasPrefix(part, "basic "):
			part = "HTTP Basic `" + strings.TrimPrefix(part, "basic ") + "`"
		case strings.HasPrefix(part, "?"):
			part = "query `" + part[1:] + "`"
		case strings.HasPrefix(part, "{"):
			part = "body `" + part + "`"
		default:
			part = "`" + part + "`"
		}
		out = append(out, strings.ReplaceAll(part, "|", "\\|"))
	}
	return strings.Join(out, ", ")
}
