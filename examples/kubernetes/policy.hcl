# What sallyport needs of Vault, and no more; made by sallyport vault policy.

# records of acme/production: read them, store what is added and what is refreshed
path "secret/data/sallyport/credentials/acme/production/*" {
  capabilities = ["create", "read", "update"]
}

# records of acme/production: find them by name, remove them with all their versions
path "secret/metadata/sallyport/credentials/acme/production/*" {
  capabilities = ["delete", "list"]
}

# shared OAuth clients: read them; sallyport app add and rm of such a one are for a wider token
path "secret/data/sallyport/apps/+" {
  capabilities = ["read"]
}

# names of the shared OAuth clients, and of the workspaces that have their own
path "secret/metadata/sallyport/apps/" {
  capabilities = ["list"]
}

# OAuth clients of acme: read them, store those that are added
path "secret/data/sallyport/apps/acme/*" {
  capabilities = ["create", "read", "update"]
}

# OAuth clients of acme: find them by name, remove them with all their versions
path "secret/metadata/sallyport/apps/acme/*" {
  capabilities = ["delete", "list"]
}

# names of the workspaces, for listings of all; what lies in the others stays hidden
path "secret/metadata/sallyport/credentials/" {
  capabilities = ["list"]
}

# names of the environments of acme, for the same
path "secret/metadata/sallyport/credentials/acme/" {
  capabilities = ["list"]
}

# the token: how long it lives, and whether it is still good when a call is denied
path "auth/token/lookup-self" {
  capabilities = ["read"]
}

# the token: live longer
path "auth/token/renew-self" {
  capabilities = ["update"]
}

# the token: end with the daemon (revoke_on_exit)
path "auth/token/revoke-self" {
  capabilities = ["update"]
}

# sallyport vault check: what the token may do
path "sys/capabilities-self" {
  capabilities = ["update"]
}
