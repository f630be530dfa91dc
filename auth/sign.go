package auth

import (
	"context"
	"net/http"
	"time"

	"github.com/sallyport/sallyport/internal/provider"
)

// signer signs requests. It is immutable and used by many requests at once.
type signer interface {
	// sign puts the signature on req, all of whose other parts are in place. What
	// the runner sent in the fields of owns is gone. Nothing of what was signed is
	// changed afterwards.
	sign(req *http.Request, now time.Time) error
	// needs tells what sign needs of the body.
	needs(req *http.Request) BodyNeed
	// owns names the header fields that sign sets, canonical.
	owns() []string
}

// signs completes a kind that signs each request. prepare does no I/O; its errors
// are those of Mint.
func signs(k Kind, prepare func(Material) (signer, error)) Kind {
	k.signs = true
	k.Mint = func(_ context.Context, m Material) (*Injector, error) {
		s, err := prepare(m)
		if err != nil {
			return nil, err
		}
		i, err := newInjector(k, m, m.Credential.Field)
		if err != nil {
			return nil, err
		}
		return i, i.signed(s, m)
	}
	return k
}

// signed has s sign last.
func (i *Injector) signed(s signer, m Material) error {
	for _, name := range s.owns() {
		if err := i.claim(provider.Place{In: provider.InHeader, Name: name}); err != nil {
			return err
		}
	}
	i.owned = append(i.owned, s.owns()...)
	i.wants = s.needs
	i.set = append(i.set, func(req *http.Request) error {
		if err := s.sign(req, m.now()); err != nil {
			return about(m, err)
		}
		return nil
	})
	return nil
}

// hasBody reports whether a request brings a body.
func hasBody(req *http.Request) bool { return req.Body != nil && req.Body != http.NoBody }
