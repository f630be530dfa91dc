package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/sallyport/sallyport/auth"
	"github.com/sallyport/sallyport/configs"
	"github.com/sallyport/sallyport/internal/provider"
	"github.com/sallyport/sallyport/internal/seal"
)

// buildKeeper makes what gets tokens and keeps them, over the store. With the
// embedded store a journal is required: there it is the only thing that a
// refresh token's answer cannot be lost by.
func (a *app) buildKeeper(cfg *configs.Config, m *auth.Metrics) error {
	required := cfg.Store.Backend == "file"
	var err error
	if a.journal, err = a.openJournal(cfg); err != nil {
		switch {
		case a.local: // a daemon is about to start, or nothing can be written: no refresh token is spent here
			a.log.Debug("no journal", "error", err)
		case required:
			return err
		default:
			a.log.Warn("there is no journal: a refresh token is lost if this process dies between a token endpoint's answer and the store", "error", err)
		}
	}
	a.keeper = auth.NewKeeper(auth.KeeperOptions{
		Store: a.store, Journal: a.journal, Required: required, Life: a.life, Client: a.client, Log: a.log, Metrics: m,
		Provider: a.provider, Secret: auth.AppSecrets(a.apps(), a.provider),
	})
	a.store = a.keeper.Over()
	return nil
}

// provider gives one of the running configuration; nil: there is none.
func (a *app) provider(name string) *provider.Provider { return a.cfg.Load().Table.Get(name) }

func (a *app) openJournal(cfg *configs.Config) (*auth.Journal, error) {
	sealer, err := a.journalKey(cfg)
	if err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	return auth.OpenJournal(filepath.Join(a.stateDir, "journal"), sealer, a.log)
}

// journalKey is the store's key, or one of the journal's own where records lie
// in Vault.
func (a *app) journalKey(cfg *configs.Config) (seal.Sealer, error) {
	path := filepath.Join(a.stateDir, "journal.key")
	if cfg.Store.Backend == "file" {
		path = keyPath(cfg, a.stateDir)
	}
	if name, ok := strings.CutPrefix(cfg.Store.Key, "transit:"); ok {
		key := a.vault.Transit(name)
		return &lazySealer{open: func(ctx context.Context) (seal.Sealer, error) { return wrappedKey(ctx, cfg, path, key) }}, nil
	}
	if cfg.Store.Backend == "file" {
		return storeKey(cfg, a.stateDir)
	}
	return seal.LoadOrMake(path)
}

// close lets another process have the journal.
func (a *app) close() error {
	if a.journal == nil {
		return nil
	}
	return a.journal.Close()
}

// drainTokens waits for what is being spent, and for the store to have it. A
// signal ends that: the journal knows the rest.
func (a *app) drainTokens(signals <-chan os.Signal) {
	ctx, cancel := context.WithTimeout(a.life, tokenDrain)
	defer cancel()
	go func() {
		for {
			select {
			case s := <-signals:
				if s == syscall.SIGHUP {
					continue
				}
				a.log.Warn("second signal: the journal holds what the store does not have", "signal", s.String())
				cancel()
			case <-ctx.Done():
			}
			return
		}
	}()
	for _, err := range []error{a.connects.Drain(ctx), a.keeper.Drain(ctx)} {
		if err != nil {
			a.log.Warn("drain", "error", err)
		}
	}
}

// tokenDrain is how long the daemon waits at its end for answers of token
// endpoints, and for the store to take them.
const tokenDrain = 30 * time.Second

// lazySealer is a seal.Sealer whose key is got when it is first used.
type lazySealer struct {
	open func(context.Context) (seal.Sealer, error)
	mu   sync.Mutex
	key  seal.Sealer
}

func (l *lazySealer) get() (seal.Sealer, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.key != nil {
		return l.key, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), openLimit)
	defer cancel()
	key, err := l.open(ctx)
	if err != nil {
		return nil, errors.Join(errors.New("its key cannot be had"), err)
	}
	l.key = key
	return key, nil
}

// Seal implements seal.Sealer.
func (l *lazySealer) Seal(plain []byte) ([]byte, error) {
	key, err := l.get()
	if err != nil {
		return nil, err
	}
	return key.Seal(plain)
}

// Open implements seal.Sealer.
func (l *lazySealer) Open(sealed []byte) ([]byte, error) {
	key, err := l.get()
	if err != nil {
		return nil, err
	}
	return key.Open(sealed)
}

// Fingerprint implements seal.Sealer; empty while the key is not there.
func (l *lazySealer) Fingerprint() string {
	key, err := l.get()
	if err != nil {
		return ""
	}
	return key.Fingerprint()
}
