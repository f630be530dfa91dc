package auth

import (
	"context"
	"time"
)

// static completes a kind whose record is all there is: its fields go where the
// places say.
func static(k Kind) Kind {
	k.Mint = func(_ context.Context, m Material) (*Injector, error) {
		i, err := newInjector(k, m, m.Credential.Field)
		if err == nil {
			i.Ends = k.ends(m)
			for _, f := range k.Required {
				i.keys = append(i.keys, m.Credential.Field(f))
			}
		}
		return i, err
	}
	return k
}

// ends is when the first of the required fields ends that is a JWT and says so.
func (k Kind) ends(m Material) (first time.Time) {
	for _, f := range k.Required {
		if end := jwtExpiry(m.Credential.Field(f).Reveal()); !end.IsZero() && (first.IsZero() || end.Before(first)) {
			first = end
		}
	}
	return first
}
