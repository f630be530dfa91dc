package credtest

import (
	"context"
	"maps"
	"slices"
	"sync"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/secret"
)

// Apps is a credential.Apps in memory. The zero Apps is empty and works.
type Apps struct {
	mu      sync.Mutex
	m       map[credential.AppName]*credential.App
	version int
	err     error
}

// Add puts an app, whatever was there.
func (s *Apps) Add(workspace, provider, id, clientSecret string) {
	a := &credential.App{Workspace: workspace, Provider: provider, ClientID: id, ClientSecret: secret.New(clientSecret)}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.put(a)
}

// Fail makes every call fail with err from now on; nil ends that.
func (s *Apps) Fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

// App implements credential.Apps.
func (s *Apps) App(_ context.Context, workspace, provider string) (*credential.App, error) {
	name := credential.AppName{Workspace: workspace, Provider: provider}
	s.mu.Lock()
	defer s.mu.Unlock()
	a, err := s.find(name)
	if err != nil {
		return nil, err
	}
	return a.Clone(), nil
}

// PutApp implements credential.Apps.
func (s *Apps) PutApp(_ context.Context, a *credential.App) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	have := 0
	switch old, err := s.find(a.Name()); {
	case err == nil:
		have = old.Version
	case fault.From(err).Code != fault.NotFound:
		return err
	}
	if have != a.Version {
		return fault.New(fault.StoreConflict, a.Name().String(), nil)
	}
	s.put(a)
	return nil
}

// DeleteApp implements credential.Apps.
func (s *Apps) DeleteApp(_ context.Context, workspace, provider string) error {
	name := credential.AppName{Workspace: workspace, Provider: provider}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := s.find(name); err != nil {
		return err
	}
	delete(s.m, name)
	return nil
}

// ListApps implements credential.Apps.
func (s *Apps) ListApps(context.Context) ([]credential.AppName, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.SortedFunc(maps.Keys(s.m), credential.AppName.Compare), s.err
}

func (s *Apps) find(name credential.AppName) (*credential.App, error) {
	if err := name.Validate(); err != nil {
		return nil, fault.New(fault.InvalidRequest, err.Error(), nil)
	}
	a := s.m[name]
	if s.err == nil && a == nil {
		return nil, fault.New(fault.NotFound, name.String(), nil)
	}
	return a, s.err
}

func (s *Apps) put(a *credential.App) {
	if s.m == nil {
		s.m = map[credential.AppName]*credential.App{}
	}
	s.version++
	a.Version = s.version
	s.m[a.Name()] = a.Clone()
}
