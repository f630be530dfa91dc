package admin

import (
	"context"
	"errors"
	"net/url"
	"slices"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
)

// fits refuses a record that cannot stand beside the configuration and the
// other records.
func (s *Server) fits(ctx context.Context, p *provider.Provider, c *credential.Credential) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	if err := s.o.Checker.Validate(p, c); err != nil {
		f := fault.From(err)
		return fault.New(fault.InvalidRequest, f.Detail, f.Err).On(c.Ref.String(), p.Name)
	}
	return s.stands(ctx, p, c)
}

// stands is fits for a record whose fields are not all there yet. A url takes
// the place of the provider's hosts and endpoints.
func (s *Server) stands(ctx context.Context, p *provider.Provider, c *credential.Credential) error {
	templates := []string{p.Verify.Path}
	if c.Field("url").Empty() {
		templates = append(templates, p.BaseURL, p.OAuth2.TokenURL, p.OAuth2.RefreshURL)
	}
	for _, template := range templates {
		if _, err := provider.Expand(template, c.Text); err != nil {
			return invalid(err.Error())
		}
	}
	owned, err := authorities(p, c)
	if err != nil {
		return invalid(err.Error())
	}
	for _, pattern := range owned {
		if err := s.free(ctx, p, c.Ref, pattern); err != nil {
			return err
		}
	}
	return s.single(ctx, p, c)
}

// single holds accounts = "one".
func (s *Server) single(ctx context.Context, p *provider.Provider, c *credential.Credential) error {
	if !p.OneAccount || c.Version != 0 {
		return nil
	}
	folder := c.Ref
	folder.Name = ""
	refs, err := s.o.Store.List(ctx, folder)
	if err != nil {
		return err
	}
	if i := slices.IndexFunc(refs, func(r credential.Ref) bool { return r != c.Ref }); i >= 0 {
		return invalid("provider: " + p.Name + " takes one account in each workspace and environment, and " + refs[i].String() + " exists")
	}
	return nil
}

// authorities are the hosts that a record makes its provider own: of its url,
// else of the provider's {field} templates.
func authorities(p *provider.Provider, c *credential.Credential) ([]provider.Pattern, error) {
	if p.Protocol != provider.HTTP {
		return nil, nil // no request goes there
	}
	hosts, err := p.OwnedBy(c.Text)
	if raw := c.Text("url"); raw != "" {
		a, err := urlAuthority(raw)
		if err != nil {
			return nil, err
		}
		return []provider.Pattern{{Host: a.Host, Port: a.Port}}, nil
	}
	if err != nil {
		return nil, err
	}
	var all []provider.Pattern
	for _, h := range hosts {
		pattern, err := provider.ParsePattern(h)
		if err != nil {
			return nil, err
		}
		all = append(all, pattern)
	}
	return all, nil
}

type badURL struct{}

func (badURL) Error() string { return "fields.url: is not an absolute http or https URL with a host" }

func urlAuthority(raw string) (provider.Authority, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return provider.Authority{}, badURL{}
	}
	port, ok := map[string]int{"https": 443, "http": 80}[u.Scheme]
	a, err := provider.ParseAuthority(u.Host, port)
	if err != nil || !ok {
		return provider.Authority{}, badURL{}
	}
	return a, nil
}

// free refuses a host that another provider owns: by what it lists, or by a
// record of the same workspace and environment.
func (s *Server) free(ctx context.Context, p *provider.Provider, ref credential.Ref, want provider.Pattern) error {
	a := provider.Authority{Host: want.Host, Port: want.Port}
	if a.Port == 0 {
		a.Port = 443
	}
	own := func(o *provider.Provider) bool { return o.Name == p.Name }
	if owners := s.o.Table().Owners(a); len(owners) > 0 && !slices.ContainsFunc(owners, own) {
		return taken(a, owners[0].Name)
	}
	refs, err := s.claimants(ctx, p, ref)
	if err != nil {
		return err
	}
	return each(ctx, len(refs), func(ctx context.Context, i int) error {
		return s.unclaimed(ctx, s.o.Table().Get(refs[i].Provider), refs[i], a)
	})
}

// claimants are the records beside ref by which providers other than p may own
// hosts.
func (s *Server) claimants(ctx context.Context, p *provider.Provider, ref credential.Ref) ([]credential.Ref, error) {
	folder := credential.Ref{Workspace: ref.Workspace, Environment: ref.Environment}
	names, err := s.o.Store.Folders(ctx, folder)
	if err != nil {
		return nil, err
	}
	var all []credential.Ref
	for _, name := range names {
		if q := s.o.Table().Get(name); q == nil || q.Name == p.Name || !s.mayClaim(q) {
			continue
		}
		folder.Provider = name
		refs, err := s.o.Store.List(ctx, folder)
		if err != nil && !errors.Is(err, fault.VaultDenied) { // what is hidden from us is other people's
			return nil, err
		}
		all = append(all, refs...)
	}
	return all, nil
}

func taken(a provider.Authority, by string) error {
	return invalid("url: " + a.String() + " belongs to provider " + by)
}

// mayClaim reports whether records of q can own hosts.
func (s *Server) mayClaim(q *provider.Provider) bool {
	return q.Templated() || slices.ContainsFunc(append([]string{q.Type}, q.Types...), func(typ string) bool {
		fields, _ := s.o.Checker.Fields(typ)
		return slices.Contains(fields, "url")
	})
}

func (s *Server) unclaimed(ctx context.Context, q *provider.Provider, ref credential.Ref, a provider.Authority) error {
	c, err := s.o.Store.Get(ctx, ref)
	if err != nil {
		if away(ctx, err) {
			return err
		}
		return nil // what cannot be read claims nothing
	}
	patterns, err := authorities(q, c)
	if err != nil {
		return nil // nor does what is malformed
	}
	if slices.ContainsFunc(patterns, func(p provider.Pattern) bool { return p.Match(a) }) {
		return taken(a, q.Name)
	}
	return nil
}
