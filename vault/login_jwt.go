package vault

import "context"

// useJWT logs in with a JSON Web Token, read anew: whoever issues it renews the file.
func (v *Vault) useJWT(ctx context.Context) (*session, error) { return v.presentJWT(ctx, v.o.JWTFile) }

// useKubernetes logs in with the token of the pod's service account, which Kubernetes renews.
func (v *Vault) useKubernetes(ctx context.Context) (*session, error) {
	return v.presentJWT(ctx, keyAccountFile.get(&v.o))
}

func (v *Vault) presentJWT(ctx context.Context, path string) (*session, error) {
	jwt, err := v.readSecret("jwt_file", path)
	if err != nil {
		return nil, err
	}
	in := map[string]string{"jwt": jwt.Reveal()}
	if v.o.Role != "" { // the jwt method may have a default one
		in["role"] = v.o.Role
	}
	return v.logIn(ctx, "login", in)
}
