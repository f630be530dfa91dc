package vault

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/hashicorp/vault/api"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/secret"
)

// attempt is the member of a record's sallyport_state, a JSON object, that tells our write from another's. It is not
// shown to who gets the record.
const attempt = "attempt"

// Put implements credential.Store by check-and-set. A write whose answer is lost may still have landed, and a proxy in
// between may have sent it twice, so that its answer is a conflict with itself: the record is read back then, and the
// attempt in it says whose write it holds.
func (v *Vault) Put(ctx context.Context, c *credential.Credential) error {
	id := rand.Text()
	data, err := marked(c, id)
	if err != nil {
		return fault.New(fault.InvalidRequest, err.Error(), nil)
	}
	cas := c.Version
	if cas != 0 { // a deleted record keeps its version, but must not come back
		r, err := v.read(ctx, c.Ref)
		if err != nil {
			return err
		}
		if r.gone() || r.version() != cas {
			return conflict(c.Ref)
		}
	}
	version, err := v.put(ctx, c.Ref, cas, data, id)
	if deleted := (*deletedError)(nil); errors.As(err, &deleted) && c.Version == 0 {
		version, err = v.put(ctx, c.Ref, deleted.version, data, id)
	}
	if err == nil {
		c.Version = version
	}
	return err
}

// deletedError says that the record was deleted at a version, which a write must name.
type deletedError struct{ version int }

func (e *deletedError) Error() string { return "the record was deleted" }

// put makes one write and gives the new version.
func (v *Vault) put(ctx context.Context, ref credential.Ref, cas int, data json.RawMessage, id string) (int, error) {
	in := map[string]any{"data": data, "options": map[string]any{"cas": cas}}
	var out struct {
		Data struct {
			Version int `json:"version"`
		} `json:"data"`
	}
	path := v.path("data", ref.String())
	err := v.do(ctx, "write", path, func(ctx context.Context, c *api.Client) error {
		err := write(ctx, c, path, in, &out)
		if err == nil && out.Data.Version == 0 {
			return errors.New("the answer is not what Vault sends")
		}
		return err
	})
	if err == nil || !ambiguous(err) {
		return out.Data.Version, err
	}
	return v.readBack(ctx, ref, cas, id, err)
}

// ambiguous reports whether a write that failed so may have landed, or whether its status 400 may be a conflict.
func ambiguous(err error) bool {
	return errors.Is(err, fault.VaultUnreachable) || status(err) == http.StatusBadRequest
}

// readBack finds out what became of a write that failed with err.
func (v *Vault) readBack(ctx context.Context, ref credential.Ref, cas int, id string, err error) (int, error) {
	r, e := v.read(ctx, ref)
	switch {
	case e != nil:
		return 0, err
	case !r.gone() && attemptOf(r.Data.Data) == id:
		return r.version(), nil
	case r.gone() && r.version() != cas:
		return 0, fault.New(fault.StoreConflict, ref.String(), &deletedError{r.version()})
	case r.version() != cas:
		return 0, conflict(ref)
	}
	return 0, err
}

func conflict(ref credential.Ref) error { return fault.New(fault.StoreConflict, ref.String(), nil) }

// marked gives the record's JSON with the attempt id in its state. A state that is no JSON object stays as it is.
func marked(c *credential.Credential, id string) (json.RawMessage, error) {
	if err := c.Ref.Validate(); err != nil {
		return nil, err
	}
	c = c.Clone()
	state, ok := stateOf(c.Field(credential.StateField).Reveal())
	if _, others := c.Rest[credential.StateField]; ok && !others {
		state[attempt], _ = json.Marshal(id) // a string
		c.Set(credential.StateField, join(state))
	}
	return credential.Encode(c)
}

// unmark takes the attempt out of a record's state.
func unmark(c *credential.Credential) {
	state, ok := stateOf(c.Field(credential.StateField).Reveal())
	if !ok || state[attempt] == nil {
		return
	}
	delete(state, attempt)
	if len(state) == 0 {
		c.Unset(credential.StateField)
		return
	}
	c.Set(credential.StateField, join(state))
}

func attemptOf(data json.RawMessage) (id string) {
	var r map[string]json.RawMessage
	var field string
	if json.Unmarshal(data, &r) != nil || json.Unmarshal(r[credential.StateField], &field) != nil {
		return ""
	}
	if state, ok := stateOf(field); ok {
		_ = json.Unmarshal(state[attempt], &id)
	}
	return id
}

// stateOf reads the state field; an absent one is an empty object.
func stateOf(s string) (map[string]json.RawMessage, bool) {
	state := map[string]json.RawMessage{}
	if s == "" {
		return state, true
	}
	return state, json.Unmarshal([]byte(s), &state) == nil && state != nil
}

func join(state map[string]json.RawMessage) secret.Value {
	b, err := json.Marshal(state)
	if err != nil { // it was read as JSON
		return secret.Value{}
	}
	return secret.New(string(b))
}
