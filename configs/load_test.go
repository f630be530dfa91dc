package configs

import (
	"bytes"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/provider"
)

// mustLoad loads a text that has no faults.
func mustLoad(t *testing.T, text string, environ ...string) *Config {
	t.Helper()
	c, err := load(Options{Path: "sallyport.toml", Environ: environ, Types: testTypes}, []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// faultsOf loads a text that has faults.
func faultsOf(t *testing.T, text string, environ ...string) string {
	t.Helper()
	_, err := load(Options{Path: "sallyport.toml", Environ: environ, Types: testTypes}, []byte(text))
	var faults Faults
	if !errors.As(err, &faults) {
		t.Fatalf("load(%q): %v; want faults", text, err)
	}
	return faults.Error()
}

func TestDefaults(t *testing.T) {
	c, err := Load(Options{})
	if err != nil {
		t.Fatal(err)
	}
	want := defaults()
	if !reflect.DeepEqual(c.Proxy, want.Proxy) || !reflect.DeepEqual(c.Vault, want.Vault) || c.Retry != want.Retry || c.Log != want.Log || c.Store != want.Store {
		t.Errorf("Load without a file = %+v; want the defaults", c)
	}
	if c.Limits.MaxWait != 10*time.Second || len(c.Callers) != 0 || c.Path != "" || len(c.EnvUsed) != 0 || len(c.Warnings) != 0 {
		t.Errorf("Load without a file = %+v", c)
	}
	if c.Table.Get("github") == nil || c.Table.Get("github").Configured || !c.Table.Get("github").Builtin {
		t.Error("github is not a built-in provider that nobody configured")
	}
}

// Relative paths count from the file's folder, those of the environment from
// the process' own.
func TestRelativePaths(t *testing.T) {
	text := `
[proxy.ca]
cert_file = "tls/ca.pem"
key_file = "/etc/ca.key"
[store]
dir = "../records"
[vault.auth]
token_file = "token"
[[caller]]
name = "orders"
token_file = "orders.token"
[[provider]]
name = "crm"
hosts = ["crm.internal"]
[provider.oauth2]
token_url = "http://127.0.0.1:9000/token"
`
	c, err := load(Options{Path: "/etc/sallyport/sallyport.toml", Environ: []string{"SALLYPORT_VAULT_AUTH_TOKEN_FILE=here"}, Types: testTypes}, []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	for key, got := range map[string][2]string{
		"proxy.ca.cert_file": {c.Proxy.CA.CertFile, "/etc/sallyport/tls/ca.pem"}, "proxy.ca.key_file": {c.Proxy.CA.KeyFile, "/etc/ca.key"},
		"store.dir": {c.Store.Dir, "/etc/records"}, "store.key_file": {c.Store.KeyFile, ""},
		"vault.auth.token_file": {c.Vault.Auth.TokenFile, "here"}, "caller.orders.token_file": {c.Callers[0].TokenFile, "/etc/sallyport/orders.token"},
	} {
		if got[0] != got[1] {
			t.Errorf("%s is %q, want %q", key, got[0], got[1])
		}
	}
}

func TestOperatorFiles(t *testing.T) {
	dir := t.TempDir()
	for name, mode := range map[string]os.FileMode{"private": 0o600, "readable": 0o644, "writable": 0o666} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("x"), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(filepath.Join(dir, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("private", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	judged := func(files bool, names ...string) (*Config, error) {
		text := ""
		for _, n := range names {
			text += "[[caller]]\nname = \"" + n + "\"\ntoken_file = \"" + n + "\"\n"
		}
		return load(Options{Path: filepath.Join(dir, "c.toml"), Files: files, Types: testTypes}, []byte(text))
	}
	c, err := judged(true, "private", "link", "readable")
	if err != nil || len(c.Warnings) != 1 || !strings.HasPrefix(c.Warnings[0], "caller.readable.token_file: ") {
		t.Errorf("%v, warnings %v; want one, of the readable file", err, c)
	}
	_, err = judged(true, "private", "writable", "missing")
	for _, want := range []string{
		"c.toml:6: caller.writable.token_file: ", "is writable by everybody (mode 0666)", "c.toml:9: caller.missing.token_file: ", "no such file",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the faults are %v; want one with %q", err, want)
		}
	}
	vault := "[store]\nbackend = \"vault\"\n[vault]\naddress = \"https://vault.internal\"\nca_file = \"missing\"\n[vault.auth]\ntoken_file = \"later\"\n"
	_, err = load(Options{Path: filepath.Join(dir, "c.toml"), Files: true, Types: testTypes}, []byte(vault))
	if err == nil || !strings.Contains(err.Error(), "c.toml:5: vault.ca_file: ") || strings.Contains(err.Error(), "later") {
		t.Errorf("%v; want a fault of vault.ca_file alone", err)
	}
	if _, err = judged(false, "missing"); err != nil {
		t.Errorf("%v; only the daemon needs the files", err)
	}
}

// The key of a webhook is read at load to see that there is one, but for a pipe,
// which can be read only once.
func TestNotifyKeyIsThere(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"empty": "", "blank": "\r\n", "key": "k\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, fault := range map[string]string{
		"empty": "c.toml:5: notify.secret_file: " + filepath.Join(dir, "empty") + " is empty; it must hold the key that signs what is sent",
		"blank": "is empty", "missing": "no such file", "key": "", "pipe": "",
	} {
		text := "[log]\nlevel = \"info\"\n[notify]\nurl = \"https://hooks.example/x\"\nsecret_file = \"" + name + "\"\n"
		_, err := load(Options{Path: filepath.Join(dir, "c.toml"), Files: true, Types: testTypes}, []byte(text))
		if (err == nil) != (fault == "") || err != nil && !strings.Contains(err.Error(), fault) {
			t.Errorf("%s: %v; want %q", name, err, fault)
		}
		_, err = load(Options{Path: filepath.Join(dir, "c.toml"), Files: true, Types: testTypes}, []byte(text+"[log.x]\n"))
		if fault != "" && (err == nil || !strings.Contains(err.Error(), fault) || !strings.Contains(err.Error(), "log.x")) {
			t.Errorf("%s: %v; want all faults at once", name, err)
		}
	}
}

func TestLoad(t *testing.T) {
	c := mustLoad(t, `
[proxy]
listen = "unix:/run/sallyport/proxy.sock"
auth = "none"
anonymous_caller = "orders"
allow_networks = ["10.0.0.0/8", "192.0.2.1"]
tunnel_ports = []
replay_limit = "512KiB"
upstream_timeout = "1m30s"
upstream_proxy = "http://user:hunter2@proxy.internal:3128"
[[proxy.listener]]
listen = "[::1]:3130"
caller = "orders"
[limits]
rate = ["10/s", "100/10s"]
[retry]
budget = 1
[[caller]]
name = "orders"
workspace = "acme"
token_sha256 = "E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855"
[caller.limits]
concurrency = 5
[[caller.allow]]
credentials = ["github/*", "crm/main"]
methods = ["GET"]
paths = ["/repos/**", "/*/x"]
[[provider]]
name = "crm"
hosts = ["crm.internal:8443", "{shop}.crm.internal"]
base_url = "https://crm.internal:8443/"
types = ["oauth2_authorization_code"]
[provider.headers]
"X-Version" = "2"
[[provider.place]]
in = "header"
name = "X-Api-Key"
value = "Token token={api_key}"
[provider.limits]
rate = ["300/min"]
`)
	if want := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("192.0.2.1/32")}; !slices.Equal(c.Proxy.AllowNetworks, want) {
		t.Errorf("allow_networks = %v", c.Proxy.AllowNetworks)
	}
	if c.Proxy.ReplayLimit != 512<<10 || c.Proxy.UpstreamTimeout != 90*time.Second || len(c.Proxy.TunnelPorts) != 0 || c.Proxy.UpstreamProxy.Host != "proxy.internal:3128" {
		t.Errorf("proxy = %+v", c.Proxy)
	}
	if want := []provider.Rate{{Count: 10, Window: time.Second}, {Count: 100, Window: 10 * time.Second}}; !slices.Equal(c.Limits.Rates, want) {
		t.Errorf("limits = %+v", c.Limits)
	}
	caller := c.Callers[0]
	if caller.Workspace != "acme" || caller.Environment != "production" || caller.Limits.Concurrency != 5 || caller.Limits.MaxWait >= 0 || !strings.HasPrefix(caller.TokenSHA256, "e3b0") {
		t.Errorf("caller = %+v", caller)
	}
	crm := c.Table.Get("crm")
	if crm.Builtin || !crm.Configured || crm.BaseURL != "https://crm.internal:8443" || crm.Type != "api_key" || !crm.Refresh.Rotates || crm.Limits.MaxWait >= 0 {
		t.Errorf("crm = %+v", crm)
	}
	if want := []provider.Place{{In: provider.InHeader, Name: "X-Api-Key", Value: "Token token={api_key}"}}; !slices.Equal(crm.Places, want) {
		t.Errorf("places = %+v", crm.Places)
	}
	if want := []provider.Header{{Name: "X-Version", Value: "2"}}; !slices.Equal(crm.Headers, want) {
		t.Errorf("headers = %+v", crm.Headers)
	}
}

func TestOverrideOfABuiltinEntry(t *testing.T) {
	plain := mustLoad(t, "").Table.Get("gitlab")
	c := mustLoad(t, `
provider = [{ name = "gitlab", hosts = ["gitlab.internal"], base_url = "https://gitlab.internal/api/v4", verify = { path = "/version" } }]
`)
	own := c.Table.Get("gitlab")
	if own.Fingerprint == plain.Fingerprint {
		t.Error("the fingerprint of an overridden entry is that of the built-in one")
	}
	if !own.Builtin || !own.Configured {
		t.Errorf("Builtin %v, Configured %v; want both", own.Builtin, own.Configured)
	}
	own.Hosts, own.BaseURL, own.Verify.Path, own.Configured, own.Fingerprint = plain.Hosts, plain.BaseURL, plain.Verify.Path, false, plain.Fingerprint
	if !reflect.DeepEqual(own, plain) {
		t.Errorf("the override changed more than it sets:\n%+v\n%+v", own, plain)
	}
	if len(c.Warnings) != 1 || !strings.Contains(c.Warnings[0], "provider.gitlab: base_url is overridden, but oauth2.token_url is still https://gitlab.com/oauth/token") {
		t.Errorf("warnings %q; want one of the token endpoint", c.Warnings)
	}
}

func TestUnknownKeys(t *testing.T) {
	for text, want := range map[string]string{
		"lisen = 1":                            "sallyport.toml:1: lisen: is not a known key",
		"[prox]\nlisten = \"x\"":               "sallyport.toml:1: prox: is not a known key; did you mean proxy?",
		"[proxy]\nListen = \"127.0.0.1:1\"":    "sallyport.toml:2: proxy.Listen: is not a known key; did you mean listen?",
		"[proxy.ca]\npermited = []":            "sallyport.toml:2: proxy.ca.permited: is not a known key; did you mean permitted?",
		"[[caller]]\nname = \"a\"\nx.y = 1":    "sallyport.toml:3: caller.a.x: is not a known key",
		"caller = [{ name = \"a\", rate = 1}]": "sallyport.toml:1: caller.a.rate: is not a known key",
	} {
		if got := faultsOf(t, text); got != want {
			t.Errorf("TM-01: %s; want %s", got, want)
		}
	}
}

func TestFingerprint(t *testing.T) {
	const entry = "[[provider]]\nname = \"crm\"\nhosts = [\"crm.internal\"]\n"
	base := mustLoad(t, entry).Table.Get("crm").Fingerprint
	if again := mustLoad(t, "# moved\n"+entry).Table.Get("crm").Fingerprint; again != base {
		t.Error("the fingerprint changes where the entry does not")
	}
	for _, more := range []string{"anonymous = true", `headers = { X = "1" }`, `upstream_proxy = "http://u:a@p:1"`, `upstream_proxy = "http://u:b@p:1"`, `place = [{ in = "query", name = "k", value = "{api_key}" }]`, `limits = { max_wait = "1s" }`} {
		got := mustLoad(t, entry+more).Table.Get("crm").Fingerprint
		if got == base {
			t.Errorf("the fingerprint does not see %s", more)
		}
		if strings.HasPrefix(more, "upstream_proxy") {
			base = got // a changed password is a change
		}
	}
}

func TestRoots(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"empty.pem": "nothing\n", "open.pem": "nothing\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Join(dir, "open.pem"), 0o666); err != nil {
		t.Fatal(err)
	}
	entry := func(name string) string {
		return "[[provider]]\nname = \"crm\"\nhosts = [\"crm.internal\"]\nca_file = \"" + filepath.Join(dir, name) + "\""
	}
	if got := faultsOf(t, entry("empty.pem")); !strings.Contains(got, "sallyport.toml:4: provider.crm.ca_file: ") || !strings.Contains(got, "no certificate in PEM") {
		t.Error(got)
	}
	if got := faultsOf(t, entry("open.pem")); !strings.Contains(got, "writable by everybody") {
		t.Error(got)
	}
}

func TestLoadReadsTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sallyport.toml")
	if _, err := Load(Options{Path: path}); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("a missing file: %v; want an error that names it", err)
	}
	if err := os.WriteFile(path, []byte("[log]\nlevel = \"loud\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(Options{Path: path}); err == nil || err.Error() != path+`:2: log.level: "loud" is not known; use debug, info, warn or error` {
		t.Errorf("Load: %v", err)
	}
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(Options{Path: path}); err == nil || !strings.Contains(err.Error(), "writable by everybody") {
		t.Errorf("a file that everybody may write: %v", err)
	}
}

func TestFind(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	env := map[string]string{"XDG_CONFIG_HOME": filepath.Join(dir, "xdg"), "HOME": filepath.Join(dir, "home")}
	find := func(flag string) string { return Find(flag, func(k string) string { return env[k] }) }
	write := func(path string) string {
		t.Helper()
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, nil, 0o600)); err != nil {
			t.Fatal(err)
		}
		return path
	}
	check := func(got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("Find = %q; want %q", got, want)
		}
	}
	check(find(""), "")
	home := write(filepath.Join(dir, "home", ".config", "sallyport", "sallyport.toml"))
	check(find(""), "")
	xdg := write(filepath.Join(dir, "xdg", "sallyport", "sallyport.toml"))
	check(find(""), xdg)
	delete(env, "XDG_CONFIG_HOME")
	check(find(""), home)
	write("sallyport.toml")
	check(find(""), "sallyport.toml")
	env["SALLYPORT_CONFIG"] = "/etc/sallyport.toml"
	check(find(""), "/etc/sallyport.toml")
	check(find("flag.toml"), "flag.toml")
}

