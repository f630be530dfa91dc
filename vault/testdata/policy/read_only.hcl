# records of acme/production: read them
path "secret/data/sallyport/credentials/acme/production/*" {
  capabilities = ["read"]
}

# records of acme/production: find them by name
path "secret/metadata/sallyport/credentials/acme/production/*" {
  capabilities = ["list"]
}

# shared OAuth clients: read them; sallyport app add and rm of such a one are for a wider token
path "secret/data/sallyport/apps/+" {
  capabilities = ["read"]
}

# names of the shared OAuth clients, and of the workspaces that have their own
path "secret/metadata/sallyport/apps/" {
  capabilities = ["list"]
}

# OAuth clients of acme: read them
path "secret/data/sallyport/apps/acme/*" {
  capabilities = ["read"]
}

# OAuth clients of acme: find them by name
path "secret/metadata/sallyport/apps/acme/*" {
  capabilities = ["list"]
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

# sallyport vault check: what the token may do
path "sys/capabilities-self" {
  capabilities = ["update"]
}
