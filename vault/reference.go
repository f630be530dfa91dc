package vault

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
)

// Reference is a credential that the configuration names: a secret that already lies in Vault, or is issued there, at
// a path of its own.
type Reference struct {
	Ref    credential.Ref
	Type   string            // of the credential; "": the provider's
	Path   string            // logical, as vault kv get takes it: MOUNT/NAME
	Fields map[string]string // ours = theirs; none: every member of the secret under its own name
}

// writable reports whether we may write the secret: its token fields only, and only if they are mapped.
func (r Reference) writable() bool {
	return slices.ContainsFunc(credential.TokenFields, func(name string) bool { return r.Fields[name] != "" })
}

func (r Reference) equal(o Reference) bool {
	return r.Ref == o.Ref && r.Type == o.Type && r.Path == o.Path && maps.Equal(r.Fields, o.Fields)
}

// reference is a Reference with what is known of it.
type reference struct {
	Reference
	turn   chan struct{}         // holds one token: an engine is asked by one call at a time
	lease  atomic.Pointer[lease] // what is held; nil: nothing
	hidden atomic.Bool           // it was told that a record is hidden
}

// references are the credentials that the configuration names.
type references map[credential.Ref]*reference

// Refer tells which credentials the configuration names, in place of those it named before. What is unchanged keeps
// what it holds. It makes no call. It is called by one goroutine at a time.
func (v *Vault) Refer(list []Reference) {
	old, all := v.references(), make(references, len(list))
	for _, r := range list {
		r.Path, r.Fields = strings.Trim(r.Path, "/"), maps.Clone(r.Fields)
		if kept := old[r.Ref]; kept != nil && kept.equal(r) {
			all[r.Ref] = kept
			continue
		}
		all[r.Ref] = &reference{Reference: r, turn: make(chan struct{}, 1)}
	}
	v.referred.Store(&all)
}

// references gives what Refer told last. It is not to be changed.
func (v *Vault) references() references {
	if all := v.referred.Load(); all != nil {
		return *all
	}
	return nil
}

// readReference gives what r refers to. While a lease is held that is not due, no call is made; one that is due serves
// until its end if Vault does not give another.
func (v *Vault) readReference(ctx context.Context, r *reference) (*credential.Credential, error) {
	if l := v.holding(r); l != nil && !v.due(ctx, l) {
		return v.shown(l), nil
	}
	c, err := v.fetch(ctx, r)
	if err == nil {
		return c, nil
	}
	l := v.holding(r)
	if l == nil {
		return nil, err
	}
	if answered(err) { // an outage is told once, not by every lease
		v.log.Warn("a lease was not renewed; what is held serves until its end", "credential", r.Ref.String(), "path", r.Path, "err", err)
	}
	return v.shown(l), nil
}

func (v *Vault) fetch(ctx context.Context, r *reference) (c *credential.Credential, err error) {
	if err := v.pace(ctx); err != nil {
		return nil, err
	}
	ctx, cancel := limit(ctx, callLimit)
	defer cancel()
	err = v.at(ctx, r.Path, func(m mount) (err error) {
		if m.kv == 0 {
			c, err = v.lent(ctx, r)
			return err
		}
		c, err = v.readKV(ctx, m, r)
		return err
	})
	return c, err
}

// writeReference writes the token fields of c into the secret that r refers to.
func (v *Vault) writeReference(ctx context.Context, r *reference, c *credential.Credential) error {
	if !r.writable() {
		return r.readOnly("")
	}
	return v.at(ctx, r.Path, func(m mount) error {
		if m.kv == 0 {
			return r.readOnly("; it is issued there")
		}
		return v.writeKV(ctx, m, r, c)
	})
}

// deleteReference removes what the configuration names from where it lies.
func (v *Vault) deleteReference(ctx context.Context, r *reference) error {
	return v.at(ctx, r.Path, func(m mount) error {
		if m.kv == 0 {
			return r.readOnly("; it is issued there")
		}
		name, err := r.nameIn(m)
		if err != nil {
			return err
		}
		err = v.remove(ctx, m, name, "data", func(rec *record) error { return r.missing(rec.fate()+hint(m, name), nil) })
		if errors.Is(err, fault.VaultDenied) {
			return fault.New(fault.VaultDenied, fmt.Sprintf("deleting it needs delete on %s, which sallyport vault policy leaves to you", m.at("data", name)), err)
		}
		return err
	})
}

// readOnly is the fault of a change that is not ours to make.
func (r *reference) readOnly(why string) error {
	return fault.New(fault.InvalidRequest, fmt.Sprintf(
		"%s is named by the configuration and lies at %s in Vault%s; change it there, or its [[credential]] entry", r.Ref, r.Path, why), nil)
}

// missing is the fault of a path at which there is nothing.
func (r *reference) missing(why string, err error) error {
	return fault.New(fault.CredentialNotFound, fmt.Sprintf("%s: %s in Vault%s", r.Ref, r.Path, why), err)
}

var errPath = errors.New("a path in Vault has a mount and a name")

// nameIn gives the name of r's secret inside its mount.
func (r *reference) nameIn(m mount) (string, error) {
	name, ok := strings.CutPrefix(r.Path, m.path+"/")
	if !ok || name == "" {
		return "", r.missing(" is a mount, not a secret", errPath)
	}
	return name, nil
}
