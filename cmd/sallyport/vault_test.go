package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/sallyport/sallyport/internal/testserver"
)

// TestVaultScripts are conversations with the program beside a real Vault: $VAULT
// is its address, $ROOT its root token.
func TestVaultScripts(t *testing.T) {
	server := testserver.StartVault(t, testserver.VaultOptions{})
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "vault"),
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Vars = append(env.Vars, "VAULT="+server.Address, "ROOT="+server.Token)
			return setupScript(env)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"expand": expandFile,
			"exits":  exits,
			"vault": func(ts *testscript.TestScript, _ bool, args []string) {
				ts.Check(askVault(t, ts, server, args))
			},
			"approle": func(ts *testscript.TestScript, _ bool, args []string) {
				role, id := server.AppRole(t, args[0], map[string]any{"token_policies": args[0], "token_no_default_policy": true})
				ts.Check(os.WriteFile(ts.MkAbs("role-id"), []byte(role), 0o600))
				ts.Check(os.WriteFile(ts.MkAbs("secret-id"), []byte(id), 0o600))
			},
			"wrap": func(ts *testscript.TestScript, _ bool, args []string) {
				token := server.Wrap(t, http.MethodPost, "auth/approle/role/"+args[0]+"/secret-id", "60s")
				ts.Check(os.WriteFile(ts.MkAbs("secret-id"), []byte(token), 0o600))
			},
			"policy": func(ts *testscript.TestScript, _ bool, args []string) {
				server.Policy(t, args[0], ts.ReadFile(args[1]))
			},
		},
	})
}

// askVault makes a call with the root token: vault METHOD PATH [JSON].
func askVault(t *testing.T, ts *testscript.TestScript, server *testserver.Vault, args []string) error {
	var body any
	if len(args) > 2 {
		if err := json.Unmarshal([]byte(args[2]), &body); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintln(ts.Stdout(), server.Do(t, args[0], args[1], body))
	return err
}

// Every cause has its own words and its own remedy.
func TestVaultCheckFaults(t *testing.T) {
	ca := testserver.NewCA(t)
	_, leaf := ca.Leaf(t, "vault.internal")
	server := testserver.StartVault(t, testserver.VaultOptions{Cert: leaf, Key: leaf, CA: ca.File, ServerName: "vault.internal"})
	check := func(token string, env ...string) (string, vaultReport) {
		t.Helper()
		return vaultCheck(t, append([]string{"SALLYPORT_VAULT_ADDRESS=" + server.Address, "VAULT_TOKEN=" + token}, env...)...)
	}
	trusted := []string{"SALLYPORT_VAULT_CA_FILE=" + ca.File, "SALLYPORT_VAULT_TLS_SERVER_NAME=vault.internal"}
	if text, r := check(server.Token, trusted...); r.Status != "ok" || r.Fault != nil || r.Mount.KVVersion != 2 || !strings.Contains(text, "unsealed") {
		t.Errorf("all is well: %+v\n%s", r, text)
	}
	with := func(env ...string) []string { return append(trusted[:2:2], env...) }
	for _, c := range []struct {
		name, token   string
		env           []string
		step, code    string
		cause, remedy string
	}{
		{"unknown CA", server.Token, trusted[1:], "server", "vault_unreachable", "certificate signed by unknown authority", "ca_file"},
		{"another name", server.Token, trusted[:1], "server", "vault_unreachable", "127.0.0.1", "tls_server_name to one: vault.internal"},
		{"no such CA file", server.Token, []string{"SALLYPORT_VAULT_CA_FILE=/nonexistent/ca.pem"}, "server", "vault_unreachable", "open /nonexistent/ca.pem", ""},
		{"http to TLS", server.Token, []string{"SALLYPORT_VAULT_ADDRESS=" + strings.Replace(server.Address, "https", "http", 1)}, "server", "", "status 400", "use https://"},
		{"FM-01: nobody listens", server.Token, []string{"SALLYPORT_VAULT_ADDRESS=http://127.0.0.1:1"}, "server", "vault_unreachable", "connection refused", "nothing listens there"},
		{"FM-06: a token that is none", "hvs.canary", trusted, "login", "vault_denied", "403", "make a new one"},
		{"no token", "", trusted, "login", "vault_denied", "no token", "VAULT_TOKEN"},
		{"no such mount", server.Token, with("SALLYPORT_VAULT_MOUNT=nope"), "mount", "vault_denied", "nothing is mounted at nope", "vault secrets enable -path=nope"},
		{"no KV engine", server.Token, with("SALLYPORT_VAULT_MOUNT=sys"), "mount", "internal", "no KV secrets engine", "set [vault] mount"},
		{
			"no such auth method", "", with("SALLYPORT_VAULT_AUTH_METHOD=approle", "SALLYPORT_VAULT_AUTH_ROLE_ID_FILE="+ca.File), "login", "vault_denied",
			"auth/approle/login", "vault auth enable -path=approle approle",
		},
		{
			"no such file", "", with("SALLYPORT_VAULT_AUTH_METHOD=approle", "SALLYPORT_VAULT_AUTH_ROLE_ID_FILE=/nonexistent/role"), "login", "vault_denied",
			"open /nonexistent/role", "",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			text, r := check(c.token, c.env...)
			if r.Fault == nil || r.Fault.Step != c.step || string(r.Fault.Code) != c.code && c.code != "" ||
				!strings.Contains(r.Fault.Cause, c.cause) || !strings.Contains(strings.Join(r.Fault.Remedy, "\n"), c.remedy) {
				t.Errorf("fault %+v, want %s, %s, %q, %q", r.Fault, c.step, c.code, c.cause, c.remedy)
			}
			if !strings.Contains(text, c.cause) || !strings.Contains(text, "\ntry: ") || strings.Contains(text, "canary") {
				t.Errorf("the text does not say so, or says too much:\n%s", text)
			}
		})
	}
	server.Do(t, http.MethodPut, "sys/seal", nil)
	if text, r := check(server.Token, trusted...); r.Fault == nil || r.Fault.Code != "vault_sealed" || !r.Server.Sealed || !strings.Contains(text, "Vault is sealed\ntry: vault operator unseal") {
		t.Errorf("FM-02: %+v\n%s", r.Fault, text)
	}
}

// vaultCheck runs vault check for a person and for a program.
func vaultCheck(t *testing.T, env ...string) (text string, r vaultReport) {
	t.Helper()
	run := func(args ...string) (stdout, stderr string, code int) {
		var out, errs bytes.Buffer
		c := newCLI(strings.NewReader(""), &out, &errs)
		c.environ = append([]string{"HOME=" + t.TempDir(), "SALLYPORT_STORE_BACKEND=vault"}, env...)
		root := newRootCommand(c)
		root.SetArgs(append([]string{"vault", "check"}, args...))
		code = report(&errs, root.ExecuteContext(t.Context()))
		return out.String(), errs.String(), code
	}
	stdout, stderr, code := run("--json")
	if err := json.Unmarshal([]byte(stdout), &r); err != nil {
		t.Fatalf("%v: %s%s", err, stdout, stderr)
	}
	if (code == 0) != (r.Status == "ok") {
		t.Errorf("exit code %d with status %s", code, r.Status)
	}
	stdout, stderr, again := run()
	if again != code {
		t.Errorf("exit code %d with --json, %d without", code, again)
	}
	return stdout + stderr, r
}
