package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/configs"
	"github.com/sallyport/sallyport/proxy"
)

// A reload names each key that it cannot change, with its line.
func TestNeedsRestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sallyport.toml")
	load := func(text string) *configs.Config {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg, err := configs.Load(configs.Options{Path: path})
		if err != nil {
			t.Fatal(err)
		}
		return cfg
	}
	old := load("[admin]\nin_use_window = \"1h\"\n")
	for _, tc := range []struct{ text, want string }{
		{"[admin]\nin_use_window = \"2h\"\n[vault]\ncache_ttl = \"2m\"\nmax_stale = \"2h\"\n[log]\nlevel = \"debug\"\n[proxy]\ndrain = \"1s\"\n", ""},
		{"[proxy]\nmax_connections = 5\n[proxy.ca]\npermitted = [\"example.com\"]\n[admin]\nhosts = [\"side.car\"]\n[vault.auth]\nmount = \"other\"\n",
			"2 proxy.max_connections, 4 proxy.ca.permitted, 6 admin.hosts, 8 vault.auth.mount"},
		{"[store]\ndir = \"elsewhere\"\n", "2 store.dir"},
		{"[[proxy.listener]]\nlisten = \"127.0.0.1:3130\"\ncaller = \"default\"\n", "1 proxy.listener"},
	} {
		var got []string
		for _, f := range needsRestart(old, load(tc.text)) {
			got = append(got, fmt.Sprint(f.Line, " ", f.Key))
			if !strings.Contains(f.Detail, "restart") || f.File != path {
				t.Errorf("the fault is %v", f)
			}
		}
		if s := strings.Join(got, ", "); s != tc.want {
			t.Errorf("%q: %q, want %q", tc.text, s, tc.want)
		}
	}
}

// Who uses what is the same whatever the order and the time.
func TestUsers(t *testing.T) {
	now := time.Now()
	a := users(map[string][]proxy.Use{"w/e/crm/a": {{Caller: "x", Last: now}, {Caller: "y", Last: now}}, "w/e/crm/b": {{Caller: "x", Last: now}}})
	b := users(map[string][]proxy.Use{"w/e/crm/b": {{Caller: "x"}}, "w/e/crm/a": {{Caller: "y"}, {Caller: "x"}}})
	if a != b || a == users(map[string][]proxy.Use{"w/e/crm/a": {{Caller: "x"}}}) {
		t.Errorf("%q and %q", a, b)
	}
}
