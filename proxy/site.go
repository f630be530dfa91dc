package proxy

import (
	"net/url"
	"slices"

	"github.com/sallyport/sallyport/auth"
	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/provider"
)

// site is where a record says that its credential belongs.
type site struct {
	url   *url.URL
	hosts []provider.Authority // owned by its url or its provider's {field} hosts
	base  *url.URL             // the provider's {field} base URL, filled; nil: the provider's own
	typed bool                 // its type has a url: what it injects must come with the same one
}

// siteOf takes the hosts from a record's url, or from the provider's templates;
// nil: it says nothing of them, or no request goes there. With an error it is what can be told.
func siteOf(p *provider.Provider, c *credential.Credential) (*site, error) {
	if p.Protocol != provider.HTTP {
		return nil, nil
	}
	if raw := c.Text("url"); raw != "" {
		k, _ := auth.Lookup(auth.TypeOf(p, c))
		s := &site{typed: slices.Contains(k.Fields(), "url")}
		u, a, err := ParseUpstream(raw)
		if err == nil {
			s.url, s.hosts = u, []provider.Authority{a}
		}
		return s, err
	}
	if !p.Templated() {
		return nil, nil
	}
	s := &site{}
	return s, s.fill(p, c.Text)
}

// fill fills the provider's templates.
func (s *site) fill(p *provider.Provider, get func(field string) string) error {
	hosts, err := p.OwnedBy(get)
	if err != nil {
		return err
	}
	for _, h := range hosts {
		a, err := provider.ParseAuthority(h, 443)
		if err != nil {
			return err
		}
		s.hosts = append(s.hosts, a)
	}
	base, err := provider.Expand(p.BaseURL, get)
	if err != nil {
		return err
	}
	s.base, err = url.Parse(base)
	return err
}

// owns reports whether the site gives the authority. A plain http request is for
// the https one.
func (s *site) owns(a provider.Authority) bool {
	return slices.Contains(s.hosts, a) || (a.Port == 80 && slices.Contains(s.hosts, provider.Authority{Host: a.Host, Port: 443}))
}

// authorities that the credential owns.
func (l *listed) authorities() []provider.Authority {
	if l.site == nil {
		return nil
	}
	return l.site.hosts
}

// urlType reports whether records of the provider may have a url of their own.
func urlType(p *provider.Provider) bool {
	return slices.ContainsFunc(append([]string{p.Type}, p.Types...), func(name string) bool {
		k, _ := auth.Lookup(name)
		return slices.Contains(k.Fields(), "url")
	})
}
