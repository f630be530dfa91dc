package auth

import (
	"context"

	"github.com/sallyport/sallyport/internal/fault"
)

// Renew gets a new token in place of the one that the record holds, whatever
// its age. Errors are *fault.Fault; a type without a token is invalid_request.
func (k *Keeper) Renew(ctx context.Context, d Demand) (Obtained, error) {
	typ := TypeOf(d.Provider, d.Record)
	if kind, _ := Lookup(typ); kind.Grant == "" {
		return Obtained{}, fault.New(fault.InvalidRequest, "type: "+typ+" has no token that could be refreshed", nil)
	}
	d.Have = d.Record.Field("access_token")
	return k.Obtain(ctx, d)
}
