package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"

	"github.com/sallyport/sallyport/configs"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/vault"
)

// noAnswer says why a Vault gives no answer, or none that helps.
func noAnswer(err error, cfg *configs.Config) error {
	cause := "Vault does not answer: " + chain(err)
	if errors.Is(err, fault.VaultSealed) {
		cause = "Vault is sealed"
	}
	remedy := connectionRemedy(err, cfg)
	if remedy == "" {
		remedy = "see that Vault is well and that this machine reaches it: vault status"
	}
	return stepFailed("server", err, cause, remedy)
}

// chain is what a fault is about: the words of who knows.
func chain(err error) string {
	f := fault.From(err)
	switch {
	case f.Err == nil:
		return f.Detail
	case f.Detail == "":
		return f.Err.Error()
	}
	return f.Detail + ": " + f.Err.Error()
}

func connectionRemedy(err error, cfg *configs.Config) string {
	var (
		authority x509.UnknownAuthorityError
		host      x509.HostnameError
		invalid   x509.CertificateInvalidError
		record    tls.RecordHeaderError
		dns       *net.DNSError
	)
	switch {
	case errors.As(err, &authority):
		return "set [vault] ca_file (or VAULT_CACERT) to the certificate of the authority that has signed Vault's, in PEM"
	case errors.As(err, &host):
		return "use a name of Vault's certificate in [vault] address, or set [vault] tls_server_name to one: " + certificateNames(host.Certificate)
	case errors.As(err, &invalid):
		return "renew Vault's certificate, or correct the clock of this machine"
	case errors.As(err, &record), errors.Is(err, http.ErrSchemeMismatch):
		return "Vault speaks plain HTTP there: use http:// in [vault] address, or give Vault a certificate"
	case refusedClient(err):
		return "set [vault] client_cert_file and client_key_file to a certificate that Vault's listener trusts"
	case errors.As(err, &dns):
		return fmt.Sprintf("the name %s does not resolve: correct [vault] address or the name service", dns.Name)
	case errors.Is(err, syscall.ECONNREFUSED):
		return "nothing listens there: start Vault, or correct [vault] address"
	case strings.HasPrefix(cfg.Vault.Address, "http://") && strings.Contains(err.Error(), "status 400"):
		return "if Vault speaks TLS there, use https:// in [vault] address"
	}
	return ""
}

func certificateNames(c *x509.Certificate) string {
	if c == nil {
		return "it has none"
	}
	names := slices.Clone(c.DNSNames)
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	return orDash(strings.Join(names, ", "))
}

// refusedClient reports whether the other side ended the handshake for want of
// a client certificate; Go has no type for that alert.
func refusedClient(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "remote error" && strings.Contains(op.Error(), "certificate")
}

// loginRemedies say what may be wrong with each method's login.
var loginRemedies = map[string]string{
	"token":      "the token is revoked or expired, or another Vault's: make a new one, vault token create -policy=NAME",
	"approle":    "make a new secret id, vault write -f auth/%s/role/ROLE/secret-id, and look at its limits (uses, life, CIDR)",
	"kubernetes": "compare the pod's service account and namespace with the role: vault read auth/%s/role/ROLE",
	"jwt":        "compare the token's issuer, audience, subject and life with the role: vault read auth/%s/role/ROLE",
	"userpass":   "set the password anew: vault write auth/%s/users/USERNAME password=-",
	"cert":       "compare the client certificate with the roles: vault list auth/%s/certs",
	"agent":      "the agent at [vault] address has no token to add: its log says why",
}

// notLoggedIn says why a login has failed.
func notLoggedIn(err error, cfg *configs.Config) error {
	code := fault.From(err).Code
	switch {
	case code == fault.Internal: // what Run ends with: the mount is of another kind
		return stepFailed("mount", err, chain(err), "set [vault] mount to a KV engine: vault secrets list; or make one: vault secrets enable -path=NAME -version=2 kv")
	case code != fault.VaultDenied:
		return noAnswer(err, cfg)
	}
	method, mount := cfg.Vault.Auth.Method, authMount(cfg)
	remedies := []string{strings.ReplaceAll(loginRemedies[method], "%s", mount)}
	if method != "token" && method != "agent" {
		remedies = append(remedies, fmt.Sprintf("see that the method is there: vault auth list; else vault auth enable -path=%s %s, or set [vault.auth] mount", mount, method))
	}
	if ns := cfg.Vault.Namespace; ns != "" {
		remedies = append(remedies, "see that it is there in the namespace "+ns+" ([vault] namespace)")
	}
	return stepFailed("login", err, "no login: "+chain(err), remedies...)
}

// noMount says that Vault does not tell what our records' mount is.
func noMount(err error, r *vaultReport) error {
	if !errors.Is(err, fault.VaultDenied) {
		return stepFailed("mount", err, chain(err))
	}
	mount := r.Mount.Path
	enable := fmt.Sprintf("make a KV engine there: vault secrets enable -path=%s -version=2 kv; or set [vault] mount to the one that is there", mount)
	if r.Token != nil && slices.Contains(r.Token.Policies, "root") {
		return stepFailed("mount", err, "nothing is mounted at "+mount, enable)
	}
	return stepFailed("mount", err, fmt.Sprintf("nothing is mounted at %s, or the policies of the token open nothing in it; the paths are those of KV version 2", mount),
		"let the token use it: "+writePolicy, "see what is mounted: vault secrets list", enable)
}

const writePolicy = "sallyport vault policy | vault policy write NAME -"

// mayNotAsk says that the token's capabilities are not known.
func mayNotAsk(err error, cfg *configs.Config) error {
	if !errors.Is(err, fault.VaultDenied) {
		return noAnswer(err, cfg)
	}
	return stepFailed("policy", err, "the token may not ask what it may do: "+chain(err), "write the policy, which lets it: "+writePolicy, grantTo(cfg))
}

// lacking says that the policy is not enough; nil if it is.
func lacking(gaps []vault.Gap, cfg *configs.Config) error {
	if len(gaps) == 0 {
		return nil
	}
	return stepFailed("policy", fault.VaultDenied, "the token lacks capabilities on "+howMany(len(gaps), "path", "paths"), "write the policy anew: "+writePolicy, grantTo(cfg))
}

// grantTo says how the login gets a policy.
func grantTo(cfg *configs.Config) string {
	const s = "and see that the login gets it: "
	mount := authMount(cfg)
	switch cfg.Vault.Auth.Method {
	case "approle", "kubernetes", "jwt":
		return s + "vault write auth/" + mount + "/role/ROLE token_policies=NAME"
	case "userpass":
		return s + "vault write auth/" + mount + "/users/USERNAME token_policies=NAME"
	case "cert":
		return s + "vault write auth/" + mount + "/certs/ROLE token_policies=NAME"
	}
	return s + "vault token create -policy=NAME"
}
