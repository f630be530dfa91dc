package credential

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/sallyport/sallyport/internal/secret"
)

// StateField is the one field of a record that holds our own bookkeeping.
const StateField = "sallyport_state"

// TokenFields are the fields of a record that hold a token we were given.
var TokenFields = []string{
	"access_token", "refresh_token", "token_type", "expires_in", "expires_at", "created_at", "scope",
}

// publicFields of the record types are shown, and taken from the command line.
// Everything that is not listed is treated as a secret.
var publicFields = []string{
	"url", "username", "client_id", "token_url", "refresh_url", "scope", "audience", "issuer", "subject", "key_id",
	"app_id", "installation_id", "account_id", "access_key_id", "region", "service", "subject_token_file", "consumer_key",
	"driver", "host", "port", "database", "sslmode", "token_type", "expires_in", "expires_at", "created_at",
}

// Public reports whether a field of that name holds no secret. Fields that a
// provider's {field} templates use are public too; that is the provider's to tell.
func Public(field string) bool { return slices.Contains(publicFields, field) }

// Credential is what the store holds for one account at one provider.
type Credential struct {
	Ref         Ref
	Type        string
	Description string
	Fields      map[string]secret.Value    // every scalar field of the record but provider, type, description
	Rest        map[string]json.RawMessage // what was not a JSON string, or empty, as it was read; kept on writing unless its Fields entry changed
	Version     int                        // of the record in its store, for check-and-set; 0: not stored yet
	Until       time.Time                  // when what the store was lent ends (a lease), unless it is read anew before; zero: never
}

// Field gives a field's value, the zero Value if it is absent.
func (c *Credential) Field(name string) secret.Value { return c.Fields[name] }

// Names of the fields, sorted.
func (c *Credential) Names() []string { return slices.Sorted(maps.Keys(c.Fields)) }

// Set puts a field; an empty value removes it.
func (c *Credential) Set(name string, v secret.Value) {
	if v.Empty() {
		c.Unset(name)
		return
	}
	if c.Fields == nil {
		c.Fields = map[string]secret.Value{}
	}
	c.Fields[name] = v
}

// Unset removes a field.
func (c *Credential) Unset(name string) {
	delete(c.Fields, name)
	delete(c.Rest, name)
}

// Clone copies the record; the copy shares no map with it.
func (c *Credential) Clone() *Credential {
	d := *c
	d.Fields, d.Rest = maps.Clone(c.Fields), maps.Clone(c.Rest)
	return &d
}

// Format prints the record as its reference, for every verb: what others keep in
// it may be secret too.
func (c Credential) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, c.Ref.String()) }

// LogValue implements slog.LogValuer: the reference.
func (c Credential) LogValue() slog.Value { return slog.StringValue(c.Ref.String()) }

// MarshalJSON gives the reference; only Encode gives the record.
func (c Credential) MarshalJSON() ([]byte, error) { return json.Marshal(c.Ref.String()) }

// Store keeps credentials. Its errors are faults: credential_not_found,
// store_conflict, vault_unreachable, vault_sealed, vault_denied; anything else is internal.
// All methods may be called at once from many goroutines.
type Store interface {
	// Get gives the record, which the caller may change.
	Get(ctx context.Context, ref Ref) (*Credential, error)
	// List gives the references in a folder, sorted by Ref.Compare: a folder is a
	// Ref whose trailing parts are empty. A folder that does not exist is empty.
	List(ctx context.Context, folder Ref) ([]Ref, error)
	// Folders gives the names of what lies directly in a folder that is no
	// provider's: workspaces, environments of one, or providers of one, sorted.
	// It looks no deeper.
	Folders(ctx context.Context, folder Ref) ([]string, error)
	// Put writes c if the stored version is still c.Version (0: it must not
	// exist) and sets c.Version to the new one; else it fails with store_conflict.
	Put(ctx context.Context, c *Credential) error
	// Delete removes the record. One that does not exist is credential_not_found.
	Delete(ctx context.Context, ref Ref) error
}
