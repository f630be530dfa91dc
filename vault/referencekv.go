package vault

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/secret"
)

// readKV gives the KV secret that r refers to, as a record.
func (v *Vault) readKV(ctx context.Context, m mount, r *reference) (*credential.Credential, error) {
	name, err := r.nameIn(m)
	if err != nil {
		return nil, err
	}
	rec, err := v.readAt(ctx, m, name)
	if err != nil {
		return nil, err
	}
	if rec.gone() {
		return nil, r.missing(rec.fate()+hint(m, name), nil)
	}
	return v.decode(r, rec.version, rec.data)
}

// hint tells what a path of the API, in place of a logical one, lacks.
func hint(m mount, name string) string {
	if m.kv == 2 && strings.HasPrefix(name, "data/") {
		return "; the path is given without data/, as vault kv get takes it"
	}
	return ""
}

// decode gives a record of a secret's members, and tells which of them have a trailing newline.
func (v *Vault) decode(r *reference, version int, data []byte) (*credential.Credential, error) {
	c, trimmed, err := r.decode(data)
	if err != nil {
		return nil, err
	}
	c.Version = version
	if len(trimmed) > 0 {
		v.log.Warn("trailing newlines of a record's fields are ignored", "credential", r.Ref.String(), "fields", trimmed)
	}
	return c, nil
}

// decode gives the fields that r maps; a member that the secret lacks is left out, one that is no string is taken as
// its text. trimmed names those that had a newline at their end, sorted.
func (r *reference) decode(data []byte) (c *credential.Credential, trimmed []string, err error) {
	var members map[string]json.RawMessage
	if json.Unmarshal(data, &members) != nil || members == nil {
		return nil, nil, fault.New(fault.Internal, "", fmt.Errorf("%s: the secret at %s is not a JSON object", r.Ref, r.Path))
	}
	c = &credential.Credential{Ref: r.Ref, Type: r.Type}
	for ours, theirs := range r.names(members) {
		s := memberText(members[theirs])
		if t := strings.TrimRight(s, "\r\n"); t != s {
			s, trimmed = t, append(trimmed, ours)
		}
		c.Set(ours, secret.New(s))
	}
	slices.Sort(trimmed)
	unmark(c)
	return c, trimmed, nil
}

// names gives which member becomes which field of ours.
func (r *reference) names(members map[string]json.RawMessage) map[string]string {
	names := maps.Clone(r.Fields)
	if len(names) == 0 {
		names = make(map[string]string, len(members))
		for k := range members {
			names[k] = k
		}
	}
	if r.writable() {
		names[credential.StateField] = credential.StateField
	}
	return names
}

// memberText gives a string as it is and anything else as its JSON; "" for null.
func memberText(raw json.RawMessage) (s string) {
	if len(raw) == 0 || json.Unmarshal(raw, &s) == nil {
		return s
	}
	return string(raw)
}

// writeKV puts the token fields of c into the secret that r refers to, by check-and-set, if nothing else of the record
// has changed. Its other members stay; token fields that are not mapped are not kept.
func (v *Vault) writeKV(ctx context.Context, m mount, r *reference, c *credential.Credential) error {
	name, err := r.nameIn(m)
	if err != nil {
		return err
	}
	rec, err := v.readAt(ctx, m, name)
	switch {
	case err != nil:
		return err
	case rec.gone() && c.Version == 0:
		return r.missing(rec.fate()+hint(m, name), nil)
	case rec.gone() || rec.version != c.Version:
		return conflict(r.Ref.String())
	}
	id := rand.Text()
	data, err := r.encode(rec.data, c, id)
	if err != nil {
		return err
	}
	w := draft{m, name, r.Ref.String(), data, id}
	put := v.write2
	if m.kv == 1 {
		put = v.write1
	}
	version, err := put(ctx, w, c.Version)
	if err == nil {
		c.Version = version
	}
	return err
}

// encode gives the secret that lies there with the token fields of c in place of its own.
func (r *reference) encode(data json.RawMessage, c *credential.Credential, id string) (json.RawMessage, error) {
	old, _, err := r.decode(data)
	if err != nil {
		return nil, err
	}
	if !sameButTokens(old, c) {
		return nil, r.readOnly("; only its token fields are written")
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(data, &members); err != nil { // it was read as JSON
		return nil, fault.New(fault.Internal, "", errAnswer)
	}
	for _, ours := range credential.TokenFields {
		theirs, value := r.Fields[ours], c.Field(ours)
		switch {
		case theirs == "" || value.Equal(old.Field(ours)): // not mapped, or as it was, whatever its JSON type
		case value.Empty():
			delete(members, theirs)
		case !utf8.ValidString(value.Reveal()):
			return nil, fault.New(fault.InvalidRequest, fmt.Sprintf("%s: %s is not UTF-8 text", r.Ref, ours), nil)
		default:
			members[theirs], _ = json.Marshal(value.Reveal()) // a string
		}
	}
	if state := sign(c.Field(credential.StateField), id); !state.Empty() {
		members[credential.StateField], _ = json.Marshal(state.Reveal())
	}
	out, err := json.Marshal(members)
	if err != nil {
		return nil, fault.New(fault.Internal, "", errAnswer)
	}
	return out, nil
}

// sign puts the attempt id into a record's state. One that is no JSON object stays as it is.
func sign(s secret.Value, id string) secret.Value {
	state, ok := stateOf(s.Reveal())
	if !ok {
		return s
	}
	state[attempt], _ = json.Marshal(id) // a string
	return join(state)
}

// sameButTokens reports whether b differs from a, as it lies there, in token fields and our own bookkeeping at most.
func sameButTokens(a, b *credential.Credential) bool {
	typed := a.Type == "" || a.Type == b.Type
	return typed && a.Description == b.Description && maps.EqualFunc(ownerFields(a), ownerFields(b), secret.Value.Equal)
}

func ownerFields(c *credential.Credential) map[string]secret.Value {
	m := maps.Clone(c.Fields)
	delete(m, credential.StateField)
	for _, name := range credential.TokenFields {
		delete(m, name)
	}
	return m
}