var commented = regexp.MustCompile(`(?m)^#(["\[a-z])`)

func TestReferenceIsTheDefaults(t *testing.T) {
	c := mustLoad(t, string(Reference()))
	want := defaults()
	if !reflect.DeepEqual(withoutLists(*c.form), withoutLists(want)) {
		t.Errorf("the reference is\n%+v\nbut the defaults are\n%+v", c.form, want)
	}
}

// withoutLists writes a form, in which an empty list is like none.
func withoutLists(f form) string {
	var b bytes.Buffer
	(&writer{out: &b}).table("", reflect.ValueOf(f))
	return b.String()
}

func TestReferenceHasEveryKey(t *testing.T) {
	text := commented.ReplaceAllString(string(Reference()), "$1")
	r := &report{}
	if r.parse(text) == nil {
		t.Fatal(r.err())
	}
	have := map[string]bool{}
	for path := range r.lines {
		have[regexp.MustCompile(`\[\d+\]`).ReplaceAllString(path, "")] = true
	}
	for _, key := range everyKey("", reflect.TypeFor[form]()) {
		if !have[key] {
			t.Errorf("reference.toml does not have %s", key)
		}
	}
	text = regexp.MustCompile(`(?s)\n\[\[credential\]\].*`).ReplaceAllString(text, "") // not built yet, whatever it says
	c := mustLoad(t, text)
	if len(c.Callers) != 1 || c.Table.Get("crm") == nil || len(c.Proxy.Listeners) != 1 {
		t.Error("the commented parts of the reference do not count once the signs are gone")
	}
}

