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
	Ends time.Time    // of its refresh token: somebody must act before; zero: not known, or a token can be had without it
	Made time.Time    // of its access token; zero: not known, or it holds none
}

// GrantOf reads the grant of a record. It asks nobody.
func GrantOf(p *provider.Provider, c *credential.Credential) GrantStatus {
	k, _ := Lookup(TypeOf(p, c))
	if k.Grant == "" {
		return GrantStatus{}
	}
	var g GrantStatus
	if t, ok := tokenOf(c); ok {
		g.Made = t.made
	}
	rt := c.Field("refresh_token")
	cl, err := claimOf(c)
	if err != nil || rt.Empty() || !k.refreshes || k.ask != nil {
		return g
	}
	token := fingerprint(c.Ref, rt)
	if cl.buried(token) {
		g.Dead = fault.New(fault.ReauthorizationRequired, "the refresh token is of no use any more", nil).On(c.Ref.String(), p.Name)
		return g
	}
	if end := cl.about(token).Ends; end != nil {
		g.Ends = *end
	}
	return g
}
