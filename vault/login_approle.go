package vault

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"strings"

	"github.com/hashicorp/vault/api"

	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/secret"
)

// useAppRole logs in with the two files, read anew.
func (v *Vault) useAppRole(ctx context.Context) (*session, error) {
	role, err := v.readSecret("role_id_file", v.o.RoleIDFile)
	if err != nil {
		return nil, err
	}
	id, err := v.secretID(ctx)
	if err != nil {
		return nil, err
	}
	in := map[string]string{"role_id": role.Reveal()}
	if !id.Empty() {
		in["secret_id"] = id.Reveal()
	}
	s, err := v.logIn(ctx, "login", in)
	if err == nil && v.o.SecretIDWrapped {
		s.source = source{v.o.SecretIDFile, v.unwrapped.token}
	}
	return s, err
}

// unwrapped is a secret id and the wrapping token that it was got with. A wrapping token works once, so the secret id
// is kept for later logins.
type unwrapped struct{ token, secretID secret.Value }

// secretID gives what secret_id_file holds, or what the wrapping token in it stands for; empty if there is no file.
func (v *Vault) secretID(ctx context.Context) (secret.Value, error) {
	if v.o.SecretIDFile == "" {
		return secret.Value{}, nil
	}
	s, err := v.readSecret("secret_id_file", v.o.SecretIDFile)
	held := v.unwrapped
	switch {
	case !v.o.SecretIDWrapped:
		return s, err
	case errors.Is(err, fs.ErrNotExist) && !held.secretID.Empty(): // some remove the file once it was read
		return held.secretID, nil
	case err != nil:
		return s, err
	case s.Equal(held.token):
		return held.secretID, nil
	}
	id, err := v.unwrap(ctx, s)
	if err != nil {
		return id, err
	}
	v.unwrapped = unwrapped{s, id}
	return id, nil
}

// unwrap gives the secret id that Vault keeps under a wrapping token, once it is clear that it is one: whoever took the
// token on its way may have put another in its place.
func (v *Vault) unwrap(ctx context.Context, token secret.Value) (secret.Value, error) {
	var about struct {
		Data struct {
			CreationPath string `json:"creation_path"`
		} `json:"data"`
	}
	in := map[string]string{"token": token.Reveal()}
	if err := v.useWrapping(ctx, v.client, "sys/wrapping/lookup", in, &about); err != nil {
		return secret.Value{}, err
	}
	if !v.wrapsSecretID(about.Data.CreationPath) {
		return secret.Value{}, v.misused("the wrapping token in vault.auth.secret_id_file does not stand for a secret id of auth/"+
			v.o.AuthMount+"; somebody may have put it in place of the right one", fmt.Errorf("it was made by %q", about.Data.CreationPath))
	}
	var out struct {
		Data struct {
			SecretID secret.Value `json:"secret_id"`
		} `json:"data"`
	}
	if err := v.useWrapping(ctx, v.newSession(token).client, "sys/wrapping/unwrap", nil, &out); err != nil {
		return secret.Value{}, err
	}
	if out.Data.SecretID.Empty() {
		return secret.Value{}, v.misused("the wrapping token in vault.auth.secret_id_file held no secret id", errAnswer)
	}
	v.log.Info("unwrapped the secret id", "file", v.o.SecretIDFile)
	return out.Data.SecretID, nil
}

var secretIDPath = regexp.MustCompile(`^role/[^/]+/(?:custom-)?secret-id$`)

func (v *Vault) wrapsSecretID(creationPath string) bool {
	path := strings.TrimPrefix(creationPath, v.o.Namespace+"/")
	rest, ok := strings.CutPrefix(path, "auth/"+v.o.AuthMount+"/")
	return ok && secretIDPath.MatchString(rest)
}

func (v *Vault) useWrapping(ctx context.Context, c *api.Client, path string, in map[string]string, out any) error {
	err := v.call(ctx, opUnwrap, path, c, func(ctx context.Context, c *api.Client) error { return write(ctx, c, path, in, out) })
	if !errors.Is(err, fault.VaultDenied) {
		return err
	}
	return v.misused("the wrapping token in vault.auth.secret_id_file was already used or has expired; unless this program used it "+
		"before a restart, somebody else may have the secret id: destroy it and wrap a new one", err)
}

// misused makes the fault of a wrapping token that is not what it should be, and tells it loudly.
func (v *Vault) misused(detail string, err error) error {
	v.log.Error(detail, "file", v.o.SecretIDFile, "err", err)
	return fault.New(fault.VaultDenied, detail, fmt.Errorf("vault.auth.secret_id_file %s: %w", v.o.SecretIDFile, err))
}
