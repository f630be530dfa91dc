package auth

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
	"github.com/sallyport/sallyport/internal/secret"
)

// KeeperOptions say where tokens are kept.
type KeeperOptions struct {
	Store    credential.Store
	Journal  *Journal                              // nil: there is none
	Required bool                                  // without a journal no refresh token that rotates is spent
	Life     context.Context                       // of the exchanges: the daemon's; nil: for ever
	Provider func(name string) *provider.Provider  // for what an earlier process left; nil: none
	Client   func(*provider.Provider) *http.Client // for the same
	Log      *slog.Logger                          // nil: nothing is logged
	Metrics  *Metrics                              // nil: nothing is counted
	Reached  func(point string)                    // told of each step of a spending; nil: nobody

	// Secret gives the secret that a record's client has by now, where that is
	// known (AppSecrets). nil: the record's own is used.
	Secret func(ctx context.Context, ref credential.Ref, clientID string) (secret.Value, bool)
}

// Keeper gets tokens and keeps them: it uses what a record holds, asks for what
// it lacks, and spends a refresh token once, whatever processes share the store
// and whenever one of them is killed: claim, intent, one request, the answer in
// the journal, the answer in the store.
type Keeper struct {
	o      KeeperOptions
	owner  string
	flight singleflight.Group
	pace   pace

	mu      sync.Mutex
	pending map[credential.Ref]*publication // answers that the store does not have yet
	unsent  map[credential.Ref]string       // our last claim that led to no request
	seen    map[credential.Ref]sight        // of when a token endpoint may be asked again
	denied  map[credential.Ref]time.Time    // the store did not let us write; not tried before
	busy    int                             // demands that are being met
	wake    chan struct{}                   // a publication is due
}

