package credential

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"strings"

	"github.com/sallyport/sallyport/internal/secret"
)

// Fields of an app's record.
const (
	appID     = "client_id"
	appSecret = "client_secret"
)

// App is an OAuth client that is registered at a provider: a workspace's own, or
// one that all workspaces share.
type App struct {
	Workspace    string // empty: shared
	Provider     string
	ClientID     string
	ClientSecret secret.Value               // zero: a public client, which has none
	Rest         map[string]json.RawMessage // what others keep in the record, written back as read
	Version      int                        // of the record in its store, for check-and-set; 0: not stored yet
}

// AppName names an app.
type AppName struct {
	Workspace string // empty: shared
	Provider  string
}

// String is WORKSPACE/PROVIDER, or PROVIDER of a shared one: where its record
// lies below the folder of the apps.
func (n AppName) String() string {
	if n.Workspace == "" {
		return n.Provider
	}
	return n.Workspace + "/" + n.Provider
}

// Validate tells the first part that is not a name.
func (n AppName) Validate() error {
	for _, p := range []struct{ what, s string }{{"workspace", n.Workspace}, {"provider", n.Provider}} {
		if !ValidPart(p.s) && (p.s != "" || p.what == "provider") {
			return fmt.Errorf("app %q: %s %q is not a name; use 1 to 63 of a-z 0-9 . _ - that begin with a letter or digit, without ..", n, p.what, p.s)
		}
	}
	return nil
}

// Compare orders names: shared ones first, then by workspace.
func (n AppName) Compare(o AppName) int {
	return Ref{Workspace: n.Workspace, Name: n.Provider}.Compare(Ref{Workspace: o.Workspace, Name: o.Provider})
}

// Name of the app.
func (a *App) Name() AppName { return AppName{a.Workspace, a.Provider} }

// Clone copies the app; the copy shares no map with it.
func (a *App) Clone() *App {
	b := *a
	b.Rest = maps.Clone(a.Rest)
	return &b
}

// Format prints the app as its name, for every verb: what others keep in its
// record may be secret too.
func (a App) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, a.Name().String()) }

// LogValue implements slog.LogValuer: the name.
func (a App) LogValue() slog.Value { return slog.StringValue(a.Name().String()) }

// MarshalJSON gives the name; only EncodeApp gives the record.
func (a App) MarshalJSON() ([]byte, error) { return json.Marshal(a.Name().String()) }

// Apps keeps the OAuth clients of providers. Its errors are those of a Store,
// with not_found for an app that does not exist. All methods may be called at
// once from many goroutines.
type Apps interface {
	// App gives a workspace's own app, or with an empty workspace the shared one.
	App(ctx context.Context, workspace, provider string) (*App, error)
	// PutApp writes a if the stored version is still a.Version (0: it must not
	// exist) and sets a.Version to the new one; else it fails with store_conflict.
	PutApp(ctx context.Context, a *App) error
	// DeleteApp removes it. One that does not exist is not_found.
	DeleteApp(ctx context.Context, workspace, provider string) error
	// ListApps gives the names of all, sorted by AppName.Compare.
	ListApps(ctx context.Context) ([]AppName, error)
}

// EncodeApp gives the app as one JSON object: provider, client_id, client_secret
// and what others keep there. state becomes its sallyport_state; empty: none.
func EncodeApp(a *App, state string) ([]byte, error) {
	c := &Credential{Ref: Ref{Provider: a.Provider}, Rest: maps.Clone(a.Rest)}
	for name, v := range map[string]secret.Value{appID: secret.New(a.ClientID), appSecret: a.ClientSecret, StateField: secret.New(state)} {
		c.Unset(name)
		c.Set(name, v)
	}
	if _, err := Encode(c); err != nil {
		return nil, fmt.Errorf("app %s: its fields are not UTF-8 text and JSON", a.Name())
	}
	m := c.Data()
	delete(m, "type") // only a credential has one of ours
	if others, ok := a.Rest["type"]; ok {
		m["type"] = others
	}
	return json.Marshal(m)
}

// DecodeApp reads a stored JSON object. A trailing newline of a value is
// trimmed. Errors quote no value.
func DecodeApp(name AppName, version int, data []byte) (*App, error) {
	var rest map[string]json.RawMessage
	c, _, err := Decode(Ref{}, version, data)
	if err != nil || json.Unmarshal(data, &rest) != nil {
		return nil, fmt.Errorf("app %s is not a JSON object", name)
	}
	for _, own := range []string{"provider", appID, appSecret, StateField} {
		delete(rest, own)
	}
	return &App{
		Workspace: name.Workspace, Provider: name.Provider, Rest: rest, Version: version,
		ClientID: strings.TrimSpace(c.Text(appID)), ClientSecret: c.Field(appSecret),
	}, nil
}
