# records of every workspace: read them, store what is added and what is refreshed
path "secret/data/sallyport/credentials/*" {
  capabilities = ["create", "read", "update"]
}

# records of every workspace: find them by name, remove them with all their versions
path "secret/metadata/sallyport/credentials/*" {
  capabilities = ["delete", "list"]
}

# OAuth clients: read them, store those that are added
path "secret/data/sallyport/apps/*" {
  capabilities = ["create", "read", "update"]
}

# OAuth clients: find them by name, remove them with all their versions
path "secret/metadata/sallyport/apps/*" {
  capabilities = ["delete", "list"]
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
