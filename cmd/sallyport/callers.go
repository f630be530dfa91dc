package main

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/sallyport/sallyport/admin"
	"github.com/sallyport/sallyport/configs"
	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/file"
	"github.com/sallyport/sallyport/internal/provider"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/proxy"
)

// callers are those of the configuration and those that "caller add" made. The
// latter stand in STATE_DIR/callers, NAME.json and NAME.token.
type callers struct {
	dir string

	mu    sync.Mutex
	added []callerRecord // sorted by name
}

// callerRecord is NAME.json.
type callerRecord struct {
	Name        string `json:"name"`
	Workspace   string `json:"workspace"`
	Environment string `json:"environment"`
}

const callerSuffix = ".json"

// openCallers reads what "caller add" has made.
func openCallers(stateDir string) (*callers, error) {
	c := &callers{dir: filepath.Join(stateDir, "callers")}
	if err := file.MakeDir(c.dir); err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	return c, c.load()
}

// peekCallers is openCallers for who only wants to know: it makes nothing.
func peekCallers(stateDir string) (*callers, error) {
	c := &callers{dir: filepath.Join(stateDir, "callers")}
	if _, err := os.Stat(c.dir); errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	return c, c.load()
}

func (c *callers) load() error {
	names, err := os.ReadDir(c.dir)
	if err != nil {
		return fmt.Errorf("state directory: %w", err)
	}
	for _, e := range names { // in order of name
		if strings.HasPrefix(e.Name(), ".") || !strings.HasSuffix(e.Name(), callerSuffix) {
			continue
		}
		r, err := c.read(strings.TrimSuffix(e.Name(), callerSuffix))
		if err != nil {
			return err
		}
		c.added = append(c.added, r)
	}
	return nil
}

func (c *callers) read(name string) (callerRecord, error) {
	path := filepath.Join(c.dir, name+callerSuffix)
	b, err := file.ReadPrivate(path)
	if err != nil {
		return callerRecord{}, err
	}
	var r callerRecord
	if err := json.Unmarshal(b, &r); err != nil || r.Name != name || !credential.ValidPart(name) ||
		!credential.ValidPart(r.Workspace) || !credential.ValidPart(r.Environment) {
		return callerRecord{}, fmt.Errorf("%s: is not a caller's record; remove it and add the caller again", path)
	}
	return r, nil
}

// effective gives every caller with its token's hash. Tokens that are nowhere
// yet are made: of a configured caller without one, and of the caller default
// where the configuration has none.
func (c *callers) effective(cfg *configs.Config) ([]proxy.Caller, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []proxy.Caller
	for _, k := range cfg.Callers {
		caller, err := c.configured(k)
		if err != nil {
			return nil, err
		}
		out = append(out, caller)
	}
	if len(cfg.Callers) == 0 && !slices.ContainsFunc(c.added, func(r callerRecord) bool { return r.Name == "default" }) {
		sum, err := c.tokenHash("default")
		if err != nil {
			return nil, err
		}
		out = append(out, proxy.Caller{
			Name: "default", Workspace: credential.DefaultWorkspace, Environment: credential.DefaultEnvironment, TokenSHA256: sum,
		})
	}
	for _, r := range c.added {
		if slices.ContainsFunc(out, func(p proxy.Caller) bool { return p.Name == r.Name }) {
			continue // the configuration's word counts
		}
		sum, err := c.tokenHash(r.Name)
		if err != nil {
			return nil, err
		}
		out = append(out, proxy.Caller{Name: r.Name, Workspace: r.Workspace, Environment: r.Environment, TokenSHA256: sum})
	}
	return out, nil
}

// folders gives whose credentials the callers use, each workspace and
// environment once. It makes no token.
func (c *callers) folders(cfg *configs.Config) []credential.Ref {
	of := map[string]credential.Ref{}
	if len(cfg.Callers) == 0 {
		of["default"] = credential.Ref{Workspace: credential.DefaultWorkspace, Environment: credential.DefaultEnvironment}
	}
	for _, r := range c.added {
		of[r.Name] = credential.Ref{Workspace: r.Workspace, Environment: r.Environment}
	}
	for _, k := range cfg.Callers {
		of[k.Name] = credential.Ref{Workspace: k.Workspace, Environment: k.Environment}
	}
	return slices.Compact(slices.SortedFunc(maps.Values(of), credential.Ref.Compare))
}

func (c *callers) configured(k configs.Caller) (proxy.Caller, error) {
	caller := proxy.Caller{Name: k.Name, Workspace: k.Workspace, Environment: k.Environment, Limits: k.Limits, Allow: allows(k.Allow)}
	var err error
	switch {
	case k.TokenSHA256 != "":
		_, err = hex.Decode(caller.TokenSHA256[:], []byte(k.TokenSHA256))
	case k.TokenFile != "":
		caller.TokenSHA256, err = tokenFileHash(k.TokenFile)
	default:
		caller.TokenSHA256, err = c.tokenHash(k.Name)
	}
	if err != nil {
		return caller, fmt.Errorf("caller %s: %w", k.Name, err)
	}
	return caller, nil
}

