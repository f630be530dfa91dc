package main

import (
	"context"
	"encoding/hex"
	"errors"

	"github.com/hashicorp/vault/helper/namespace"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/vault"
)

// initialise makes a fresh server usable: initialised, unsealed, with the root token root and KV version 2 at secret/.
// It gives the unseal key in hexadecimal.
func initialise(core *vault.Core, root string) (string, error) {
	ctx := namespace.ContextWithNamespace(context.Background(), namespace.RootNamespace)
	res, err := core.Initialize(ctx, &vault.InitParams{
		BarrierConfig: &vault.SealConfig{SecretShares: 1, SecretThreshold: 1, StoredShares: 1},
	})
	if err != nil {
		return "", err
	}
	key := append([]byte(nil), res.SecretShares[0]...) // Unseal wipes what it is given
	if ok, err := core.Unseal(key); err != nil || !ok {
		return "", errors.Join(errors.New("still sealed"), err)
	}
	write := func(token, path string, data map[string]interface{}) {
		_, e := core.HandleRequest(ctx, &logical.Request{ID: "dev", Operation: logical.UpdateOperation, ClientToken: token, Path: path, Data: data})
		err = errors.Join(err, e)
	}
	write(res.RootToken, "auth/token/create", map[string]interface{}{
		"id": root, "policies": []string{"root"}, "no_parent": true, "no_default_policy": true,
	})
	write(root, "sys/mounts/secret", map[string]interface{}{"type": "kv", "options": map[string]string{"version": "2"}})
	write(res.RootToken, "auth/token/revoke-self", nil)
	return hex.EncodeToString(res.SecretShares[0]), err
}
