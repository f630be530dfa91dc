package proxy

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
)

// Of several credentials of which none is named default, how many records are
// read to see which are still there, and how many names are told.
const (
	maxProbes = 32
	maxNames  = 32
)

// set is credentials among which one is chosen, sorted by name.
type set struct {
	list  []*listed
	picks sync.Map // *Caller -> *listed: what pick found by looking at all

	probing singleflight.Group
	pause   atomic.Int64 // Unix nanoseconds: the store was away, and is not asked before
}

// relisted gives what is listed now, and keeps those that were listed before.
func relisted(before *folder, refs []credential.Ref) []*listed {
	list := make([]*listed, len(refs))
	for i, ref := range refs {
		if before != nil {
			list[i] = before.named(ref.Name)
		}
		if list[i] == nil {
			list[i] = &listed{ref: ref}
		}
	}
	return list
}

// named gives the credential of that name, or nil.
func (s *set) named(name string) *listed {
	i, ok := slices.BinarySearchFunc(s.list, name, func(l *listed, name string) int { return strings.Compare(l.ref.Name, name) })
	if !ok {
		return nil
	}
	return s.list[i]
}

// choose picks the credential: by name, the only one, or the one named default.
// Nil without an error is the anonymous request of a provider that allows it.
func (d *directory) choose(ctx context.Context, q ask, p *provider.Provider, s *set) (*listed, error) {
	if q.name != "" {
		if l := s.named(q.name); l != nil && q.caller.mayUse(l.ref) {
			return l, nil
		}
		return nil, fault.New(fault.CredentialNotFound, "no credential of that name is among those the caller may use", nil)
	}
	if l := s.pick(q.caller); l != nil {
		return l, nil
	}
	fit := d.present(ctx, s, q.caller)
	switch {
	case len(fit) == 1:
		s.picks.Store(q.caller, fit[0])
		return fit[0], nil
	case len(fit) == 0 && p.Anonymous:
		return nil, nil
	case len(fit) == 0:
		return nil, fault.New(fault.NoCredential, "the caller has no credential of provider "+p.Name, nil)
	}
	return nil, fault.New(fault.AmbiguousCredential, "choose one with Sallyport-Credential: "+names(fit), nil)
}

// pick gives the credential of a caller who names none, where that is seen
// without looking at all of them; else nil.
func (s *set) pick(c *Caller) *listed {
	if len(s.list) == 1 {
		if l := s.list[0]; c.mayUse(l.ref) {
			return l
		}
		return nil
	}
	if l := s.named(credential.DefaultName); l != nil && c.mayUse(l.ref) {
		return l
	}
	found, _ := s.picks.Load(c)
	l, _ := found.(*listed)
	return l
}

// present gives the credentials that the caller may use; of several those whose
// records are still there.
func (d *directory) present(ctx context.Context, s *set, c *Caller) []*listed {
	var fit []*listed
	for _, l := range s.list {
		if c.mayUse(l.ref) {
			fit = append(fit, l)
		}
	}
	if len(fit) < 2 {
		return fit
	}
	d.probe(ctx, s, c, fit)
	return slices.DeleteFunc(fit, func(l *listed) bool { return l.life.Load() == gone })
}

// probe asks for the records of the first that nobody has read yet, unless two
// are there anyway. While the store is away they count as there.
func (d *directory) probe(ctx context.Context, s *set, c *Caller, fit []*listed) {
	there, list := 0, []*listed{}
	for _, l := range fit {
		switch life := l.life.Load(); {
		case life == alive:
			there++
		case life == unread && len(list) < maxProbes:
			list = append(list, l)
		}
	}
	if there > 1 || len(list) == 0 || time.Now().UnixNano() < s.pause.Load() {
		return
	}
	done := s.probing.DoChan(c.Name, func() (any, error) {
		ctx, cancel := context.WithTimeoutCause(d.life, storeWait, errStoreSlow)
		defer cancel()
		err := d.see(ctx, list)
		if err != nil {
			s.pause.Store(time.Now().Add(lookPause).UnixNano())
		}
		return nil, err
	})
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// see notes which records are there; one that our policy hides may be. It fails
// where the store is away.
func (d *directory) see(ctx context.Context, list []*listed) error {
	return each(ctx, len(list), func(ctx context.Context, i int) error {
		_, err := d.store.Get(ctx, list[i].ref)
		switch {
		case errors.Is(err, fault.CredentialNotFound):
			list[i].life.Store(gone)
		case err != nil && isStoreAway(err) && !errors.Is(err, fault.VaultDenied):
			return storeFault(err)
		default:
			list[i].life.Store(alive)
		}
		return nil
	})
}

// review sees once more to the records that were asked for before: what others
// deleted they may have brought back.
func (d *directory) review(ctx context.Context, list []*listed) error {
	var known []*listed
	for _, l := range list {
		switch {
		case l.life.Load() == unread:
		case len(known) < maxProbes:
			known = append(known, l)
		default:
			l.life.Store(unread)
		}
	}
	return d.see(ctx, known)
}

// names of the first, as a runner reads them.
func names(fit []*listed) string {
	var all []string
	for _, l := range fit[:min(len(fit), maxNames)] {
		all = append(all, l.ref.Name)
	}
	if more := len(fit) - len(all); more > 0 {
		all = append(all, "and "+strconv.Itoa(more)+" more")
	}
	return strings.Join(all, ", ")
}
