package e2e

import (
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

// demo --stay goes on until it is interrupted, and then leaves nothing behind either.
func TestDemoStay(t *testing.T) {
	temp := t.TempDir()
	cmd := exec.Command(testserver.Binary(t), "demo", "--stay")
	cmd.Env = []string{"TMPDIR=" + temp, "PATH=" + os.Getenv("PATH")}
	p := testserver.Start(t, cmd)
	for range 600 {
		if strings.Contains(p.Log(), "Ctrl-C") {
			p.Signal(t, syscall.SIGINT)
			if code := p.Wait(t, 15*time.Second); code != 0 {
				t.Errorf("exit code %d:\n%s", code, p.Log())
			}
			empty(t, temp)
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
