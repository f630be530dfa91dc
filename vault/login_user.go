package vault

import "context"

// useUserpass logs in with a user name and the password file, read anew. At another mount it speaks to the methods
// that take the same, such as ldap.
func (v *Vault) useUserpass(ctx context.Context) (*session, error) {
	password, err := v.readSecret("password_file", v.o.PasswordFile)
	if err != nil {
		return nil, err
	}
	return v.logIn(ctx, "login/"+v.o.Username, map[string]string{"password": password.Reveal()})
}

// useCert logs in with the client certificate of the TLS connection, read anew.
func (v *Vault) useCert(ctx context.Context) (*session, error) {
	v.transport.reset()
	in := map[string]string{}
	if v.o.Role != "" {
		in["name"] = v.o.Role
	}
	return v.logIn(ctx, "login", in)
}
