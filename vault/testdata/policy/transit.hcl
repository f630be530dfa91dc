# the key of what is sealed on the disk: wrap it, once
path "seals/encrypt/sallyport" {
  capabilities = ["update"]
}

# the key of what is sealed on the disk: unwrap it, at each start
path "seals/decrypt/sallyport" {
  capabilities = ["update"]
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
