package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/configs"
	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/file"
	"github.com/sallyport/sallyport/internal/secret"
)

// runnerVariables gives the variables for a program of that caller. It writes
// the files that they name.
func (c *cli) runnerVariables(caller string) ([]variable, error) {
	if c.adminURL != "" {
		return nil, usagef("run and env are for the daemon on this machine: --admin does not go with them")
	}
	cfg, err := c.loadConfig()
	if err != nil {
		return nil, err
	}
	dir, err := c.stateDir()
	if err != nil {
		return nil, err
	}
	at, err := c.addresses(dir)
	if err != nil {
		return nil, err
	}
	r := runner{proxy: at.Proxy, javaOptions: c.getenv("JAVA_TOOL_OPTIONS")}
	if r.caller, err = callerOf(cfg, caller); err != nil {
		return nil, err
	}
	r.javaProxy = boundListener(cfg, r.caller)
	if cfg.Proxy.Auth == "none" {
		r.caller = ""
	} else if r.token, err = c.callerToken(cfg, dir, r.caller); err != nil {
		return nil, err
	}
	r.noProxy = c.noProxy(cfg, at)
	if err := c.trustFiles(cfg, dir, &r); err != nil {
		return nil, err
	}
	return r.variables(), nil
}

// listening are the daemon's addresses, as it writes them when it is ready.
type listening struct {
	Proxy string `json:"proxy"`
	Admin string `json:"admin"`
}

func addressesPath(stateDir string) string { return filepath.Join(stateDir, "addresses.json") }

// addresses of the running daemon, as a client on this machine reaches them.
func (c *cli) addresses(dir string) (listening, error) {
	var at listening
	up, err := running(dir)
	if err != nil {
		return at, err
	}
	if !up {
		return at, c.notRunning()
	}
	b, err := os.ReadFile(addressesPath(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return at, try(errors.New("the daemon is not ready yet"), "sallyport healthcheck")
	}
	if err == nil {
		err = json.Unmarshal(b, &at)
	}
	if err != nil {
		return at, fmt.Errorf("addresses.json: %w", err)
	}
	if strings.HasPrefix(at.Proxy, "unix:") {
		return at, try(fmt.Errorf("the proxy listens on a Unix socket (%s), which no proxy variable can name", at.Proxy),
			`set [proxy] listen = "127.0.0.1:3128"`)
	}
	if at.Proxy, err = reachable(at.Proxy); err != nil {
		return at, fmt.Errorf("addresses.json: proxy: %w", err)
	}
	if at.Admin, err = reachable(at.Admin); err != nil {
		at.Admin = "" // a socket needs no entry in NO_PROXY
	}
	return at, nil
}

// reachable turns the address of a listener on every interface into one to dial.
func reachable(addr string) (string, error) {
	host, port, err := net.SplitHostPort(addr)
	if err == nil && strings.HasPrefix(addr, "unix:") {
		err = errors.New("is a Unix socket")
	}
	if err != nil {
		return "", err
	}
	switch host {
	case "", "0.0.0.0":
		host = "127.0.0.1"
	case "::":
		host = "::1"
	}
	return net.JoinHostPort(host, port), nil
}

// callerOf gives the caller to be: the one that is asked for, else the only one
// of the configuration, else the one named default.
func callerOf(cfg *configs.Config, asked string) (string, error) {
	if cfg.Proxy.Auth == "none" {
		if anon := cfg.Proxy.AnonymousCaller; asked != "" && asked != anon {
			return "", fmt.Errorf("with [proxy] auth = \"none\" every connection is the caller %q; --caller %s cannot be", anon, asked)
		}
		return cfg.Proxy.AnonymousCaller, nil
	}
	if asked != "" {
		if !credential.ValidPart(asked) {
			return "", usagef("--caller: %q is not a caller's name", asked)
		}
		return asked, nil
	}
	var names []string
	for _, who := range cfg.Callers {
		names = append(names, who.Name)
	}
	switch {
	case len(names) == 0 || slices.Contains(names, "default"):
		return "default", nil
	case len(names) == 1:
		return names[0], nil
	}
	return "", try(usagef("the configuration has several callers and none is named default"),
		"--caller with one of "+strings.Join(names, ", "))
}

// boundListener gives the TCP listener that is bound to a caller and asks for no
// token; empty: there is none whose port is known.
func boundListener(cfg *configs.Config, caller string) string {
	for _, l := range cfg.Proxy.Listeners {
		addr, err := reachable(l.Listen)
		if l.Caller == caller && err == nil && !strings.HasSuffix(addr, ":0") {
			return addr
		}
	}
	return ""
}

// callerToken finds a caller's token: in its token_file, else in the state
// directory, else in the environment.
func (c *cli) callerToken(cfg *configs.Config, dir, caller string) (secret.Value, error) {
	i := slices.IndexFunc(cfg.Callers, func(who configs.Caller) bool { return who.Name == caller })
	if i >= 0 && cfg.Callers[i].TokenFile != "" {
		path := cfg.Callers[i].TokenFile
		b, _, err := file.ReadOperator(path)
		if err != nil {
			return secret.Value{}, fmt.Errorf("token_file of caller %s: %w", caller, err)
		}
		return tokenOf(path, string(b))
	}
	path := filepath.Join(dir, "callers", caller+".token")
	b, err := file.ReadPrivate(path)
	if err == nil {
		return tokenOf(path, string(b))
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return secret.Value{}, err
	}
	if v := c.getenv("SALLYPORT_CALLER_TOKEN"); v != "" {
		return tokenOf("$SALLYPORT_CALLER_TOKEN", v)
	}
	return secret.Value{}, try(
		fmt.Errorf("no token for caller %s: it has no token_file in the configuration, there is no %s, and $SALLYPORT_CALLER_TOKEN is not set", caller, path),
		"sallyport caller add "+caller, "give another with --caller; sallyport caller list has them")
}

// tokenOf refuses what could not stand in a proxy URL.
func tokenOf(from, s string) (secret.Value, error) {
	s = strings.TrimSpace(s)
	odd := func(r rune) bool {
		return (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '_' && r != '-'
	}
	if s == "" || strings.ContainsFunc(s, odd) {
		return secret.Value{}, fmt.Errorf("%s: a caller's token is of A-Z a-z 0-9 _ - only", from)
	}
	return secret.New(s), nil
}

// noProxy gives the user's entries, the admin API and Vault: those two must not
// go through the proxy, and never by a bare host, which would let a flow past it.
func (c *cli) noProxy(cfg *configs.Config, at listening) string {
	user := unique(noProxyEntries(c.getenv("NO_PROXY") + "," + c.getenv("no_proxy")))
	for _, entry := range user {
		if hosts := covered(entry, cfg.Providers); len(hosts) > 0 {
			c.warn("%s of your NO_PROXY covers %s: requests to it go past the proxy, without a credential", entry, some(hosts))
		}
	}
	return strings.Join(unique(append(user, at.Admin, authority(cfg.Vault.Address))), ",")
}
