package vault

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/secret"
)

// Operations on leases, as the metric names them.
const (
	opIssue       = "issue"
	opLeaseRenew  = "lease_renew"
	opLeaseLookup = "lease_lookup"
)

// blindFor is how long a lease that our policy does not let us look up is not replaced.
const blindFor = 10 * time.Second

// loan is what an engine answers: to a reading of its path, and to a renewal.
type loan struct {
	LeaseID       secret.Value    `json:"lease_id"`       // "": what it gives is not lent for a time
	LeaseDuration int64           `json:"lease_duration"` // seconds
	Renewable     bool            `json:"renewable"`
	Data          json.RawMessage `json:"data"`
}

func (l *loan) life() time.Duration { return time.Duration(l.LeaseDuration) * time.Second }

// lent gives what the engine at r's path has lent us, or gives at this moment if it lends nothing. One call is made at
// a time; who can be served meanwhile is.
func (v *Vault) lent(ctx context.Context, r *reference) (*credential.Credential, error) {
	before := v.holding(r)
	select {
	case r.turn <- struct{}{}:
	default:
		if before != nil && credential.NeedOf(ctx) != credential.Refused {
			return v.shown(before), nil
		}
		select {
		case r.turn <- struct{}{}:
		case <-ctx.Done():
			return nil, fault.New(fault.VaultUnreachable, "", context.Cause(ctx))
		}
	}
	defer func() { <-r.turn }()
	now := v.holding(r)
	if now != nil && (now != before || !v.due(ctx, now)) { // somebody else has seen to it
		return v.shown(now), nil
	}
	return v.tend(ctx, r, now)
}

// tend sees to a lease that is due; nil: there is none.
func (v *Vault) tend(ctx context.Context, r *reference, l *lease) (*credential.Credential, error) {
	if l == nil || l.session != v.held() {
		return v.issue(ctx, r)
	}
	if credential.NeedOf(ctx) == credential.Refused {
		dead, err := v.dead(ctx, l)
		switch {
		case err != nil:
			return nil, err
		case dead:
			v.log.Warn("a lease has ended before its time", "credential", r.Ref.String(), "path", r.Path)
			v.leases.drop(l)
			r.lease.Store(nil)
			return v.issue(ctx, r)
		case l.session == v.held() && !l.aged(time.Now()):
			return v.shown(l), nil
		}
	}
	if l.renewable && l.life >= l.first/2 {
		renewed, err := v.renewLease(ctx, r, l)
		if err != nil {
			return nil, err
		}
		if renewed != nil {
			return v.shown(renewed), nil
		}
	}
	return v.issue(ctx, r)
}

// issue has the engine at r's path issue a secret. Who asked may leave: a lease that was made is held all the same.
func (v *Vault) issue(ctx context.Context, r *reference) (*credential.Credential, error) {
	done, ok := v.leases.open()
	if !ok {
		return nil, fault.New(fault.VaultUnreachable, "", errEnded)
	}
	defer done()
	ctx, cancel := staying(ctx)
	defer cancel()
	var (
		out  loan
		by   *session
		from time.Time
	)
	err := v.within(ctx, opIssue, r.Path, func(ctx context.Context, s *session) error {
		out, by, from = loan{}, s, time.Now()
		err := read(ctx, s.client, r.Path, nil, &out)
		if err == nil && (len(out.Data) == 0 || !out.LeaseID.Empty() && out.LeaseDuration <= 0) {
			return errAnswer
		}
		return err
	})
	if err != nil {
		return nil, r.notIssued(err)
	}
	if out.LeaseID.Empty() {
		return v.decode(r, versionOf(out.Data), out.Data)
	}
	c, err := v.decode(r, v.leases.number(), out.Data)
	if err != nil {
		return nil, err
	}
	l := &lease{out.LeaseID, by, out.Renewable, out.life(), out.life(), from, c}
	v.leases.keep(l, v.ended)
	r.lease.Store(l)
	v.log.Info("vault has issued a secret", "credential", r.Ref.String(), "path", r.Path, "life", l.life, "renewable", l.renewable)
	return v.shown(l), nil
}

var errEnded = errors.New("vault: no more leases are made")

// staying is a context with the time limit of ctx that does not end with ctx.
func staying(ctx context.Context) (context.Context, context.CancelFunc) {
	end, ok := ctx.Deadline()
	if !ok {
		end = time.Now().Add(callLimit)
	}
	return context.WithDeadlineCause(context.WithoutCancel(ctx), end, errSlow)
}

// notIssued tells what an engine says by status 400 and 405: that there is no such role, or nothing to be read.
func (r *reference) notIssued(err error) error {
	if s := status(err); s == http.StatusBadRequest || s == http.StatusMethodNotAllowed || s == http.StatusNotFound {
		return r.missing(": nothing is issued there", err)
	}
	return err
}

// renewLease extends l. It gives nil if l is to be replaced: it cannot be renewed any more, or what was granted is less
// than half of the first life.
func (v *Vault) renewLease(ctx context.Context, r *reference, l *lease) (*lease, error) {
	var (
		out  loan
		from time.Time
	)
	err := v.within(ctx, opLeaseRenew, "sys/leases/renew", func(ctx context.Context, s *session) error {
		out, from = loan{}, time.Now()
		return write(ctx, s.client, "sys/leases/renew", leaseID(l), &out)
	})
	switch {
	case err == nil && out.life() > 0:
	case err == nil, refused(err), l.late(time.Now()):
		v.log.Debug("a lease is not renewed but replaced", "credential", r.Ref.String(), "path", r.Path, "err", err)
		return nil, nil
	default:
		return nil, err
	}
	next := *l
	next.life, next.from, next.renewable = out.life(), from, out.Renewable
	v.leases.keep(&next, v.ended)
	r.lease.Store(&next)
	v.log.Debug("renewed a lease", "credential", r.Ref.String(), "path", r.Path, "life", next.life)
	if next.life < next.first/2 || next.session != v.held() {
		return nil, nil
	}
	return &next, nil
}

// late reports whether it is time for a successor, whatever keeps l from being renewed.
func (l *lease) late(now time.Time) bool { return now.Sub(l.from) >= l.life*4/5 }

// refused reports whether Vault said no: to that lease, whatever it thinks of others.
func refused(err error) bool {
	s := status(err)
	return s == http.StatusBadRequest || s == http.StatusForbidden || s == http.StatusNotFound
}

// dead asks whether l has ended before its time. Where our policy does not let us ask, an old one counts as dead: what
// it lent was refused.
func (v *Vault) dead(ctx context.Context, l *lease) (bool, error) {
	err := v.within(ctx, opLeaseLookup, "sys/leases/lookup", func(ctx context.Context, s *session) error {
		return write(ctx, s.client, "sys/leases/lookup", leaseID(l), nil)
	})
	switch {
	case v.ended(l): // with its token, as the call has shown
		return true, nil
	case status(err) == http.StatusForbidden && time.Since(l.from) < blindFor:
		return false, nil
	case refused(err):
		return true, nil
	}
	return false, err
}

func leaseID(l *lease) map[string]string { return map[string]string{"lease_id": l.id.Reveal()} }
