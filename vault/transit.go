package vault

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/hashicorp/vault/api"

	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/secret"
)

// Operations, as the metric names them.
const (
	opEncrypt = "encrypt"
	opDecrypt = "decrypt"
	opKey     = "key"
)

// transitMount is where Vault puts the transit engine unless it is told another path.
const transitMount = "transit"

// Transit is a seal.Wrapper: a key of Vault's transit engine, which encrypts and decrypts without giving the key away.
// It should be symmetric (aes256-gcm96, the default): whoever reads the public key of an rsa one could wrap a key of
// his own. What an older version of the key has wrapped stays readable until its min_decryption_version is raised. Its
// faults are vault_denied, vault_sealed and vault_unreachable, their detail for the operator; calls take 2 s at most.
type Transit struct {
	vault      *Vault
	mount, key string
}

// Transit gives the key of that name, KEY of the engine at transit or MOUNT/KEY. It makes no call.
func (v *Vault) Transit(key string) *Transit {
	t := &Transit{vault: v, mount: transitMount, key: key}
	if i := strings.LastIndexByte(key, '/'); i >= 0 {
		t.mount, t.key = key[:i], key[i+1:]
	}
	return t
}

// Name implements seal.Wrapper: MOUNT/KEY.
func (t *Transit) Name() string { return t.mount + "/" + t.key }

// probe is what Wrap has encrypted first.
const probe = "sallyport"

// Wrap implements seal.Wrapper. Where there is no such key, Vault makes one if our policy allows create beside update.
// A mount that is not of the transit engine might store what it is sent: so plain goes only where something that is no
// secret came back encrypted.
func (t *Transit) Wrap(ctx context.Context, plain []byte) (string, error) {
	if _, err := t.encrypt(ctx, []byte(probe)); err != nil {
		return "", err
	}
	return t.encrypt(ctx, plain)
}

func (t *Transit) encrypt(ctx context.Context, plain []byte) (string, error) {
	in := map[string]string{"plaintext": base64.StdEncoding.EncodeToString(plain)}
	var out struct {
		Data struct {
			Ciphertext string `json:"ciphertext"`
		} `json:"data"`
	}
	if err := t.ask(ctx, opEncrypt, "encrypt", in, &out); err != nil {
		return "", t.explain(ctx, err, "")
	}
	if version(out.Data.Ciphertext) == 0 {
		return "", t.strange(opEncrypt)
	}
	return out.Data.Ciphertext, nil
}

// Unwrap implements seal.Wrapper.
func (t *Transit) Unwrap(ctx context.Context, wrapped string) ([]byte, error) {
	var out struct {
		Data struct {
			Plaintext secret.Value `json:"plaintext"`
		} `json:"data"`
	}
	if err := t.ask(ctx, opDecrypt, "decrypt", map[string]string{"ciphertext": wrapped}, &out); err != nil {
		return nil, t.explain(ctx, err, wrapped)
	}
	plain, err := base64.StdEncoding.DecodeString(out.Data.Plaintext.Reveal())
	if err != nil || len(plain) == 0 { // base64's error quotes nothing, but says nothing either
		return nil, t.strange(opDecrypt)
	}
	return plain, nil
}

// ask makes one call to the engine with our session.
func (t *Transit) ask(ctx context.Context, op, what string, in map[string]string, out any) error {
	if !pathForm.MatchString(t.Name()) {
		return fault.New(fault.Internal, fmt.Sprintf("store.key: %q is no name of a transit key", t.Name()), nil)
	}
	ctx, cancel := limit(ctx, callLimit)
	defer cancel()
	if err := t.vault.Ready(ctx); err != nil { // the store is opened when the daemon starts: the first login may be under way
		return err
	}
	path := t.path(what)
	return t.vault.do(ctx, op, path, func(ctx context.Context, c *api.Client) (err error) {
		if in == nil {
			err = read(ctx, c, path, nil, out)
		} else {
			err = post(ctx, c, path, in, out)
		}
		if status(err) != 0 {
			return &engineError{err}
		}
		return err
	})
}

// post is write for what another engine may answer with status 204: out is left alone then.
func post(ctx context.Context, c *api.Client, path string, in map[string]string, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return errors.New("what is to be sent is not JSON")
	}
	resp, err := c.Logical().WriteRawWithContext(ctx, path, body)
	if resp != nil && resp.StatusCode == http.StatusNoContent {
		return resp.Body.Close()
	}
	return decode(resp, err, out)
}

// engineError is the engine's own refusal, as against that of a login on the way to it.
type engineError struct{ error }

func (e *engineError) Unwrap() error { return e.error }

func (t *Transit) path(what string) string { return t.mount + "/" + what + "/" + t.key }

func (t *Transit) strange(op string) error {
	return fault.New(fault.VaultDenied, fmt.Sprintf("what Vault has at %q is no transit engine: it has answered %s with something else", t.mount, op),
		errors.New("vault: "+op+": the answer is not what the transit engine sends"))
}
