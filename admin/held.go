package admin

import (
	"slices"
	"time"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/secret"
)

// besideToken are the fields that tell of an access token, and of no other.
var besideToken = []string{"token_type", "expires_in", "expires_at", "created_at"}

// settle drops from c the access token that its other fields do not give any
// more, as they differ from was, or that the edit replaces; typ tells that the
// type is another. A token that the edit sets lives from now on where it tells a
// life and no beginning.
func (e *edit) settle(was, c *credential.Credential, typ bool) {
	byHand := !e.fields["access_token"].Empty()
	if !byHand && (!typ && !grantDiffers(was, c) || irreplaceable(c)) {
		return
	}
	if !byHand {
		c.Unset("access_token")
	}
	for _, name := range besideToken {
		if e.fields[name].Empty() {
			c.Unset(name)
		}
	}
	if byHand && !c.Field("expires_in").Empty() && c.Field("expires_at").Empty() && c.Field("created_at").Empty() {
		c.Set("created_at", secret.New(time.Now().UTC().Format(time.RFC3339)))
	}
}

// irreplaceable: somebody's consent gave no more than the access token.
func irreplaceable(c *credential.Credential) bool {
	return c.Type == "oauth2_authorization_code" && c.Field("refresh_token").Empty()
}

// grantDiffers reports whether two records may be given different tokens.
func grantDiffers(a, b *credential.Credential) bool {
	return slices.ContainsFunc(slices.Concat(a.Names(), b.Names()), func(name string) bool {
		return name != credential.StateField && !slices.Contains(besideToken, name) && !a.Field(name).Equal(b.Field(name))
	})
}
