package testserver

import (
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
)

// tlsFile is the certificate and key of a database server, in its folder.
const tlsFile = "tls.pem"

// serverDir makes the folder of a database server and tells whom it is to run as: root gives the folder to a user of
// that name. nil: who runs the test.
func serverDir(tb testing.TB, server, name string) (string, *syscall.SysProcAttr) {
	tb.Helper()
	dir, err := os.MkdirTemp("/tmp", "sallyport-"+server+"-") // tb.TempDir is closed to other users
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = os.RemoveAll(dir) })
	if os.Getuid() != 0 {
		return dir, nil
	}
	u, err := user.Lookup(name)
	if err != nil {
		tb.Fatal(err)
	}
	uid, _ := strconv.ParseUint(u.Uid, 10, 32)
	gid, _ := strconv.ParseUint(u.Gid, 10, 32)
	owner := &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	give(tb, dir, owner)
	return dir, owner
}

// serverFile copies a PEM file to where the server reads it.
func serverFile(tb testing.TB, dir string, owner *syscall.SysProcAttr, file string) {
	tb.Helper()
	pem, err := os.ReadFile(file)
	if err != nil {
		tb.Fatal(err)
	}
	path := filepath.Join(dir, tlsFile)
	write(tb, path, pem)
	give(tb, path, owner)
}

func give(tb testing.TB, path string, owner *syscall.SysProcAttr) {
	tb.Helper()
	if owner == nil {
		return
	}
	if err := os.Chown(path, int(owner.Credential.Uid), int(owner.Credential.Gid)); err != nil {
		tb.Fatal(err)
	}
}