// NewKeeper makes a keeper. It does no I/O.
func NewKeeper(o KeeperOptions) *Keeper {
	if o.Life == nil {
		o.Life = context.Background()
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Reached == nil {
		o.Reached = func(string) {}
	}
	k := &Keeper{
		o: o, owner: rand.Text(), wake: make(chan struct{}, 1),
		pending: map[credential.Ref]*publication{}, unsent: map[credential.Ref]string{},
		seen: map[credential.Ref]sight{}, denied: map[credential.Ref]time.Time{},
	}
	if o.Journal != nil {
		k.owner = o.Journal.owner
	}
	o.Metrics.watch(o.Journal)
	return k
}

// Demand is for a token of one credential.
type Demand struct {
	Provider *provider.Provider
	Client   *http.Client           // for the token endpoint
	Record   *credential.Credential // as it was read last
	Have     secret.Value           // an access token that will not do: it was refused, or nears its end; empty: any valid one will
	Leisure  context.Context        // done when somebody waits for the token; nil: somebody does
}

// Obtained is a token that will do.
type Obtained struct {
	Record   *credential.Credential // with the token in it; not shared
	Injector *Injector
	Minted   bool // a token endpoint gave it just now

	base *credential.Credential // as a reading of the store will give it; nil: as Record
}

// stored gives the record as a reading of the store will give it.
func (o Obtained) stored() *credential.Credential {
	if o.base != nil {
		return o.base
	}
	return o.Record
}

// Obtain gives a token. Those who ask for one credential share the work, which
// goes on when ctx ends. Errors are *fault.Fault.
func (k *Keeper) Obtain(ctx context.Context, d Demand) (Obtained, error) {
	kind, err := kindFor(d.Provider, d.Record)
	if err != nil {
		return Obtained{}, err
	}
	if d.satisfied(d.Record, time.Now()) {
		return k.with(d.Record.Clone(), d, kind, false)
	}
	for {
		ch := k.flight.DoChan(d.Record.Ref.String(), func() (any, error) {
			got, err := k.obtain(k.o.Life, d, kind)
			return landed{got, d.Have}, err
		})
		select {
		case res := <-ch:
			got, _ := res.Val.(landed)
			switch {
			case errors.Is(res.Err, errRetry):
				continue
			case !got.have.Equal(d.Have) && (res.Err != nil || !d.satisfied(got.Record, time.Now())):
				continue // somebody with another token in hand asked for it
			case res.Err != nil:
				return Obtained{}, res.Err
			}
			got.Record = got.Record.Clone()
			return got.Obtained, nil
		case <-ctx.Done():
			return Obtained{}, fault.New(fault.Timeout, "the request ended while its token was being made", ctx.Err())
		}
	}
}

// landed is what a flight brings to all who share it, and what it was asked for.
type landed struct {
	Obtained
	have secret.Value
}

// satisfied: the record holds a valid token that is not the one which will not do.
func (d Demand) satisfied(c *credential.Credential, now time.Time) bool {
	t, ok := tokenOf(c)
	return ok && t.live(now) && t.access != d.Have.Reveal()
}

func (k *Keeper) obtain(ctx context.Context, d Demand, kind Kind) (Obtained, error) {
	k.mu.Lock()
	k.busy++
	k.mu.Unlock()
	defer func() {
		k.mu.Lock()
		k.busy--
		k.mu.Unlock()
	}()
	if kind.refreshes && !d.Record.Field("refresh_token").Empty() {
		c, minted, err := k.refresh(ctx, d, kind)
		if err == nil {
			return k.with(c, d, kind, minted)
		}
		if kind.ask == nil || !errors.Is(err, fault.ReauthorizationRequired) && !errors.Is(err, fault.FieldMissing) {
			return Obtained{}, err
		}
	}
	if d.satisfied(d.Record, time.Now()) {
		return k.with(d.Record, d, kind, false)
	}
	if _, ok := connectedOf(d.Record); kind.ask == nil && ok {
		return Obtained{}, reauthorize("the grant has no refresh token, and its access token is no good any more")
	}
	if kind.ask == nil {
		return Obtained{}, fault.New(fault.FieldMissing, "field refresh_token is missing, and the record holds no valid access_token", nil)
	}
	c, kept, err := k.ask(ctx, d, kind)
	if err != nil {
		return Obtained{}, err
	}
	got, err := k.with(c, d, kind, true)
	if !kept {
		got.base = d.Record
	}
	return got, err
}

// with makes the injector of the record's token.
func (k *Keeper) with(c *credential.Credential, d Demand, kind Kind, minted bool) (Obtained, error) {
	t, _ := tokenOf(c)
	i, err := t.injector(kind, Material{Credential: c, Provider: d.Provider})
	if err != nil {
		return Obtained{}, err
	}
	i.stored = !minted
	return Obtained{Record: c, Injector: i, Minted: minted}, nil
}

// ask gets a token by what the record holds for good. That it is kept in the
// store spares others, and us after a restart, from asking too; nothing is lost
// where it cannot be, but for a refresh token that came with it. kept tells
// whether the store has it, or will.
func (k *Keeper) ask(ctx context.Context, d Demand, kind Kind) (c *credential.Credential, kept bool, err error) {
	if _, err := k.pace.wait(ctx, d.Leisure); err != nil {
		return nil, false, stopping(err)
	}
	start := time.Now()
	g, err := kind.obtain(ctx, Material{Credential: d.Record, Provider: d.Provider, Client: d.Client})
	k.o.Metrics.refreshed(d.Provider.Name, kind.Grant, outcomeName(err), time.Since(start))
	if err != nil {
		return nil, false, err
	}
	k.tellScope(d, g)
	c = d.Record.Clone()
	if !kind.refreshes {
		g.refresh = ""
	}
	g.write(kind, c, time.Now())
	if g.refresh != "" {
		k.publish(ctx, &publication{ref: c.Ref, record: c, kind: kind, granted: g, at: time.Now()})
		return c, true, nil
	}
	return c, k.keep(ctx, c), nil
}

// keep writes a token that could be asked for again: once, and not again for a
// while where the store does not let us. false: the store does not have it.
func (k *Keeper) keep(ctx context.Context, c *credential.Credential) bool {
	k.mu.Lock()
	until := k.denied[c.Ref]
	k.mu.Unlock()
	if c.Version == 0 || time.Now().Before(until) {
		return false
	}
	err := k.put(ctx, c)
	if err == nil || errors.Is(err, fault.StoreConflict) {
		return err == nil
	}
	k.o.Log.Debug("a token was not kept in the store", "credential", c.Ref.String(), "error", err)
	k.mu.Lock()
	k.denied[c.Ref] = time.Now().Add(deniedPause)
	k.mu.Unlock()
	return false
}

// deniedPause is how long a store that refused a write is not asked again.
const deniedPause = 10 * time.Minute

// tellScope logs what an authorization server gave less, or more, than was asked
// for or given before.
func (k *Keeper) tellScope(d Demand, g granted) {
	asked := scopeOf(Material{Credential: d.Record, Provider: d.Provider})
	if missing := g.lacks(asked); len(missing) > 0 {
		k.o.Log.Warn("the authorization server granted less than was asked for", "credential", d.Record.Ref.String(), "missing", missing)
	}
	if more := g.exceeds(asked); len(more) > 0 {
		k.o.Log.Warn("the authorization server granted more than was asked for", "credential", d.Record.Ref.String(), "more", more)
	}
}

// maxStore bounds one call of the store.
const maxStore = 15 * time.Second

func (k *Keeper) get(ctx context.Context, ref credential.Ref) (*credential.Credential, error) {
	ctx, cancel := context.WithTimeout(ctx, maxStore)
	defer cancel()
	return k.o.Store.Get(ctx, ref)
}

func (k *Keeper) put(ctx context.Context, c *credential.Credential) error {
	ctx, cancel := context.WithTimeout(ctx, maxStore)
	defer cancel()
	return k.o.Store.Put(ctx, c)
}

func outcomeName(err error) string {
	if err == nil {
		return "ok"
	}
	return string(fault.From(err).Code)
}
