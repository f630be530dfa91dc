package main

import (
	"maps"
	"slices"

	credJWT "github.com/hashicorp/vault-plugin-auth-jwt"
	credKube "github.com/hashicorp/vault-plugin-auth-kubernetes"
	logicalKv "github.com/hashicorp/vault-plugin-secrets-kv"
	"github.com/hashicorp/vault/audit"
	auditFile "github.com/hashicorp/vault/builtin/audit/file"
	credAppRole "github.com/hashicorp/vault/builtin/credential/approle"
	credCert "github.com/hashicorp/vault/builtin/credential/cert"
	credUserpass "github.com/hashicorp/vault/builtin/credential/userpass"
	logicalDb "github.com/hashicorp/vault/builtin/logical/database"
	logicalTransit "github.com/hashicorp/vault/builtin/logical/transit"
	dbPostgres "github.com/hashicorp/vault/plugins/database/postgresql"
	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
)

var (
	secretsEngines = map[string]logical.Factory{
		"kv": logicalKv.Factory, "database": logicalDb.Factory, "transit": checked(logicalTransit.Factory),
	}
	authMethods = map[string]logical.Factory{
		"approle": credAppRole.Factory, "cert": credCert.Factory, "userpass": credUserpass.Factory,
		"kubernetes": credKube.Factory, "jwt": credJWT.Factory,
	}
	auditDevices = map[string]audit.Factory{"file": auditFile.Factory}
)

// registry is the list of plugins that the server knows (vault.BuiltinRegistry).
type registry map[consts.PluginType]map[string]func() (interface{}, error)

func newRegistry() registry {
	r := registry{
		consts.PluginTypeSecrets:    {},
		consts.PluginTypeCredential: {},
		consts.PluginTypeDatabase:   {"postgresql-database-plugin": dbPostgres.New},
	}
	for name, f := range secretsEngines {
		r[consts.PluginTypeSecrets][name] = func() (interface{}, error) { return f, nil }
	}
	for name, f := range authMethods {
		r[consts.PluginTypeCredential][name] = func() (interface{}, error) { return f, nil }
	}
	return r
}

func (r registry) Get(name string, t consts.PluginType) (func() (interface{}, error), bool) {
	f, ok := r[t][name]
	return f, ok
}

func (r registry) Contains(name string, t consts.PluginType) bool {
	_, ok := r[t][name]
	return ok
}

func (r registry) Keys(t consts.PluginType) []string { return slices.Sorted(maps.Keys(r[t])) }

func (r registry) DeprecationStatus(name string, t consts.PluginType) (consts.DeprecationStatus, bool) {
	return consts.Supported, r.Contains(name, t)
}

func (r registry) IsBuiltinEntPlugin(string, consts.PluginType) bool { return false }
