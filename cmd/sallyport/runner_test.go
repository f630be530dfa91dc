package main

import (
	"os"
	"strings"
	"testing"
)

func writeAddresses(t *testing.T, dir, content string) {
	t.Helper()
	if err := os.WriteFile(addressesPath(dir), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestAddresses(t *testing.T) {
	c, dir := readyCLI(t)
	for _, tc := range []struct{ content, want, fails string }{
		{`{"proxy":"127.0.0.1:3128","admin":"127.0.0.1:3129"}`, "127.0.0.1:3128 127.0.0.1:3129", ""},
		{`{"proxy":"0.0.0.0:3128","admin":"[::]:3129"}`, "127.0.0.1:3128 [::1]:3129", ""},
		{`{"proxy":"127.0.0.1:3128","admin":"unix:/run/a.sock"}`, "127.0.0.1:3128 ", ""},
		{`{"proxy":"unix:/run/p.sock","admin":"127.0.0.1:3129"}`, "", "no proxy variable can name"},
		{`{"proxy":"nonsense"}`, "", "addresses.json"},
		{`{`, "", "addresses.json"},
	} {
		writeAddresses(t, dir, tc.content)
		at, err := c.addresses(dir)
		switch {
		case tc.fails == "" && (err != nil || at.Proxy+" "+at.Admin != tc.want):
			t.Errorf("%s: got %+v, %v", tc.content, at, err)
		case tc.fails != "" && (err == nil || !strings.Contains(err.Error(), tc.fails)):
			t.Errorf("%s: got %v, want %q", tc.content, err, tc.fails)
		}
	}
	if err := os.Remove(addressesPath(dir)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.addresses(dir); err == nil || !strings.Contains(err.Error(), "not ready yet") {
		t.Errorf("a daemon that has just started: %v", err)
	}
}

func TestNoProxyKeepsTheUsers(t *testing.T) {
	c, _ := readyCLI(t)
	var warned strings.Builder
	c.stderr = &warned
	c.environ = append(c.environ, "NO_PROXY=b.example,github.com", "no_proxy=a.example b.example", "SALLYPORT_STORE_BACKEND=vault", "SALLYPORT_VAULT_ADDRESS=https://vault.example")
	vars, err := c.runnerVariables("")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := get(t, vars, "no_proxy"), "b.example,github.com,a.example,127.0.0.1:3129,vault.example:443"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if !strings.Contains(warned.String(), "github.com of your NO_PROXY covers api.github.com of provider github") {
		t.Errorf("warned: %s", warned.String())
	}
}

func TestNoTokenWithoutAuthentication(t *testing.T) {
	c, _ := readyCLI(t)
	c.environ = append(c.environ, "SALLYPORT_PROXY_AUTH=none")
	vars, err := c.runnerVariables("")
	if err != nil {
		t.Fatal(err)
	}
	if got := get(t, vars, "HTTPS_PROXY"); got != "http://127.0.0.1:3128" {
		t.Errorf("got %s", got)
	}
}

func TestTokenFileOfTheConfiguration(t *testing.T) {
	c, dir := readyCLI(t)
	c.configPath = dir + "/sallyport.toml"
	for path, content := range map[string]string{
		c.configPath:                  "[[caller]]\nname = \"orders\"\ntoken_file = \"" + dir + "/orders\"\n",
		dir + "/orders":               "t0k3n\n",
		dir + "/callers/orders.token": "another\n",
	} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	vars, err := c.runnerVariables("")
	if err != nil {
		t.Fatal(err)
	}
	if got := get(t, vars, "HTTPS_PROXY"); got != "http://orders:t0k3n@127.0.0.1:3128" {
		t.Errorf("got %s", got)
	}
	if err := os.Remove(dir + "/orders"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.runnerVariables(""); err == nil || !strings.Contains(err.Error(), "token_file of caller orders") {
		t.Errorf("a token_file that is gone must be told: %v", err)
	}
}
