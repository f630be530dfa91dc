package e2e

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/testserver"
)

// The tour of the README works as it is written there. Only its ports are
// replaced, by free ones.
func TestReadme(t *testing.T) {
	testserver.StaticBinary(t) // a program that does not build is told here, and the tour need not wait for it
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, tour, _ := strings.Cut(string(readme), "```sh\n")
	tour, _, ok := strings.Cut(tour, "```")
	if !ok {
		t.Fatal("README.md has no tour")
	}
	api, proxy, admin := testserver.FreeAddr(t), testserver.FreeAddr(t), testserver.FreeAddr(t)
	port := func(addr string) string { return strings.TrimPrefix(addr, "127.0.0.1:") }
	tour = strings.NewReplacer("8000", port(api), "3129", port(admin)).Replace(tour)

	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", "set -m\n"+tour)
	cmd.Dir = filepath.Join("..", "..")
	cmd.Env = append(os.Environ(), "TMPDIR="+t.TempDir(), "SALLYPORT_PROXY_LISTEN="+proxy, "SALLYPORT_ADMIN_LISTEN="+admin)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = 5 * time.Second
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		t.Fatalf("the tour: %v\n%s", err, out.String())
	}
	last := 0
	for _, want := range []string{
		"who are you?", "hello from the API", "intercept", "default/production/hello/default",
		`sallyport_requests_total{caller="default",outcome="ok",provider="hello"} 1`,
	} {
		i := strings.Index(out.String()[last:], want)
		if i < 0 {
			t.Fatalf("the tour does not show %q in its place:\n%s", want, out.String())
		}
		last += i
	}
}
