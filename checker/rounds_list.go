package checker

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/sallyport/sallyport/internal/credential"
)

// list looks which credentials there are, and gives turns to those that have none.
func (r *Rounds) list(ctx context.Context, interval time.Duration) {
	l := listing{found: map[credential.Ref]bool{}}
	for _, folder := range r.folders {
		names, err := inTime(ctx, r.o.Store.Folders, folder)
		if r.missed(ctx, err) {
			return
		}
		if err != nil {
			r.hide(&l, folder, err)
		}
		for _, name := range names {
			below := folder
			if below.Provider = name; r.o.Provider(name) == nil {
				l.idle = append(l.idle, below)
				continue
			}
			refs, err := inTime(ctx, r.o.Store.List, below)
			if r.missed(ctx, err) {
				return
			}
			if err != nil {
				r.hide(&l, below, err)
			}
			for _, ref := range refs {
				l.found[ref] = r.o.Wanted(ref)
			}
		}
	}
	r.settle(l, interval)
}

// listing is what a look at the folders has shown.
type listing struct {
	found  map[credential.Ref]bool // whether it is wanted
	hidden []credential.Ref        // folders that could not be listed
	idle   []credential.Ref        // folders of providers that are not known
}

// hide takes note of a folder that cannot be listed. The log says so once.
func (r *Rounds) hide(l *listing, folder credential.Ref, err error) {
	if !slices.Contains(r.hidden, folder) {
		r.o.Log.Warn("nothing is checked in a folder that cannot be listed", "folder", folder.String(), "error", err)
	}
	l.hidden = append(l.hidden, folder)
}

// inTime asks the store about a folder.
func inTime[T any](ctx context.Context, ask func(context.Context, credential.Ref) (T, error), folder credential.Ref) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, readLimit)
	defer cancel()
	return ask(ctx, folder)
}

// settle gives turns to the credentials that were found and have none, and takes
// those of others, but for what stands in a hidden folder. What its folder does not
// hold any more has its turn now: its record is asked for once again, to be sure.
func (r *Rounds) settle(l listing, interval time.Duration) {
	known := r.o.History.refs()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.listed, r.hidden = time.Now(), l.hidden
	for ref := range r.turns {
		known[ref] = true
	}
	for ref := range known {
		in := func(folder credential.Ref) bool { return ref.In(folder) }
		wanted, there := l.found[ref]
		switch {
		case wanted, slices.ContainsFunc(l.hidden, in):
		case there, slices.ContainsFunc(l.idle, in), !slices.ContainsFunc(r.folders, in):
			delete(r.turns, ref)
		case r.turns[ref] == nil:
			r.turns[ref] = &turn{due: r.listed}
		default:
			r.turns[ref].due = r.listed
		}
	}
	for ref, wanted := range l.found {
		if wanted && r.turns[ref] == nil {
			r.turns[ref] = r.o.History.turn(ref.String(), interval)
		}
	}
	var fresh []*turn
	for _, t := range r.turns {
		if t.due.IsZero() {
			fresh = append(fresh, t)
		}
	}
	spread(fresh, interval)
}

// spread sets first turns: soon the first, and all within the interval, in any order.
func spread(fresh []*turn, interval time.Duration) {
	rand.Shuffle(len(fresh), func(i, j int) { fresh[i], fresh[j] = fresh[j], fresh[i] })
	start := time.Now().Add(rand.N(min(interval/10, firstDelay) + 1))
	for i, t := range fresh {
		at := (float64(i) + rand.Float64()) / float64(len(fresh))
		t.due = start.Add(time.Duration(at * float64(interval)))
	}
}