func everyKey(path string, typ reflect.Type) []string {
	var keys []string
	for _, f := range keysOf(typ) {
		key, t := join(path, f.name), typ.Field(f.index).Type
		keys = append(keys, key)
		if isArray(t) {
			t = t.Elem()
		}
		if isTable(t) {
			keys = append(keys, everyKey(key, t)...)
		}
	}
	return keys
}

func TestEveryFieldHasAKey(t *testing.T) {
	for _, key := range everyKey("", reflect.TypeFor[form]()) {
		if strings.HasSuffix(key, `""`) {
			t.Errorf("a field after %s has no toml tag", key)
		}
	}
}

func TestWriteTOML(t *testing.T) {
	text := commented.ReplaceAllString(string(Reference()), "$1")
	text = regexp.MustCompile(`(?s)\n\[\[credential\]\].*`).ReplaceAllString(text, "")
	for _, in := range []string{"", text, "[proxy]\nlisten = \"unix:/a \\\"b\\\"\\u0001\"\n[proxy.ca]\npermitted = [\"a.internal\"]\n"} {
		c := mustLoad(t, in)
		var b bytes.Buffer
		if err := c.WriteTOML(&b); err != nil {
			t.Fatal(err)
		}
		again := mustLoad(t, b.String())
		again.form, again.Table, c.form, c.Table = nil, nil, nil, nil
		if !reflect.DeepEqual(again, c) && withoutNil(again) != withoutNil(c) {
			t.Errorf("what is written is not what was read:\n%s", b.String())
		}
	}
}

