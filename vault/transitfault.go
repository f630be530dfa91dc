package vault

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/sallyport/sallyport/internal/fault"
)

// explain gives a call's fault a detail that tells what to do. wrapped is what was to be decrypted, "" for encrypting.
func (t *Transit) explain(ctx context.Context, err error, wrapped string) error {
	f := fault.From(err)
	if f.Detail != "" {
		return f
	}
	away := f.Code == fault.VaultSealed || f.Code == fault.VaultUnreachable
	if e := (*engineError)(nil); errors.As(err, &e) && !away {
		return fault.New(fault.VaultDenied, t.refusal(ctx, status(e), wrapped), f.Err)
	}
	why := map[fault.Code]string{
		fault.VaultDenied: "refuses our login", fault.VaultSealed: "is sealed", fault.VaultUnreachable: "does not answer",
	}[f.Code]
	if why == "" {
		return f
	}
	return fault.New(f.Code, fmt.Sprintf("the store's key is wrapped by Vault's transit key %q, and Vault %s", t.Name(), why), f.Err)
}

// refusal tells what an answer of the engine means. It is 400 for much that is wrong, told apart in words only, which
// differ between versions: so the key itself is looked at then.
func (t *Transit) refusal(ctx context.Context, status int, wrapped string) string {
	switch status {
	case http.StatusForbidden:
		return fmt.Sprintf("Vault denies the transit key %q of the store: the policy needs update on %s and %s; without create on the first, the key must exist",
			t.Name(), t.path("encrypt"), t.path("decrypt"))
	case http.StatusNotFound, http.StatusMethodNotAllowed:
		return fmt.Sprintf("Vault has no transit engine at %q, where the key of the store is to be wrapped", t.mount)
	}
	return t.why(ctx, wrapped)
}

// transitKey is what Vault tells of a key.
type transitKey struct {
	Type       string `json:"type"`
	Derived    bool   `json:"derived"`
	Encrypts   bool   `json:"supports_encryption"`
	Latest     int    `json:"latest_version"`
	MinDecrypt int    `json:"min_decryption_version"`
}

// why finds out what the engine did not like, as far as our policy lets us read the key.
func (t *Transit) why(ctx context.Context, wrapped string) string {
	var out struct {
		Data transitKey `json:"data"`
	}
	err := t.ask(ctx, opKey, "keys", nil, &out)
	switch {
	case status(err) == http.StatusNotFound:
		return fmt.Sprintf("Vault has no transit key %q; if it was removed, what it has wrapped is lost", t.Name())
	case err != nil:
		return fmt.Sprintf("Vault's transit key %q does not do that: there is no such key, it is of a kind that does not fit, its min_decryption_version is above "+
			"the version that wrapped the key of the store, or the key file was changed (read on %s tells which)", t.Name(), t.path("keys"))
	}
	return fmt.Sprintf("Vault's transit key %q %s", t.Name(), out.Data.against(wrapped))
}

// against says what is wrong with k for wrapped, or for encrypting if that is empty.
func (k transitKey) against(wrapped string) string {
	v := version(wrapped)
	switch {
	case !k.Encrypts:
		return fmt.Sprintf("is of type %s, which does not encrypt; use aes256-gcm96", k.Type)
	case k.Derived:
		return "is a derived one, which needs a context with each call; use one that is not"
	case wrapped == "":
		return "refuses to encrypt"
	case v < k.MinDecrypt:
		return fmt.Sprintf("opens nothing below its version %d, but version %d has wrapped the key of the store; lower its min_decryption_version to %d, "+
			"have the last line of the key file wrapped anew (transit/rewrap), and raise it again", k.MinDecrypt, v, v)
	case v > k.Latest:
		return fmt.Sprintf("has no version %d yet, which has wrapped the key of the store: that was another key of that name", v)
	}
	return "does not open the key of the store: the key file was changed, or another key of that name has wrapped it"
}

// version is that of the transit key which gave a wrapped text, vault:vVERSION:BASE64; 0: it is none.
func version(wrapped string) int {
	rest, ok := strings.CutPrefix(wrapped, "vault:v")
	n, text, _ := strings.Cut(rest, ":")
	v, err := strconv.Atoi(n)
	if !ok || err != nil || v < 1 || text == "" {
		return 0
	}
	return v
}