func tokenFileHash(path string) ([32]byte, error) {
	b, _, err := file.ReadOperator(path)
	if err != nil {
		return [32]byte{}, err
	}
	v, err := tokenOf(path, string(b))
	if err != nil {
		return [32]byte{}, err
	}
	return hashOf(v), nil
}

// tokenHash gives the hash of the token in STATE_DIR/callers, made if there is none.
func (c *callers) tokenHash(name string) ([32]byte, error) {
	path := c.tokenPath(name)
	b, err := file.ReadPrivate(path)
	if errors.Is(err, fs.ErrNotExist) {
		v := newToken()
		return hashOf(v), file.Write(path, []byte(reveal(v)+"\n"), file.Private)
	}
	if err != nil {
		return [32]byte{}, err
	}
	v, err := tokenOf(path, string(b))
	if err != nil {
		return [32]byte{}, err
	}
	return hashOf(v), nil
}

func (c *callers) tokenPath(name string) string { return filepath.Join(c.dir, name+".token") }

// add makes a caller and its token: the token first, so that a record that is
// there has one.
func (c *callers) add(cfg *configs.Config, r callerRecord) (secret.Value, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	at, found := slices.BinarySearchFunc(c.added, r.Name, func(a callerRecord, n string) int { return strings.Compare(a.Name, n) })
	if found || slices.ContainsFunc(cfg.Callers, func(k configs.Caller) bool { return k.Name == r.Name }) {
		return secret.Value{}, fault.New(fault.InvalidRequest, fmt.Sprintf("caller %q exists already", r.Name), nil)
	}
	b, err := json.Marshal(r)
	if err != nil {
		return secret.Value{}, err
	}
	v := newToken()
	err = file.Write(c.tokenPath(r.Name), []byte(reveal(v)+"\n"), file.Private)
	if err == nil {
		err = file.Write(filepath.Join(c.dir, r.Name+callerSuffix), append(b, '\n'), file.Private)
	}
	if err != nil { // of the file system: it names files only
		return secret.Value{}, fault.New(fault.Internal, fmt.Sprintf("caller %q was not added: %v", r.Name, err), err)
	}
	c.added = slices.Insert(c.added, at, r)
	return v, nil
}

// remove ends a caller that add made, and its token.
func (c *callers) remove(cfg *configs.Config, name string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if slices.ContainsFunc(cfg.Callers, func(k configs.Caller) bool { return k.Name == name }) {
		return fault.New(fault.InvalidRequest, fmt.Sprintf("caller %q stands in the configuration; remove it there", name), nil)
	}
	i := slices.IndexFunc(c.added, func(r callerRecord) bool { return r.Name == name })
	if i < 0 {
		return fault.New(fault.NotFound, fmt.Sprintf("there is no caller %q that caller add made", name), nil)
	}
	if err := os.Remove(filepath.Join(c.dir, name+callerSuffix)); err != nil {
		return err
	}
	c.added = slices.Delete(c.added, i, i+1)
	if err := os.Remove(c.tokenPath(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return file.SyncDir(c.dir)
}

// list gives all callers as they are shown.
func (c *callers) list(cfg *configs.Config) ([]admin.CallerInfo, error) {
	all, err := c.effective(cfg)
	if err != nil {
		return nil, err
	}
	out := make([]admin.CallerInfo, 0, len(all))
	for _, p := range all {
		set := slices.ContainsFunc(cfg.Callers, func(k configs.Caller) bool { return k.Name == p.Name })
		out = append(out, admin.CallerInfo{Name: p.Name, Workspace: p.Workspace, Environment: p.Environment, Configured: set, Needs: shownNeeds(cfg, p.Name)})
	}
	return out, nil
}

// newToken is 256 random bits in characters that need no escaping anywhere.
func newToken() secret.Value {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails
	return secret.New(base64.RawURLEncoding.EncodeToString(b[:]))
}

func hashOf(v secret.Value) [32]byte { return sha256.Sum256([]byte(reveal(v))) }

// needsOf gives what a caller of the configuration needs of providers.
func needsOf(cfg *configs.Config, caller string) map[string]provider.Needs {
	i := slices.IndexFunc(cfg.Callers, func(c configs.Caller) bool { return c.Name == caller })
	if i < 0 {
		return nil
	}
	return cfg.Callers[i].Needs
}

func shownNeeds(cfg *configs.Config, caller string) map[string]admin.Needs {
	out := map[string]admin.Needs{}
	for name, n := range needsOf(cfg, caller) {
		out[name] = admin.Needs{Scopes: append([]string{}, n.Scopes...), Permissions: append([]string{}, n.Permissions...)}
	}
	return out
}
