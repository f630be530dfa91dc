package credential

import "context"

// Need says how much depends on a reading of the store.
type Need int

// Needs.
const (
	Missing Need = iota // nothing is held, and a request waits: the zero Need
	Aging               // what is held still serves, so the store may take its time
	Refused             // an upstream refused what was held: what the store was lent may have been revoked
)

type needKey struct{}

// WithNeed tells a Store.Get how much depends on it.
func WithNeed(ctx context.Context, n Need) context.Context {
	return context.WithValue(ctx, needKey{}, n)
}

// NeedOf gives what WithNeed told, or Missing.
func NeedOf(ctx context.Context) Need {
	n, _ := ctx.Value(needKey{}).(Need)
	return n
}
