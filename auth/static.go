package auth

import "context"

// static completes a kind whose record is all there is: its fields go where the
// places say.
func static(k Kind) Kind {
	k.Mint = func(_ context.Context, m Material) (*Injector, error) {
		return newInjector(k, m, m.Credential.Field)
	}
	return k
}
