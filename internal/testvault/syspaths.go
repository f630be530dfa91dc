package main

import (
	"context"
	"errors"
	"reflect"
	_ "unsafe" // go:linkname

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/vault"
)

//go:linkname entPaths github.com/hashicorp/vault/vault.entPaths
var entPaths func(*vault.SystemBackend) []*framework.Path

// allowEnterprisePaths is for Vault 1.14.1's stubs of Enterprise paths.
func allowEnterprisePaths() {
	stubs := entPaths
	entPaths = func(b *vault.SystemBackend) []*framework.Path {
		paths := stubs(b)
		checkExistence(paths)
		return paths
	}
}

// checkExistence gives paths that create the existence check that sdk 0.9.2 panics without. The sdk that 1.14.1 was released with is
// no published version; 0.9.2 is the one that compiles.
func checkExistence(paths []*framework.Path) {
	for _, p := range paths {
		_, operation := p.Operations[logical.CreateOperation]
		_, callback := p.Callbacks[logical.CreateOperation]
		if p.ExistenceCheck == nil && (operation || callback) {
			p.ExistenceCheck = func(context.Context, *logical.Request, *framework.FieldData) (bool, error) { return false, nil }
		}
	}
}

// checked is a secrets engine whose paths checkExistence has seen to, before its first request.
func checked(factory logical.Factory) logical.Factory {
	return func(ctx context.Context, conf *logical.BackendConfig) (logical.Backend, error) {
		b, err := factory(ctx, conf)
		if err != nil {
			return nil, err
		}
		inner, ok := reflect.ValueOf(b).Elem().FieldByName("Backend").Interface().(*framework.Backend)
		if !ok {
			return nil, errors.New("the engine is not built on framework.Backend")
		}
		checkExistence(inner.Paths)
		return b, nil
	}
}
