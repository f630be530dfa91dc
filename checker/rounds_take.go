package checker

import (
	"context"
	"time"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/provider"
)

// warnEvery is how often the log warns of one end that comes near.
const warnEvery = 24 * time.Hour

// take looks at a record whose turn has come, and checks it unless that is needless
// or would harm.
func (r *Rounds) take(ctx context.Context, ref credential.Ref, interval time.Duration) {
	t := r.begin(ref)
	if t == nil {
		return
	}
	defer r.end(t)
	c, err := r.read(ctx, ref)
	p := r.o.Provider(ref.Provider)
	switch {
	case gone(err), err == nil && (p == nil || !r.o.Wanted(ref)):
		r.drop(ref, gone(err))
	case r.missed(ctx, err): // its turn stays
	case err != nil:
		r.unread(t, ref, err, interval)
		r.after(t, interval)
	case !r.ready(t, c, interval):
		r.after(t, interval)
	default:
		r.check(ctx, t, p, c, interval)
		r.after(t, interval)
	}
}

// begin takes a turn; nil: it has gone, or somebody else has it.
func (r *Rounds) begin(ref credential.Ref) *turn {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.turns[ref]
	if t == nil || t.busy {
		return nil
	}
	t.busy = true
	return t
}

func (r *Rounds) end(t *turn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t.busy = false
}

// after sets the next turn.
func (r *Rounds) after(t *turn, interval time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if interval == r.interval {
		t.next(time.Now(), interval)
	}
}

func (r *Rounds) drop(ref credential.Ref, forget bool) {
	r.mu.Lock()
	delete(r.turns, ref)
	r.mu.Unlock()
	if forget {
		r.o.History.Forget(ref.String())
		r.o.Gone(ref)
	}
}

func (r *Rounds) read(ctx context.Context, ref credential.Ref) (*credential.Credential, error) {
	ctx, cancel := context.WithTimeout(credential.WithNeed(ctx, credential.Aging), readLimit)
	defer cancel()
	return r.o.Store.Get(ctx, ref)
}

// unread keeps that a record could not be read: what was known of it may be over. The
// log says so once.
func (r *Rounds) unread(t *turn, ref credential.Ref, err error, interval time.Duration) {
	rep, last := hidden(ref, err), r.o.History.Last(ref.String())
	if last == nil || last.code() != rep.code() {
		r.o.Log.Warn("a credential cannot be read, and is not checked", "credential", rep.Credential, "error", err)
	}
	r.mu.Lock()
	t.judge(rep, interval)
	r.mu.Unlock()
	r.o.History.Put(rep)
}

// ready reports whether the record is to be checked now.
func (r *Rounds) ready(t *turn, c *credential.Credential, interval time.Duration) bool {
	ref := c.Ref.String()
	r.o.History.meet(ref, c.Version)
	last, now := r.o.History.Last(ref), time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	t.meet(c.Version, now)
	known := t.learn(last, interval, now)
	r.o.History.cool(ref, t.cooling())
	return !known && !now.Before(t.until)
}

// check checks a record. What is found of one that was removed or changed meanwhile
// is not kept.
func (r *Rounds) check(ctx context.Context, t *turn, p *provider.Provider, c *credential.Credential, interval time.Duration) {
	rep := r.o.Checker.Check(ctx, p, c)
	if ctx.Err() != nil { // it was cut short
		return
	}
	switch now, err := r.read(ctx, c.Ref); {
	case gone(err):
		r.drop(c.Ref, true)
		return
	case err == nil && now.Version != c.Version:
		return
	}
	r.mu.Lock()
	t.judge(rep, interval)
	cooling := t.cooling()
	r.mu.Unlock()
	r.o.History.cool(rep.Credential, cooling)
	if r.o.History.Put(rep) {
		r.warn(t, rep)
	}
}

// warn tells of an end that comes near, once a day.
func (r *Rounds) warn(t *turn, rep *Report) {
	l, _ := rep.line(Expiry)
	if l.Status != Warning || time.Since(t.warned) < warnEvery {
		return
	}
	t.warned = time.Now()
	r.o.Log.Warn("a credential ends soon", "credential", rep.Credential, "detail", l.Detail)
}
