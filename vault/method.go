package vault

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/fault"
)

// serviceAccountToken is where Kubernetes mounts the token of a pod's service account.
const serviceAccountToken = "/var/run/secrets/kubernetes.io/serviceaccount/token"

// method is one way to log in.
type method struct {
	name  string
	needs []setting // that must be set
	takes []setting // that are read if they are set
	login func(*Vault, context.Context) (*session, error)
	check string // what to look at when Vault refuses the login; it is shown to whoever asks for a credential
	deny  string // what a refused call means; "": what it means with a token of ours
}

// setting is one key of the configuration.
type setting struct {
	key  string
	want string // told if it is missing; "": that the method needs it
	get  func(*VaultOptions) string
}

var (
	keyRole         = setting{"vault.auth.role", "", func(o *VaultOptions) string { return o.Role }}
	keyRoleIDFile   = setting{"vault.auth.role_id_file", "", func(o *VaultOptions) string { return o.RoleIDFile }}
	keySecretIDFile = setting{"vault.auth.secret_id_file", "", func(o *VaultOptions) string { return o.SecretIDFile }}
	keyJWTFile      = setting{"vault.auth.jwt_file", "", func(o *VaultOptions) string { return o.JWTFile }}
	keyAccountFile  = setting{"vault.auth.jwt_file", "", func(o *VaultOptions) string { return cmp.Or(o.JWTFile, serviceAccountToken) }}
	keyUsername     = setting{"vault.auth.username", "", func(o *VaultOptions) string { return o.Username }}
	keyPasswordFile = setting{"vault.auth.password_file", "", func(o *VaultOptions) string { return o.PasswordFile }}
	keyCertFile     = setting{"vault.client_cert_file", "", func(o *VaultOptions) string { return o.ClientCertFile }}
	keyTokenFile    = setting{"vault.auth.token_file", "missing; the token method needs it, or $VAULT_TOKEN", givenToken}
	keyHTTPS        = setting{"vault.address", "the cert method logs in by TLS; want https://HOST:PORT", httpsAddress}
)

func givenToken(o *VaultOptions) string {
	if o.TokenFile == "" && !o.Token.Empty() {
		return "$VAULT_TOKEN"
	}
	return o.TokenFile
}

func httpsAddress(o *VaultOptions) string {
	if strings.HasPrefix(o.Address, "https://") {
		return o.Address
	}
	return ""
}

// methods are all there are.
var methods = []method{
	{
		name: "token", needs: []setting{keyTokenFile}, login: (*Vault).useToken,
		check: "the token is wrong, has ended or was revoked, or its policy does not allow auth/token/lookup-self",
	}, {
		name: "approle", needs: []setting{keyRoleIDFile}, takes: []setting{keySecretIDFile}, login: (*Vault).useAppRole,
		check: "the role id is wrong or its role was deleted, or the secret id is wrong or missing, has expired or has no uses left",
	}, {
		name: "kubernetes", needs: []setting{keyRole, keyAccountFile}, login: (*Vault).useKubernetes,
		check: "the role does not exist or is not bound to this service account and namespace, or Kubernetes does not confirm the token",
	}, {
		name: "jwt", needs: []setting{keyJWTFile}, takes: []setting{keyRole}, login: (*Vault).useJWT,
		check: "the role does not exist or is not bound to these claims, or the token has expired or is signed by another key",
	}, {
		name: "userpass", needs: []setting{keyUsername, keyPasswordFile}, login: (*Vault).useUserpass,
		check: "the user name or the password is wrong",
	}, {
		name: "cert", needs: []setting{keyCertFile, keyHTTPS}, takes: []setting{keyRole}, login: (*Vault).useCert,
		check: "no role, or not the one that is named, accepts the client certificate, or it has expired",
	}, {
		name: "agent", login: (*Vault).useAgent,
		check: "the agent is not logged in, or the token that it adds has ended or does not allow auth/token/lookup-self",
		deny:  "Vault refuses the token that the agent adds, or its policy does not allow the path",
	},
}

// method gives the chosen one, or tells what it lacks.
func (o *VaultOptions) method() (*method, error) {
	i := slices.IndexFunc(methods, func(m method) bool { return m.name == o.Method })
	if i < 0 {
		return nil, fmt.Errorf("vault.auth.method: %q is not a method; use %s", o.Method, methodNames())
	}
	m := &methods[i]
	for _, s := range m.needs {
		if s.get(o) == "" {
			return nil, fmt.Errorf("%s: %s", s.key, cmp.Or(s.want, "missing; the "+m.name+" method needs it"))
		}
	}
	return m, nil
}

func methodNames() string {
	names := make([]string, len(methods))
	for i, m := range methods {
		names[i] = m.name
	}
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " or " + names[last]
}

// explain completes why Vault denied a login: whoever asks for a credential reads what to look at; the log has the
// files, too.
func (m *method) explain(o *VaultOptions, err error) error {
	f := fault.From(err)
	if f.Code != fault.VaultDenied || f.Detail != "" {
		return err
	}
	var keys, values []string
	for _, s := range slices.Concat(m.needs, m.takes) {
		if value := s.get(o); value != "" {
			keys, values = append(keys, s.key), append(values, s.key+" "+value)
		}
	}
	detail := "Vault denies the login by " + m.name + ": " + m.check
	if len(keys) == 0 {
		return fault.New(f.Code, detail, f.Err)
	}
	return fault.New(f.Code, detail+" (see "+strings.Join(keys, ", ")+")",
		fmt.Errorf("%w (with %s)", f.Err, strings.Join(values, ", ")))
}