func withoutNil(c *Config) string {
	var b strings.Builder
	for _, p := range c.Providers {
		b.WriteString(p.Name + p.Fingerprint + "\n")
	}
	f := form{Proxy: c.Proxy, Admin: c.Admin, Log: c.Log, Store: c.Store, Vault: c.Vault, Retry: c.Retry}
	return b.String() + withoutLists(f)
}

func TestWriteTOMLHasNoSecret(t *testing.T) {
	c := mustLoad(t, "[proxy]\nupstream_proxy = \"http://user:hunter2@proxy:1\"\n[[provider]]\nname = \"github\"\nupstream_proxy = \"http://user:hunter2@proxy:1\"\n", "VAULT_TOKEN=hunter2")
	var b bytes.Buffer
	if err := c.WriteTOML(&b); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(b.String(), "hunter2") || strings.Count(b.String(), "user:xxxxx@proxy") != 2 {
		t.Errorf("written:\n%s", b.String())
	}
}

// A webhook's URL is often a secret: of it the scheme and the host are told.
func TestWriteTOMLHidesTheWebhook(t *testing.T) {
	for in, want := range map[string]string{
		"":                                       "",
		"https://hooks.example/services/hunter2": "https://hooks.example/[redacted]",
		"https://hooks.example:8443/?key=hunter2": "https://hooks.example:8443/[redacted]",
		"http://127.0.0.1:9/":                     "http://127.0.0.1:9/",
	} {
		f := defaults()
		f.Notify.URL = in
		var shown, whole bytes.Buffer
		(&writer{out: &shown}).table("", reflect.ValueOf(f))
		(&writer{out: &whole, secrets: true}).table("", reflect.ValueOf(f))
		if !strings.Contains(shown.String(), "[notify]\nurl = "+quote(want)+"\n") || strings.Contains(shown.String(), "hunter2") {
			t.Errorf("%q: written\n%s\nwant %q", in, shown.String(), want)
		}
		if !strings.Contains(whole.String(), "[notify]\nurl = "+quote(in)+"\n") {
			t.Errorf("%q: written with secrets\n%s", in, whole.String())
		}
	}
}

