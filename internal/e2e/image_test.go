package e2e

import (
	"debug/elf"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/testserver"
)

// The shipped binary needs nothing but itself: it runs in an empty root, as
// nobody in particular, as in the container image.
func TestStaticBinary(t *testing.T) {
	bin := testserver.StaticBinary(t)
	f, err := elf.Open(bin)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if libs, _ := f.ImportedLibraries(); len(libs) > 0 {
		t.Errorf("the binary needs %v", libs)
	}
	if os.Geteuid() != 0 {
		t.Log("not root: the binary is not run in a root of its own")
		return
	}
	root := imageRoot(t, bin)
	inside := func(args ...string) *exec.Cmd {
		cmd := exec.Command("/sallyport", args...)
		cmd.Dir = "/"
		cmd.Env = []string{"SALLYPORT_STATE_DIR=/var/lib/sallyport", "SALLYPORT_PROXY_LISTEN=127.0.0.1:0", "SALLYPORT_ADMIN_LISTEN=127.0.0.1:0"}
		cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root, Credential: &syscall.Credential{Uid: 65532, Gid: 65532}}
		return cmd
	}
	p := testserver.Start(t, inside("serve"))
	for end := time.Now().Add(patience); time.Now().Before(end); {
		out, err := inside("healthcheck").CombinedOutput()
		if err == nil {
			p.Signal(t, syscall.SIGTERM)
			if code := p.Wait(t, time.Minute); code != 0 {
				t.Errorf("exit code %d:\n%s", code, p.Log())
			}
			return
		}
		select {
		case <-p.Exited:
			t.Fatalf("serve ended in an empty root:\n%s\n%s", p.Log(), out)
		case <-time.After(50 * time.Millisecond):
		}
	}
	t.Errorf("healthcheck does not succeed in an empty root:\n%s", p.Log())
}

// imageRoot lays out what the Dockerfile copies into the empty image.
func imageRoot(t *testing.T, bin string) string {
	t.Helper()
	root, err := os.MkdirTemp("", "sp")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(root) })
	state := filepath.Join(root, "var/lib/sallyport")
	for _, err := range []error{os.Chmod(root, 0o755), os.MkdirAll(state, 0o755), os.Chmod(state, 0o700), os.Chown(state, 65532, 65532)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	in, err := os.Open(bin)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = in.Close() }()
	out, err := os.OpenFile(filepath.Join(root, "sallyport"), os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(out, in); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	return root
}
