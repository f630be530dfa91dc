package configs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"

	"github.com/BurntSushi/toml"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/file"
	"github.com/sallyport/sallyport/internal/provider"
)

// Find gives the path of the configuration: flag, $SALLYPORT_CONFIG, and where
// they exist ./sallyport.toml and $XDG_CONFIG_HOME/sallyport/sallyport.toml
// (~/.config without that variable). Empty means built-in defaults.
func Find(flag string, getenv func(string) string) string {
	if flag != "" {
		return flag
	}
	if path := getenv("SALLYPORT_CONFIG"); path != "" {
		return path
	}
	places := []string{"sallyport.toml"}
	if dir := getenv("XDG_CONFIG_HOME"); dir != "" {
		places = append(places, filepath.Join(dir, "sallyport", "sallyport.toml"))
	} else if home := getenv("HOME"); home != "" {
		places = append(places, filepath.Join(home, ".config", "sallyport", "sallyport.toml"))
	}
	for _, path := range places {
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) {
			return path
		}
	}
	return ""
}

// Load reads, judges and compiles a configuration. Its error is a Faults with
// everything that is wrong.
func Load(o Options) (*Config, error) {
	var text []byte
	if o.Path != "" {
		var err error
		if text, _, err = file.ReadOperator(o.Path); err != nil {
			return nil, Faults{{Detail: err.Error()}}
		}
	}
	return load(o, text)
}

// load is Load of a file's text.
func load(o Options, text []byte) (*Config, error) {
	if o.Types == nil {
		o.Types = documented
	}
	r := &report{file: o.Path, names: map[string]string{}, env: map[string]string{}}
	tree := r.parse(string(text))
	if tree == nil {
		return nil, r.err()
	}
	env := environment(o.Environ)
	r.overlay(tree, env)
	r.skipVerify(env)
	r.nameElements(tree)

	f := defaults()
	d := &decoder{report: r}
	d.table("", tree, reflect.ValueOf(&f).Elem(), false)
	if f.usesVault() {
		r.vaultDefaults(&f.Vault, tree, env)
	}
	c := &Config{Path: o.Path, form: &f, lines: r.lines, EnvUsed: r.used(&f, env)}
	r.daemon(&f)
	if o.Files {
		r.files(&f)
	}
	c.Providers = r.providers(&f, tree, o.Types)
	c.Table = r.table(c.Providers, f.Proxy.CA.Permitted)
	c.Callers = r.callers(&f, c.Table)
	c.Credentials = r.credentials(&f, c.Table, o.Types)
	if err := r.err(); err != nil {
		return nil, err
	}
	c.Warnings = r.warnings
	c.Proxy, c.Admin, c.Log, c.Store, c.Vault, c.Retry = f.Proxy, f.Admin, f.Log, f.Store, f.Vault, f.Retry
	c.Notify, c.Checks.ExpiryWarning = Notify(f.Notify), f.Checks.ExpiryWarning
	c.Checks.Interval, _ = f.interval() // judged above
	c.Limits = limitsOf(ownLimitsForm{f.Limits.Rate, f.Limits.Burst, f.Limits.Concurrency, f.Limits.MaxWait})
	return c, nil
}

// parse gives the file's tree; nil if it is no TOML.
func (r *report) parse(text string) map[string]any {
	tree := map[string]any{}
	_, err := toml.Decode(text, &tree)
	if err == nil {
		r.lines = lineIndex(text)
		return tree
	}
	f := Fault{File: r.file, Detail: "is no TOML: " + err.Error()}
	var syntax toml.ParseError
	if errors.As(err, &syntax) {
		f.Line, f.Key, f.Detail = syntax.Position.Line, syntax.LastKey, "is no TOML: "+syntax.Message
	}
	r.list = append(r.list, f)
	return nil
}

// nameElements lets faults of callers and providers say their names.
func (r *report) nameElements(tree map[string]any) {
	for _, array := range []string{"caller", "provider"} {
		seen := map[string]bool{}
		for i, e := range tablesOf(tree[array]) {
			if name, _ := e["name"].(string); credential.ValidPart(name) && !seen[name] {
				r.names[index(array, i)], seen[name] = join(array, name), true
			}
		}
	}
}

func limitsOf(f ownLimitsForm) provider.Limits {
	return provider.Limits{Rates: f.Rate, Burst: f.Burst, Concurrency: f.Concurrency, MaxWait: f.MaxWait}
}
