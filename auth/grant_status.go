package auth

import (
	"time"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
)

// GrantStatus is what a record itself tells of its grant, whoever spent it. The
// zero GrantStatus is of a record without one.
type GrantStatus struct {
	Dead *fault.Fault // reauthorization_required: its refresh token is of no use, and nothing else gives a token; nil: as far as is known it is good
	Ends time.Time    // of its refresh token, or of its access token where it has none: somebody must act before; zero: not known, or a token can be had without
	Made time.Time    // of its access token; zero: not known, or it holds none
}

// GrantOf reads the grant of a record. It asks nobody.
func GrantOf(p *provider.Provider, c *credential.Credential) GrantStatus {
	k, _ := Lookup(TypeOf(p, c))
	if k.Grant == "" {
		return GrantStatus{}
	}
	t, _ := tokenOf(c)
	g := GrantStatus{Made: t.made}
	cl, err := claimOf(c)
	if err != nil || !k.refreshes || k.ask != nil {
		return g
	}
	rt := c.Field("refresh_token")
	if rt.Empty() {
		return g.without(t, c, p)
	}
	token := fingerprint(c.Ref, rt)
	if cl.buried(token) {
		return g.dead("the refresh token is of no use any more", c, p)
	}
	if end := cl.about(token).Ends; end != nil {
		g.Ends = credential.Ending(*end)
	}
	return g
}

// without a refresh token a grant that somebody gave here ends with its access
// token.
func (g GrantStatus) without(t token, c *credential.Credential, p *provider.Provider) GrantStatus {
	if _, ok := connectedOf(c); !ok || t.access == "" {
		return g
	}
	if !t.live(time.Now()) {
		return g.dead("the grant has no refresh token, and its access token has ended", c, p)
	}
	g.Ends = t.expiry
	return g
}

func (g GrantStatus) dead(why string, c *credential.Credential, p *provider.Provider) GrantStatus {
	g.Dead = fault.New(fault.ReauthorizationRequired, why, nil).On(c.Ref.String(), p.Name)
	return g
}
