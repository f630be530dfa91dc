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
	m, err := v.kv(ctx)
	if err == nil {
		err = v.fits(ctx, m)
	}
	if err != nil {
		return err
	}
	w := draft{m, v.name(c.Ref.String()), c.Ref.String(), data, id}
	version, err := v.write(ctx, w, c.Version)
	if err == nil {
		c.Version = version
	}
	return err
}

// draft is one record on its way to Vault.
type draft struct {
	mount mount
	name  string
	of    string // what it is called in faults
	data  json.RawMessage
	id    string // the attempt's, in data
}

// write puts a record over its version, 0 if there must be none, and gives the new one.
func (v *Vault) write(ctx context.Context, w draft, version int) (int, error) {
	if w.mount.kv == 1 {
		return v.write1(ctx, w, version)
	}
	if version != 0 { // a deleted record keeps its version, but must not come back
		r, err := v.readAt(ctx, w.mount, w.name)
		if err != nil {
			return 0, err
		}
		if r.gone() || r.version != version {
			return 0, conflict(w.of)
		}
	}
	next, err := v.write2(ctx, w, version)
	if deleted := (*deletedError)(nil); errors.As(err, &deleted) && version == 0 {
		next, err = v.write2(ctx, w, deleted.version)
	}
	return next, err
}

// deletedError says that the record was deleted at a version, which a write must name.
type deletedError struct{ version int }

func (e *deletedError) Error() string { return "the record was deleted" }

// write2 makes one write by check-and-set of KV version 2.
func (v *Vault) write2(ctx context.Context, w draft, cas int) (int, error) {
	in := map[string]any{"data": w.data, "options": map[string]any{"cas": cas}}
	var out struct {
		Data struct {
			Version int `json:"version"`
		} `json:"data"`
	}
	path := w.mount.at("data", w.name)
	err := v.do(ctx, opWrite, path, func(ctx context.Context, c *api.Client) error {
		err := write(ctx, c, path, in, &out)
		if err == nil && out.Data.Version == 0 {
			return errAnswer
		}
		return err
	})
	if err == nil || !ambiguous(err) {
		return out.Data.Version, err
	}
	return v.readBack(ctx, w, cas, err)
}

// write1 does what KV version 1 allows: it reads, compares, writes and reads back. Within this process writes wait for
// each other; of two processes that write in the same moment, one may be told of a conflict, or lose its write.
func (v *Vault) write1(ctx context.Context, w draft, version int) (int, error) {
	select {
	case v.writing <- struct{}{}:
		defer func() { <-v.writing }()
	case <-ctx.Done():
		return 0, fault.New(fault.VaultUnreachable, "", context.Cause(ctx))
	}
	r, err := v.readAt(ctx, w.mount, w.name)
	if err != nil {
		return 0, err
	}
	if r.version != version { // one that is gone has version 0
		return 0, conflict(w.of)
	}
	path := w.mount.at("data", w.name)
	err = v.do(ctx, opWrite, path, func(ctx context.Context, c *api.Client) error { return write(ctx, c, path, w.data, nil) })
	if err != nil && !ambiguous(err) {
		return 0, err
	}
	return v.readBack(ctx, w, version, err)
}

// ambiguous reports whether a write that failed so may have landed, or whether its status 400 may be a conflict.
func ambiguous(err error) bool {
	return errors.Is(err, fault.VaultUnreachable) || status(err) == http.StatusBadRequest
}

// readBack finds out what became of a write over cas that ended with err.
func (v *Vault) readBack(ctx context.Context, w draft, cas int, err error) (int, error) {
	r, e := v.readAt(ctx, w.mount, w.name)
	switch {
	case e != nil && err != nil:
		return 0, err
	case e != nil:
		return 0, e
	case !r.gone() && attemptOf(r.data) == w.id:
		return r.version, nil
	case r.gone() && r.version != cas:
		return 0, fault.New(fault.StoreConflict, w.of, &deletedError{r.version})
	case r.version != cas || err == nil:
		return 0, conflict(w.of)
	}
	return 0, err
}

func conflict(of string) error { return fault.New(fault.StoreConflict, of, nil) }

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