func TestShortIntervalWarns(t *testing.T) {
	for in, want := range map[string]int{"59s": 1, "1m": 0, "0": 0, "": 0} {
		c := mustLoad(t, "[checks]\ninterval = \""+in+"\"\n")
		if len(c.Warnings) != want || want > 0 && c.Warnings[0] != "checks.interval: 59s is short; providers may lock an account that asks so often" {
			t.Errorf("%q: warnings %q, want %d", in, c.Warnings, want)
		}
	}
}

func TestChecksAndNeeds(t *testing.T) {
	for _, tt := range []struct {
		text string
		want time.Duration
	}{
		{"", 6 * time.Hour},
		{"[store]\nbackend = \"vault\"\n[vault]\naddress = \"https://vault.internal\"\n", 0},
		{"[store]\nbackend = \"vault\"\n[vault]\naddress = \"https://vault.internal\"\n[checks]\ninterval = \"1h\"\n", time.Hour},
		{"[checks]\ninterval = \"0\"\n", 0},
		{"[checks]\ninterval = \"90s\"\n", 90 * time.Second},
	} {
		c, err := load(Options{Path: "c.toml"}, []byte(tt.text))
		if err != nil {
			t.Fatal(err)
		}
		if c.Checks.Interval != tt.want || c.Checks.ExpiryWarning != 336*time.Hour {
			t.Errorf("%q: checks = %+v; want an interval of %s", tt.text, c.Checks, tt.want)
		}
	}
	c, err := load(Options{Path: "c.toml"}, []byte("[[caller]]\nname = \"orders\"\nneeds = { github = { scopes = [\"repo\"], permissions = [] } }\n"))
	if err != nil {
		t.Fatal(err)
	}
	if n := c.Callers[0].Needs["github"]; !slices.Equal(n.Scopes, []string{"repo"}) || len(n.Permissions) != 0 {
		t.Errorf("needs = %+v; want the scope repo", n)
	}
	var text bytes.Buffer
	if err := c.WriteTOML(&text); err != nil || !strings.Contains(text.String(), `needs = {github = {scopes = ["repo"], permissions = []}}`) {
		t.Errorf("written (%v):\n%s", err, text.String())
	}
	if _, err := load(Options{Path: "c.toml"}, text.Bytes()); err != nil {
		t.Errorf("what was written does not load: %v", err)
	}
}
