package vault

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/sallyport/sallyport/internal/fault"
)

// askAgain is how long it is believed that a mount is what it was, whatever is refused there.
const askAgain = time.Second

// engines remembers which secrets engine lies where, for as long as a session lasts. Mounts do not lie in each other,
// so that one answer does for every path below a mount.
type engines struct {
	mu    sync.Mutex
	of    *session
	asked map[string]engine // by the mount's path
}

type engine struct {
	mount
	at time.Time // when it was asked for
}

// find gives what is known of the mount that a logical path belongs to.
func (e *engines) find(s *session, path string) (engine, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.of != s {
		return engine{}, false
	}
	for i, c := range path + "/" {
		if c != '/' {
			continue
		}
		if known, ok := e.asked[path[:i]]; ok {
			return known, true
		}
	}
	return engine{}, false
}

// keep takes note of an answer that the session s got; what another was told is forgotten.
func (e *engines) keep(s *session, m mount) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.of != s {
		e.of, e.asked = s, map[string]engine{}
	}
	e.asked[m.path] = engine{m, time.Now()}
}

// at calls fn with the mount that a logical path belongs to. If what fn is told there does not fit what was known of
// the mount, it is asked for anew, and if it has changed, as by an upgrade of KV version 1 to 2, fn is called again.
func (v *Vault) at(ctx context.Context, path string, fn func(mount) error) error {
	known, ok := v.engines.find(v.held(), path)
	if !ok {
		m, err := v.engine(ctx, path)
		if err != nil {
			return err
		}
		return fn(m)
	}
	err := fn(known.mount)
	if !astray(err) || time.Since(known.at) < askAgain {
		return err
	}
	m, e := v.engine(ctx, path)
	if e != nil || m == known.mount {
		return err
	}
	v.log.Info("a mount of vault has changed", "mount", m.path, "kv_version", m.kv)
	return fn(m)
}

// astray reports whether a call may have ended so because the mount is not what it was thought to be.
func astray(err error) bool {
	return errors.Is(err, fault.CredentialNotFound) || errors.Is(err, fault.VaultDenied) || errors.Is(err, fault.Internal)
}

// engine asks for the mount that a logical path belongs to.
func (v *Vault) engine(ctx context.Context, path string) (mount, error) {
	var m mount
	err := v.within(ctx, opMounts, mountsPath+path, func(ctx context.Context, s *session) (err error) {
		if m, err = askMount(ctx, s.client, path); err != nil {
			return err
		}
		if !strings.HasPrefix(path+"/", m.path+"/") {
			return errAnswer
		}
		v.engines.keep(s, m)
		return nil
	})
	return m, err
}
