package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/sallyport/sallyport/configs"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/vault"
)

// vaultReport is what a check of Vault has found, as far as it came.
type vaultReport struct {
	Status    string           `json:"status"` // ok or error
	Address   string           `json:"address"`
	Namespace string           `json:"namespace"`
	Server    *vault.Health    `json:"server"` // null: no answer
	Auth      vaultAuth        `json:"auth"`
	Token     *vault.TokenInfo `json:"token"` // null: no login, or the policy does not let it be looked up
	Mount     *vaultMount      `json:"mount"` // of our own records; null: there are none
	Paths     []vaultPath      `json:"paths"`
	Fault     *vaultFault      `json:"fault"` // null: none
}

type vaultAuth struct {
	Method string `json:"method"`
	Mount  string `json:"mount"`
}

type vaultMount struct {
	Path      string `json:"path"`
	KVVersion int    `json:"kv_version"` // 0: not told
}

type vaultPath struct {
	vault.Grant
	Missing []string `json:"missing"`
}

type vaultFault struct {
	Step   string     `json:"step"` // server, login, mount or policy
	Code   fault.Code `json:"code"` // empty: none fits
	Cause  string     `json:"cause"`
	Remedy []string   `json:"remedy"`
}

func newVaultReport(cfg *configs.Config) *vaultReport {
	r := &vaultReport{
		Status: "ok", Address: cfg.Vault.Address, Namespace: cfg.Vault.Namespace,
		Auth: vaultAuth{cfg.Vault.Auth.Method, authMount(cfg)}, Paths: []vaultPath{},
	}
	if cfg.Store.Backend == "vault" {
		r.Mount = &vaultMount{Path: cfg.Vault.Mount}
	}
	return r
}

// authMount is where the auth method is mounted.
func authMount(cfg *configs.Config) string {
	a := cfg.Vault.Auth
	if m := strings.Trim(a.Mount, "/"); m != "" {
		return m
	}
	return a.Method
}

// fail puts an error into the report; nil leaves it as it is.
func (r *vaultReport) fail(err error) {
	if err == nil {
		return
	}
	cause, remedy := explained(err)
	r.Status, r.Fault = "error", &vaultFault{Cause: cause, Remedy: append([]string{}, remedy...)}
	var s *stepError
	if errors.As(err, &s) {
		r.Fault.Step, r.Fault.Code = s.step, s.code
	}
}

// print tells what is known, and nothing of what is not.
func (r *vaultReport) print(c *cli) error {
	t := c.table()
	t.row("address", r.Address)
	if r.Namespace != "" {
		t.row("namespace", r.Namespace)
	}
	if r.Server != nil {
		t.row("vault", serverText(r.Server))
	}
	t.row("login", r.loginText())
	if r.Mount != nil && r.Mount.KVVersion > 0 {
		t.row("mount", fmt.Sprintf("%s, KV version %d", r.Mount.Path, r.Mount.KVVersion))
	} else if r.Mount != nil && len(r.Paths) > 0 {
		t.row("mount", r.Mount.Path+", unknown")
	}
	if err := t.flush(); err != nil || len(r.Paths) == 0 {
		return err
	}
	fmt.Fprintln(c.stdout)
	t.row("PATH", "NEEDED", "MISSING")
	for _, p := range r.Paths {
		t.row(p.Path, strings.Join(p.Capabilities, ", "), orDash(strings.Join(p.Missing, ", ")))
	}
	return t.flush()
}

func serverText(h *vault.Health) string {
	state := "unsealed"
	switch {
	case !h.Initialized:
		state = "not initialised"
	case h.Sealed:
		state = "sealed"
	case h.Standby:
		state = "unsealed, a standby"
	}
	return h.Version + ", " + state
}

func (r *vaultReport) loginText() string {
	s := r.Auth.Method
	if s != "token" && s != "agent" {
		s += " at auth/" + r.Auth.Mount
	}
	if r.Token == nil {
		return s
	}
	s += "; policies " + strings.Join(r.Token.Policies, ", ") + "; "
	if r.Token.Expiry.IsZero() {
		return s + "never expires"
	}
	s += "expires in " + time.Until(r.Token.Expiry).Round(time.Second).String()
	if r.Token.Renewable {
		return s + ", renewable"
	}
	return s + ", not renewable"
}
