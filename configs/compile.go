package configs

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/file"
	"github.com/sallyport/sallyport/internal/provider"
)

// compile judges an entry and makes the provider of it, which is of use only
// where there was no fault. sum stands for the whole entry; empty: it is computed.
func (j *judge) compile(path string, f providerForm, sum string) *provider.Provider {
	j.entry(path, &f)
	roots, pem := j.roots(join(path, "ca_file"), f.CAFile)
	if sum == "" {
		sum = fingerprint(f, pem)
	}
	return &provider.Provider{
		Name: f.Name, Protocol: protocols[f.Protocol], Hosts: f.Hosts, Paths: f.Paths, BaseURL: strings.TrimRight(f.BaseURL, "/"),
		Type: f.Type, Types: f.Types, Unverified: f.Unverified, Redact: f.Redact,
		AllowCleartext: f.AllowCleartext, AllowNetworks: f.AllowNetworks, Anonymous: f.Anonymous,
		OneAccount: f.Accounts == "one", Roots: roots, UpstreamProxy: f.UpstreamProxy, HMAC: f.HMAC,
		Headers: headersOf(f.Headers), Places: placesOf(f.Places), OAuth2: provider.OAuth2(f.OAuth2),
		Login:   provider.Login(f.Login),
		Refresh: provider.Refresh(f.Refresh), Verify: provider.Verify(f.Verify), Needs: provider.Needs(f.Needs),
		Limits: limitsOf(f.Limits), Signals: signalsOf(f.Signals), Fingerprint: sum,
	}
}

var protocols = map[string]provider.Protocol{"http": provider.HTTP, "ftp": provider.FTP}

// roots reads a provider's own authorities.
func (j *judge) roots(key, path string) (*x509.CertPool, []byte) {
	if path == "" {
		return nil, nil
	}
	pem, _, err := file.ReadOperator(path)
	if err != nil {
		j.add(key, "%v", err)
		return nil, nil
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		j.add(key, "%s holds no certificate in PEM", path)
	}
	return pool, pem
}

// headersOf gives the constants by name; one that is set to nothing is none.
func headersOf(m map[string]string) []provider.Header {
	var out []provider.Header
	for _, name := range slices.Sorted(maps.Keys(m)) {
		if m[name] != "" {
			out = append(out, provider.Header{Name: name, Value: m[name]})
		}
	}
	return out
}

func placesOf(forms []placeForm) []provider.Place {
	var out []provider.Place
	for _, f := range forms {
		out = append(out, provider.Place{In: provider.In(f.In), Name: f.Name, Value: f.Value, Username: f.Username, Password: f.Password})
	}
	return out
}

func signalsOf(forms []signalForm) []provider.Signal {
	var out []provider.Signal
	for _, f := range forms {
		out = append(out, provider.Signal{Status: f.Status, Body: f.Body, Header: f.Header, Means: provider.Meaning(f.Means)})
	}
	return out
}

// fingerprint changes with anything that the entry or its ca_file says.
func fingerprint(f providerForm, pem []byte) string {
	var b bytes.Buffer
	w := &writer{out: &b, secrets: true}
	w.table("", reflect.ValueOf(f))
	b.Write(pem)
	return shortSum(b.Bytes())
}

func shortSum(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:8])
}

// table finds hosts that two providers own, and such as the CA may not sign for.
func (r *report) table(ps []*provider.Provider, constraints []string) *provider.Table {
	t, conflicts := provider.NewTable(ps)
	for _, c := range conflicts {
		a, b := c.A, c.B
		if !b.Configured {
			a, b = b, a
		}
		r.add(r.pathOf(b.Name)+".hosts", "%s%s is owned by provider %s too; a host and path belongs to one provider, so narrow one with paths or override %s itself",
			c.Host, strings.TrimSuffix(c.Path, "/"), a.Name, a.Name)
	}
	outside := []string{}
	for _, p := range ps {
		for i, h := range p.Hosts {
			if len(constraints) == 0 || covered(h, constraints) {
				continue
			}
			if !p.Configured {
				outside = append(outside, p.Name)
				break
			}
			r.add(index(r.pathOf(p.Name)+".hosts", i), "%q is outside of proxy.ca.permitted, so no certificate can be made for it", h)
		}
	}
	if len(outside) > 0 {
		r.warnings = append(r.warnings, "proxy.ca.permitted leaves out the hosts of built-in providers, whose requests cannot be intercepted: "+strings.Join(outside, ", "))
	}
	return t
}

// pathOf finds where the configuration writes a provider.
func (r *report) pathOf(name string) string {
	for path, display := range r.names {
		if display == join("provider", name) {
			return path
		}
	}
	return join("provider", name)
}

// covered reports whether a pattern of hosts lies within the name constraints.
func covered(host string, constraints []string) bool {
	plain, err := filled(host)
	if err != nil {
		return true // told elsewhere
	}
	pattern, err := provider.ParsePattern(plain)
	if err != nil {
		return true
	}
	addr, isAddr := provider.Authority{Host: pattern.Host}.Addr()
	return slices.ContainsFunc(constraints, func(c string) bool {
		network, domain, err := permitted(c)
		switch {
		case err != nil:
			return true
		case domain == "":
			return isAddr && network.Contains(addr)
		}
		return pattern.Host == domain || strings.HasSuffix(pattern.Host, "."+domain)
	})
}
