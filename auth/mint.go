package auth

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
)

// TypeOf is the record's credential type; a record without one has the provider's default.
func TypeOf(p *provider.Provider, c *credential.Credential) string {
	if c.Type == "" {
		return p.Type
	}
	return c.Type
}

// Mint makes an injector of a record of any type. Errors are *fault.Fault:
// field_missing for a record that is not complete or cannot go on the wire, and
// the token endpoint's for kinds that have one.
func Mint(ctx context.Context, m Material) (*Injector, error) {
	k, err := kindFor(m.Provider, m.Credential)
	if err != nil {
		return nil, about(m, err)
	}
	if m.Provider.Protocol == provider.FTP {
		return nil, about(m, errNotHTTP)
	}
	i, err := k.Mint(ctx, m)
	if err != nil {
		return nil, about(m, err)
	}
	return i, nil
}

// Validate tells what keeps the record from being used, without any I/O: an
// unknown type, one that the provider does not accept, a missing field, a value
// that cannot go on the wire. The fault is an invalid_request that names the
// field, never its value.
func Validate(p *provider.Provider, c *credential.Credential) error {
	m := Material{Provider: p, Credential: c}
	k, err := kindFor(p, c)
	if err == nil {
		err = k.check(m)
	}
	if err == nil {
		return nil
	}
	f := about(m, err)
	return fault.New(fault.InvalidRequest, f.Detail, nil).On(f.Credential, f.Provider)
}

// check does what minting does as far as it needs no I/O.
func (k Kind) check(m Material) error {
	if m.Provider.Protocol == provider.FTP {
		_, err := FTPOf(m.Provider, m.Credential)
		return err
	}
	if k.plan != nil {
		return k.plan(m)
	}
	_, err := k.Mint(context.Background(), m)
	return err
}

func kindFor(p *provider.Provider, c *credential.Credential) (Kind, error) {
	name := TypeOf(p, c)
	k, ok := Lookup(name)
	switch {
	case !ok:
		return Kind{}, unfit("type: %q is not a credential type", name)
	case !accepts(p, name):
		return Kind{}, unfit("type: provider %s does not accept %s; it accepts %s", p.Name, name, strings.Join(accepted(p), ", "))
	}
	for _, f := range k.Needs(p) {
		if c.Field(f).Empty() && !k.spares(c, f) {
			return Kind{}, k.lacks(f)
		}
	}
	return k, nil
}

// accepts: a provider that names no type at all takes every type.
func accepts(p *provider.Provider, name string) bool {
	a := accepted(p)
	return len(a) == 0 || slices.Contains(a, name)
}

func accepted(p *provider.Provider) []string {
	if p.Type == "" {
		return p.Types
	}
	return slices.Concat([]string{p.Type}, p.Types)
}

// unfit is a fault of the record. Its detail names fields, never values.
func unfit(format string, args ...any) error {
	return fault.New(fault.FieldMissing, fmt.Sprintf(format, args...), nil)
}

// about gives err as a fault that names the credential and the provider.
func about(m Material, err error) *fault.Fault {
	var f *fault.Fault
	if !errors.As(err, &f) {
		f = fault.From(err)
	}
	return f.On(m.Credential.Ref.String(), m.Provider.Name)
}
