package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sallyport/sallyport/configs"
	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/file"
	"github.com/sallyport/sallyport/internal/seal"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/vault"
)

// openStore opens the configured store of our own records. Where Vault is used,
// for them or for anything else, it is given too, without any I/O yet: somebody
// must Run it, and the store serves once it has logged in.
func openStore(cfg *configs.Config, stateDir string, token secret.Value, log *slog.Logger, reg prometheus.Registerer) (credential.Store, *vault.Vault, error) {
	if !cfg.UsesVault() {
		if reg != nil {
			if err := vault.RegisterWithoutVault(reg); err != nil {
				return nil, nil, err
			}
		}
		s, err := openFileStore(cfg, stateDir, log)
		return s, nil, err
	}
	v, err := vault.NewVault(vaultOptions(cfg, token, log, reg))
	if err != nil {
		return nil, nil, err
	}
	switch {
	case cfg.Store.Backend == "vault":
		return v, v, nil
	case cfg.Store.Key != "":
		s, err := openWrapped(cfg, stateDir, v, log)
		return s, v, err
	}
	s, err := openFileStore(cfg, stateDir, log)
	return s, v, err
}

func openFileStore(cfg *configs.Config, stateDir string, log *slog.Logger) (credential.Store, error) {
	if err := file.MakeBase(stateDir); err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	sealer, err := storeKey(cfg, stateDir)
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	return vault.OpenFile(vault.FileOptions{Dir: storeDir(cfg, stateDir), Sealer: sealer, Log: log})
}

func storeDir(cfg *configs.Config, stateDir string) string {
	if cfg.Store.Dir != "" {
		return cfg.Store.Dir
	}
	return filepath.Join(stateDir, "credentials")
}

// openWrapped gives the store whose key Vault must unwrap first.
func openWrapped(cfg *configs.Config, stateDir string, v *vault.Vault, log *slog.Logger) (credential.Store, error) {
	if err := file.MakeBase(stateDir); err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	key, path := v.Transit(strings.TrimPrefix(cfg.Store.Key, "transit:")), keyPath(cfg, stateDir)
	if err := seal.CheckWrapped(path, key); err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	return newDeferred(func(ctx context.Context) (credential.Store, error) {
		sealer, err := wrappedKey(ctx, cfg, path, key)
		if err != nil {
			return nil, err
		}
		return vault.OpenFile(vault.FileOptions{Dir: storeDir(cfg, stateDir), Sealer: sealer, Log: log})
	}), nil
}

func wrappedKey(ctx context.Context, cfg *configs.Config, path string, key *vault.Transit) (seal.Sealer, error) {
	if cfg.Store.KeyFile == "" {
		return seal.LoadOrMakeWrapped(ctx, path, key)
	}
	s, err := seal.LoadWrapped(ctx, path, key)
	if errors.Is(err, fs.ErrNotExist) {
		return seal.LoadOrMakeWrapped(ctx, path, key)
	}
	return s, err
}

func keyPath(cfg *configs.Config, stateDir string) string {
	if cfg.Store.KeyFile != "" {
		return cfg.Store.KeyFile
	}
	return filepath.Join(stateDir, "store.key")
}

// storeKey reads the key of the store, or makes it. One that the configuration
// names is the operator's: it may be a mount or a link.
func storeKey(cfg *configs.Config, stateDir string) (seal.Sealer, error) {
	path := keyPath(cfg, stateDir)
	if cfg.Store.KeyFile == "" {
		return seal.LoadOrMake(path)
	}
	s, _, err := seal.Load(path)
	if errors.Is(err, fs.ErrNotExist) {
		return seal.LoadOrMake(path)
	}
	return s, err
}

// references are the secrets of others that the configuration names.
func references(cfg *configs.Config) []vault.Reference {
	var list []vault.Reference
	for _, c := range cfg.Credentials {
		list = append(list, vault.Reference{Ref: c.Ref, Type: c.Type, Path: c.Path, Fields: c.Fields})
	}
	return list
}
