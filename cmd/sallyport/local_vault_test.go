package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/testserver"
)

// Without a daemon the commands log in to Vault by themselves.
func TestCommandsOnVault(t *testing.T) {
	v := testserver.StartVault(t, testserver.VaultOptions{})
	cmd := vaultCommands(t, v.Address)
	stdout, stderr, code := cmd(v.Token, `{"token":"T0p"}`, "credential", "add", "crm")
	if code != 0 || !strings.Contains(stdout, "stored default/production/crm/default (bearer, version 1)") {
		t.Fatalf("add: code %d, %s%s", code, stdout, stderr)
	}
	stdout, stderr, code = cmd(v.Token, "", "credential", "list")
	if code != 0 || !strings.Contains(stdout, "default/production/crm/default") {
		t.Errorf("list: code %d, %s%s", code, stdout, stderr)
	}
	data, _ := v.Do(t, "GET", "secret/data/sallyport/credentials/default/production/crm/default", nil)["data"].(map[string]any)
	if fields, _ := data["data"].(map[string]any); fields["token"] != "T0p" {
		t.Errorf("the record in Vault has %d fields", len(fields))
	}
	_, stderr, code = cmd("not-a-token", "", "credential", "list")
	if code != 1 || !strings.Contains(stderr, "(vault_denied)") || strings.Contains(stderr, "not-a-token") {
		t.Errorf("a wrong token: code %d, %s", code, stderr)
	}
	if stdout, stderr, code = cmd(v.Token, "", "credential", "rm", "crm"); code != 0 {
		t.Errorf("rm: code %d, %s%s", code, stdout, stderr)
	}
}

func TestCommandsWithoutVault(t *testing.T) {
	cmd := vaultCommands(t, "http://127.0.0.1:1")
	began := time.Now()
	_, stderr, code := cmd("t", "", "credential", "list")
	if code != 1 || !strings.Contains(stderr, "(vault_unreachable)") || !strings.Contains(stderr, "\ntry: ") {
		t.Errorf("code %d, %s", code, stderr)
	}
	if _, stderr, code = cmd("t", "", "check"); code != couldNotCheck {
		t.Errorf("check: code %d, %s", code, stderr)
	}
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("it took %v to say so", took)
	}
}

// vaultCommands gives a way to run commands with a store in Vault and no daemon.
func vaultCommands(t *testing.T, address string) func(token, stdin string, args ...string) (stdout, stderr string, code int) {
	dir := t.TempDir()
	config := filepath.Join(dir, "sallyport.toml")
	content := "[store]\nbackend = \"vault\"\n[vault]\naddress = \"" + address + "\"\n" +
		"[[provider]]\nname = \"crm\"\nhosts = [\"crm.example\"]\nbase_url = \"https://crm.example\"\ntype = \"bearer\"\n"
	if err := os.WriteFile(config, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return func(token, stdin string, args ...string) (string, string, int) {
		t.Setenv("VAULT_TOKEN", token)
		var stdout, stderr bytes.Buffer
		args = append([]string{"--config", config, "--state-dir", filepath.Join(dir, "state")}, args...)
		err := run(t.Context(), args, strings.NewReader(stdin), &stdout, &stderr)
		code := report(&stderr, err)
		return stdout.String(), stderr.String(), code
	}
}
