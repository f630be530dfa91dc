package checker

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sallyport/sallyport/internal/file"
	"github.com/sallyport/sallyport/internal/secret"
)

// watchEvery is how often a Notifier looks at the credentials; it takes a fiftieth
// of its time at most.
const watchEvery = 2 * time.Second

// Target is the webhook that is told.
type Target struct {
	URL    string
	Key    func() (secret.Value, error) // signs what is sent
	Client func() *http.Client          // guarded, without redirects; bounds each request
}

// NotifierOptions of a Notifier. File, Target and History are required.
type NotifierOptions struct {
	File    string         // where it is kept what was told
	Target  func() *Target // nil: nobody is told
	History *History
	Used    func() map[string]Use // what use has shown, by full reference, in a map of its own; nil: nothing
	Log     *slog.Logger          // nil: nothing is logged
	Metrics prometheus.Registerer // nil: nothing is measured
}

// Notifier tells a webhook when a credential breaks and when it recovers, each once,
// also over restarts. It is recovered when a check or a request since has shown so;
// what tells nothing changes nothing. Nobody waits for it.
type Notifier struct {
	o    NotifierOptions
	wake chan struct{} // for the one that looks
	work chan struct{} // for the one that sends
	sent *prometheus.CounterVec

	writing sync.Mutex // held while File is written; taken before mu

	mu       sync.Mutex
	troubles map[string]*trouble // by full reference
	loaded   bool
	looked   time.Time // when it looked last
	fresh    bool      // another target may take what the last did not
	dirty    bool      // troubles are not saved as they are, and nobody is about to
	unsaved  bool      // saving them fails
	saved    time.Time // when that was tried last
}

// NewNotifier makes a Notifier. It does no I/O.
func NewNotifier(o NotifierOptions) *Notifier {
	if o.Used == nil {
		o.Used = func() map[string]Use { return nil }
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Notifier{
		o: o, wake: make(chan struct{}, 1), work: make(chan struct{}, 1), sent: newNotifications(o.Metrics), troubles: map[string]*trouble{},
	}
}

// Run looks and tells until ctx ends.
func (n *Notifier) Run(ctx context.Context) error {
	var group sync.WaitGroup
	defer n.Save()
	defer group.Wait()
	group.Go(func() { n.send(ctx) })
	for {
		start := time.Now()
		if n.o.Target() != nil {
			n.look()
		}
		t := time.NewTimer(max(watchEvery, 50*time.Since(start)))
		select {
		case <-ctx.Done():
			t.Stop()
			return nil
		case <-n.wake:
			t.Stop()
		case <-t.C:
		}
	}
}

// Save keeps what was told since the last look: a daemon that ends may not wait for
// Run.
func (n *Notifier) Save() {
	n.writing.Lock()
	defer n.writing.Unlock()
	b, err := n.unwritten()
	if b == nil && err == nil {
		return
	}
	if err == nil {
		n.o.History.Save() // what is told must not be newer than what is known after a restart
		err = file.Write(n.o.File, b, file.Private)
	}
	if n.wrote(err) {
		n.o.Log.Warn("what the webhook is told is not kept over a restart", "error", err)
	}
}

// unwritten gives the file as it is to be; nil: it is so already.
func (n *Notifier) unwritten() ([]byte, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.dirty {
		return nil, nil
	}
	n.dirty = false
	return encodeTroubles(n.troubles)
}

// wrote takes note of what became of the writing, and reports whether that it fails
// is new.
func (n *Notifier) wrote(err error) (news bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	news = err != nil && !n.unsaved
	n.dirty, n.unsaved, n.saved = n.dirty || err != nil, err != nil, time.Now()
	return news
}

// Wake has Run look at once, and try what a target of another configuration may take.
func (n *Notifier) Wake() {
	n.mu.Lock()
	n.fresh = true
	n.mu.Unlock()
	poke(n.wake)
	poke(n.work)
}

// poke tells a loop, unless it is told already.
func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Forget drops what is known of a credential that was removed. Nobody is told.
func (n *Notifier) Forget(ref string) {
	n.mu.Lock()
	known := n.loaded && n.troubles[ref] != nil
	if known {
		delete(n.troubles, ref)
		n.dirty = true
	}
	n.mu.Unlock()
	if known {
		n.Save()
	}
}

// look takes note of what has changed since the last look, and keeps it.
func (n *Notifier) look() {
	defer n.Save()
	reports, uses := n.o.History.lasts(), n.o.Used()
	now := time.Now()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.load()
	if n.looked.IsZero() {
		n.looked = now
	}
	changed := false
	for _, t := range n.troubles {
		t.Since = earlier(t.Since, now) // a clock that was set back since has told it
	}
	for ref, rep := range reports {
		changed = n.note(ref, uses[ref], rep) || changed
		delete(uses, ref)
	}
	for ref, u := range uses {
		changed = n.note(ref, u, nil) || changed
	}
	for ref, t := range n.troubles {
		c, over := t.settle(ref, now)
		if changed = changed || c || over; over {
			delete(n.troubles, ref)
		}
	}
	if n.looked = now; changed {
		n.dirty = true
		poke(n.work)
	}
}

// note takes note of one credential.
func (n *Notifier) note(ref string, u Use, rep *Report) (changed bool) {
	s, t := see(u, rep), n.troubles[ref]
	byUse := Standing(u.Stands(rep), u.Good, nil).broken()
	switch {
	case s.Status.broken() && t != nil && t.Broken:
		if t.Seen = s; !byUse && !rep.CheckedAt.After(time.Now()) {
			t.Since = later(t.Since, rep.CheckedAt)
		}
		return false
	case s.Status.broken():
		since := n.looked
		if !byUse {
			since = rep.CheckedAt
		}
		if t != nil {
			t.breaks(s, t.Seen.Status, since)
			return true
		}
		if len(n.troubles) >= maxReports {
			return false
		}
		t = &trouble{}
		n.troubles[ref] = t
		t.breaks(s, n.before(ref), since)
		return true
	case t != nil && t.Broken && mended(t, u, &s, rep):
		t.mends(s)
		return true
	}
	return false
}

// before gives what a credential was before it broke; unknown if nobody knows.
func (n *Notifier) before(ref string) Status {
	for _, r := range n.o.History.Of(ref) {
		if s := Standing(nil, time.Time{}, r); s != Unknown && !s.broken() {
			return s
		}
	}
	return Unknown
}

// mended reports whether something has shown since that a broken credential is good:
// a check that the provider took it in, or a request.
func mended(t *trouble, u Use, s *sight, rep *Report) bool {
	if rep != nil && !rep.restored && rep.Taken() && rep.CheckedAt.After(t.Since) {
		return true
	}
	if u.Fault != nil || !u.Good.After(t.Since) {
		return false
	}
	if s.Status == Unknown {
		s.Status = OK
	}
	return true
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// load reads what was told before a restart, once.
func (n *Notifier) load() {
	if n.loaded {
		return
	}
	n.loaded = true
	b, err := file.ReadPrivate(n.o.File)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	var all map[string]*trouble
	if err == nil {
		err = json.Unmarshal(b, &all)
	}
	if err != nil {
		n.o.Log.Warn("what the webhook was told before this start is not known", "error", err)
		return
	}
	for ref, t := range all {
		if t != nil && len(n.troubles) < maxReports {
			n.troubles[ref] = t
		}
	}
	poke(n.work)
}
