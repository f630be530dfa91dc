# records of acme/production: find and read them, store what is added and what is refreshed, remove them
path "secret/sallyport/credentials/acme/production/*" {
  capabilities = ["create", "delete", "list", "read", "update"]
}

# shared OAuth clients: read them; sallyport app add and rm of such a one are for a wider token
path "secret/sallyport/apps/+" {
  capabilities = ["read"]
}

# names of the shared OAuth clients, and of the workspaces that have their own
path "secret/sallyport/apps/" {
  capabilities = ["list"]
}

# OAuth clients of acme: find and read them, store those that are added, remove them
path "secret/sallyport/apps/acme/*" {
  capabilities = ["create", "delete", "list", "read", "update"]
}

# names of the workspaces, for listings of all; what lies in the others stays hidden
path "secret/sallyport/credentials/" {
  capabilities = ["list"]
}

# names of the environments of acme, for the same
path "secret/sallyport/credentials/acme/" {
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

# sallyport vault check: what the token may do
path "sys/capabilities-self" {
  capabilities = ["update"]
}
