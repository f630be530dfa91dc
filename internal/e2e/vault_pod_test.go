package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/testserver"
)

// podUID runs the daemon of a pod; the worker beside it is somebody else.
const podUID = 65532

// readOnlyRoot runs its arguments behind a uid as that user, without capabilities, in a mount namespace whose root is
// read-only.
const readOnlyRoot = `mount --make-rprivate / && mount -o remount,ro,bind / || exit 99
uid=$1; shift
exec setpriv --reuid "$uid" --regid "$uid" --clear-groups --no-new-privs --inh-caps=-all --bounding-set=-all -- "$@"`

// pod is a sidecar without a disk: its state and what it exports lie in memory, and its root is read-only.
type pod struct {
	*vaultWorld
	dir, export, metrics, token string
}

// newPod lays out what a pod would mount: a configuration, the files of AppRole, and two empty folders in memory.
func newPod(t *testing.T) *pod {
	t.Helper()
	p := &pod{vaultWorld: prepareVaultWorld(t), dir: inMemory(t), metrics: testserver.FreeAddr(t), token: "token-of-the-flow-0123456789abcdef"}
	v := testserver.StartVault(t, testserver.VaultOptions{})
	p.fill(t, v)
	role, secret := v.AppRole(t, "sallyport", map[string]any{"token_policies": "sallyport", "token_ttl": "1m"})
	p.export = filepath.Join(p.dir, "export")
	for _, mount := range []string{"state", "export"} {
		if err := os.Mkdir(filepath.Join(p.dir, mount), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(filepath.Join(p.dir, mount), 0o777); err != nil { // as an emptyDir is
			t.Fatal(err)
		}
	}
	sum := sha256.Sum256([]byte(p.token))
	p.mount(t, "role", []byte(role), 0o444)
	p.mount(t, "secret", []byte(secret), 0o400)
	p.mount(t, "api-ca.pem", p.ca.PEM, 0o444)
	config := strings.ReplaceAll(p.frame(open+`
[proxy.ca]
export_dir = "{dir}/export"
[admin]
metrics_listen = "`+p.metrics+`"
[[caller]]
name = "flow"
token_sha256 = "`+hex.EncodeToString(sum[:])+`"
[store]
backend = "vault"
[vault]
address = "`+v.Address+`"
[vault.auth]
method = "approle"
role_id_file = "{dir}/role"
secret_id_file = "{dir}/secret"
`), "{dir}", p.dir)
	p.mount(t, "sallyport.toml", []byte(strings.ReplaceAll(config, p.ca.File, p.dir+"/api-ca.pem")), 0o444)
	p.daemon(t)
	return p
}

// inMemory gives a folder that everybody may enter, on a file system that stays writable where the root is not.
func inMemory(t *testing.T) string {
	t.Helper()
	base := "/dev/shm"
	if _, err := os.Stat(base); err != nil {
		base = ""
	}
	dir, err := os.MkdirTemp(base, "sp")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// mount writes a file that the daemon may read and not change.
func (p *pod) mount(t *testing.T, name string, data []byte, mode fs.FileMode) {
	t.Helper()
	path := filepath.Join(p.dir, name)
	if err := os.WriteFile(path, data, mode); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		if err := os.Chown(path, podUID, podUID); err != nil {
			t.Fatal(err)
		}
	}
}

// daemon prepares the daemon as an unprivileged user with a read-only root, as far as this machine allows.
func (p *pod) daemon(t *testing.T) {
	t.Helper()
	bin := filepath.Join(p.dir, "sallyport")
	copyFile(t, testserver.Binary(t), bin)
	p.Daemon = &testserver.Daemon{
		Bin: bin, Config: filepath.Join(p.dir, "sallyport.toml"), State: filepath.Join(p.dir, "state", "sallyport"),
		Env: []string{"PATH=" + os.Getenv("PATH"), "SALLYPORT_PROXY_LISTEN=127.0.0.1:0", "SALLYPORT_ADMIN_LISTEN=127.0.0.1:0", "GORACE=halt_on_error=1"},
	}
	uid := fmt.Sprint(podUID)
	inside := []string{"unshare", "--mount", "sh", "-c", readOnlyRoot, "sh", uid}
	if os.Geteuid() != 0 {
		t.Log("not root: the daemon runs as this user, with the root as it is")
		return
	}
	out, err := exec.Command(inside[0], append(inside[1:], "touch", "/etc/of-the-test")...).CombinedOutput()
	if strings.Contains(string(out), "Read-only file system") {
		p.Wrap = inside
		return
	}
	t.Logf("no mount namespace here (%v %s): the daemon runs as an unprivileged user, with the root as it is", err, out)
	p.Wrap = []string{"setpriv", "--reuid", uid, "--regid", uid, "--clear-groups", "--no-new-privs", "--"}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, data, 0o755); err != nil { //nolint:gosec // it is run by another user
		t.Fatal(err)
	}
}
