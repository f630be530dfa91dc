package e2e

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/testserver"
)

// The demo shows what it claims, and leaves nothing behind.
func TestDemo(t *testing.T) {
	t.Parallel()
	temp := t.TempDir()
	cmd := exec.Command(testserver.Binary(t), "demo")
	cmd.Env = []string{"TMPDIR=" + temp, "PATH=" + os.Getenv("PATH"), "VAULT_ADDR=http://127.0.0.1:1", "SALLYPORT_STORE_BACKEND=vault"}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("demo: %v\n%s", err, out)
	}
	for _, want := range []string{"refreshed", "Retry-After: ", `details="credentials_rejected"`, "to do: ", "sallyport_requests_total{", "showed what they claim"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("the demo did not show %q:\n%s", want, out)
		}
	}
	empty(t, temp)
}

// demoPolicy lets a token reach nothing but the demo's own folder.
const demoPolicy = `
path "secret/data/sallyport-demo-*" { capabilities = ["create", "read", "update"] }
path "secret/metadata/sallyport-demo-*" { capabilities = ["read", "list", "delete"] }
path "kv1/sallyport-demo-*" { capabilities = ["create", "read", "update", "list", "delete"] }
`

// On a real Vault the demo shows the same, on both versions of the KV engine, and takes away all that it has put there.
func TestDemoOnVault(t *testing.T) {
	t.Parallel()
	v, env := demoVault(t)
	for _, mount := range []string{"secret", "kv1"} {
		t.Run(mount, func(t *testing.T) {
			temp := t.TempDir()
			cmd := exec.Command(testserver.Binary(t), "demo", "--vault", v.Address, "--vault-mount", mount)
			cmd.Env = append(env, "TMPDIR="+temp)
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("demo --vault: %v\n%s", err, out)
			}
			for _, want := range []string{"in Vault under " + mount + "/sallyport-demo-", "4 records in Vault", "All 11 steps showed what they claim"} {
				if !strings.Contains(string(out), want) {
					t.Errorf("the demo did not show %q:\n%s", want, out)
				}
			}
			empty(t, temp)
			emptyVault(t, v)
		})
	}
}

// demoVault gives a Vault that holds one record of others, and an environment with a token for the demo.
func demoVault(t *testing.T) (v *testserver.Vault, env []string) {
	t.Helper()
	v = testserver.StartVault(t, testserver.VaultOptions{})
	v.Policy(t, "demo", demoPolicy)
	v.Do(t, http.MethodPost, "sys/mounts/kv1", map[string]any{"type": "kv", "options": map[string]any{"version": "1"}})
	v.Do(t, http.MethodPost, "secret/data/other", map[string]any{"data": map[string]any{"a": "b"}})
	v.Do(t, http.MethodPost, "kv1/other", map[string]any{"a": "b"})
	token := v.NewToken(t, map[string]any{"policies": []string{"demo"}, "ttl": "10m"})
	return v, []string{"PATH=" + os.Getenv("PATH"), "VAULT_TOKEN=" + token, "VAULT_ADDR=http://127.0.0.1:1", "SALLYPORT_STORE_BACKEND=file"}
}

func emptyVault(t *testing.T, v *testserver.Vault) {
	t.Helper()
	for _, folder := range []string{"secret/metadata", "kv1"} {
		data, _ := v.Do(t, http.MethodGet, folder+"/?list=true", nil)["data"].(map[string]any)
		if keys := fmt.Sprint(data["keys"]); keys != "[other]" {
			t.Errorf("%s holds %s after the demo, want what was there before", folder, keys)
		}
	}
}

// The demo says what it lacks before it begins.
func TestDemoWithoutVault(t *testing.T) {
	v, env := demoVault(t)
	v.Do(t, http.MethodPost, "sys/mounts/transit", map[string]any{"type": "transit"})
	weak := v.NewToken(t, map[string]any{"policies": []string{"default"}})
	for name, c := range map[string]struct {
		args, env []string
		want      string
	}{
		"no token":         {[]string{"--vault", "http://127.0.0.1:1"}, nil, "$VAULT_TOKEN"},
		"nothing is there": {[]string{"--vault", "http://127.0.0.1:1"}, []string{"VAULT_TOKEN=" + canary}, "vault_unreachable"},
		"no address":       {[]string{"--vault", "vault.internal"}, []string{"VAULT_TOKEN=" + canary}, "vault.address"},
		"a wrong token":    {[]string{"--vault", v.Address}, []string{"VAULT_TOKEN=" + canary}, "vault_denied"},
		"a weak token":     {[]string{"--vault", v.Address}, []string{"VAULT_TOKEN=" + weak}, "vault_denied"},
		"no such mount":    {[]string{"--vault", v.Address, "--vault-mount", "absent"}, env, "vault_denied"},
		"another engine":   {[]string{"--vault", v.Address, "--vault-mount", "transit"}, []string{"VAULT_TOKEN=" + v.Token}, "no KV secrets engine"},
		"skip verify":      {[]string{"--vault", "https://127.0.0.1:1"}, []string{"VAULT_TOKEN=" + canary, "VAULT_SKIP_VERIFY=1"}, "VAULT_SKIP_VERIFY"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			temp := t.TempDir()
			cmd := exec.Command(testserver.Binary(t), append([]string{"demo"}, c.args...)...)
			cmd.Env = append([]string{"TMPDIR=" + temp, "PATH=" + os.Getenv("PATH")}, c.env...)
			out, err := cmd.CombinedOutput()
			if err == nil || !strings.Contains(string(out), c.want) || strings.Contains(string(out), canary) || strings.Contains(string(out), "1. The daemon") {
				t.Errorf("%v, want %q named, no secret and no step:\n%s", err, c.want, out)
			}
			empty(t, temp)
		})
	}
}

// demo --stay goes on until it is interrupted, and then leaves nothing behind either.
func TestDemoStay(t *testing.T) {
	t.Parallel()
	v, env := demoVault(t)
	for name, args := range map[string][]string{"on sealed files": nil, "on Vault": {"--vault", v.Address}} {
		t.Run(name, func(t *testing.T) {
			temp := t.TempDir()
			cmd := exec.Command(testserver.Binary(t), append([]string{"demo", "--stay"}, args...)...)
			cmd.Env = append(env, "TMPDIR="+temp)
			interrupt(t, testserver.Start(t, cmd))
			empty(t, temp)
		})
	}
	emptyVault(t, v)
}

// interrupt waits until the demo says how to end it, and does that.
func interrupt(t *testing.T, p *testserver.Process) {
	t.Helper()
	for range 600 {
		if strings.Contains(p.Log(), "Ctrl-C") {
			p.Signal(t, syscall.SIGINT)
			if code := p.Wait(t, time.Minute); code != 0 {
				t.Errorf("exit code %d:\n%s", code, p.Log())
			}
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatalf("the demo did not come to its end:\n%s", p.Log())
}

func empty(t *testing.T, dir string) {
	t.Helper()
	if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) > 0 {
		t.Errorf("the demo left %v", left)
	}
}
