// Package credtest is a store in memory, for the tests of other packages, and
// the tests that every store passes.
package credtest

import (
	"context"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/secret"
)

// Store is a credential.Store in memory. The zero Store is empty and works.
type Store struct {
	Gets, Lists, Folds atomic.Int64 // how often it was read

	mu    sync.Mutex
	m     map[credential.Ref]*credential.Credential
	err   error
	until int64 // Gets that err begins after
}

// Add puts a record of the given type; fields are name, value pairs.
func (s *Store) Add(ref, typ string, fields ...string) *credential.Credential {
	r, err := credential.ParseRef(ref)
	if err != nil {
		panic(err)
	}
	c := &credential.Credential{Ref: r, Type: typ}
	for i := 0; i+1 < len(fields); i += 2 {
		c.Set(fields[i], secret.New(fields[i+1]))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.m[r]; old != nil {
		c.Version = old.Version
	}
	s.put(c)
	return c
}

// Fail makes every call fail with err from now on; nil ends that.
func (s *Store) Fail(err error) {
	s.FailAfter(0, err)
}

// FailAfter makes every call fail with err once there were n more Gets.
func (s *Store) FailAfter(n int64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err, s.until = err, s.Gets.Load()+n
}

func (s *Store) failed() error {
	if s.Gets.Load() < s.until {
		return nil
	}
	return s.err
}

// Get implements credential.Store.
func (s *Store) Get(_ context.Context, ref credential.Ref) (*credential.Credential, error) {
	s.Gets.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.failed(); err != nil {
		return nil, err
	}
	c, ok := s.m[ref]
	if !ok {
		return nil, fault.New(fault.CredentialNotFound, ref.String(), nil)
	}
	return c.Clone(), nil
}

// List implements credential.Store.
func (s *Store) List(_ context.Context, folder credential.Ref) ([]credential.Ref, error) {
	s.Lists.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.failed(); err != nil {
		return nil, err
	}
	var refs []credential.Ref
	for r := range s.m {
		if r.In(folder) {
			refs = append(refs, r)
		}
	}
	slices.SortFunc(refs, credential.Ref.Compare)
	return refs, nil
}

// Folders implements credential.Store.
func (s *Store) Folders(_ context.Context, folder credential.Ref) ([]string, error) {
	s.Folds.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.failed(); err != nil {
		return nil, err
	}
	names := map[string]bool{}
	for r := range s.m {
		if r.In(folder) {
			names[r.Below(folder)] = true
		}
	}
	return slices.Sorted(maps.Keys(names)), nil
}

// Put implements credential.Store.
func (s *Store) Put(_ context.Context, c *credential.Credential) error {
	if err := c.Ref.Validate(); err != nil {
		return fault.New(fault.InvalidRequest, err.Error(), nil)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.failed(); err != nil {
		return err
	}
	var have int
	if old := s.m[c.Ref]; old != nil {
		have = old.Version
	}
	if have != c.Version {
		return fault.New(fault.StoreConflict, c.Ref.String(), nil)
	}
	s.put(c)
	return nil
}

// Delete implements credential.Store.
func (s *Store) Delete(_ context.Context, ref credential.Ref) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.failed(); err != nil {
		return err
	}
	if _, ok := s.m[ref]; !ok {
		return fault.New(fault.CredentialNotFound, ref.String(), nil)
	}
	delete(s.m, ref)
	return nil
}

func (s *Store) put(c *credential.Credential) {
	if s.m == nil {
		s.m = map[credential.Ref]*credential.Credential{}
	}
	c.Version++
	s.m[c.Ref] = c.Clone()
}
