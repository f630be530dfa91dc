package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/configs"
	"github.com/sallyport/sallyport/internal/file"
)

// What is opened is what was asked for: all of IPv4 is not all of IPv6.
func TestListenFamily(t *testing.T) {
	for address, want := range map[string]string{"0.0.0.0:0": "0.0.0.0:", "127.0.0.1:0": "127.0.0.1:"} {
		ln, err := listen("proxy.listen", address)
		if err != nil {
			t.Fatal(err)
		}
		if got := shown(ln); !strings.HasPrefix(got, want) {
			t.Errorf("%s listens on %s", address, got)
		}
		if err := ln.Close(); err != nil {
			t.Error(err)
		}
	}
}

// LK-15: a socket is nobody else's at no moment, whatever the umask; what is in
// its place is looked at before it goes.
func TestSocketsArePrivate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	if err := file.MakeBase(dir); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != file.PrivateDir {
		t.Errorf("LK-15: the folder is %v, %v", info.Mode(), err)
	}
	for name, mode := range map[string]os.FileMode{"admin.sock": file.Private, "proxy.sock": 0o660} {
		path, done, looks := filepath.Join(dir, name), make(chan struct{}), make(chan int)
		go func() {
			n := 0
			for ; ; n++ {
				if info, err := os.Lstat(path); err == nil && info.Mode().Perm()&^mode != 0 {
					t.Errorf("LK-15: %s was open: %v", name, info.Mode())
				}
				select {
				case <-done:
					looks <- n
					return
				default:
				}
			}
		}()
		for range 200 {
			ln, err := listenUnix(path, mode)
			if err != nil {
				t.Fatal(err)
			}
			if info, err := os.Lstat(path); err != nil || info.Mode().Perm() != mode {
				t.Errorf("LK-15: %s is %v, %v; want %v", name, info.Mode(), err, mode)
			}
			_ = ln.Close()
		}
		close(done)
		if n := <-looks; n < 20 {
			t.Errorf("LK-15: only %d looks at %s", n, name)
		}
	}
	for what, make := range map[string]func(path string) error{
		"a file":            func(path string) error { return os.WriteFile(path, nil, 0o600) },
		"a link":            func(path string) error { return os.Symlink("elsewhere", path) },
		"a folder":          func(path string) error { return os.Mkdir(path, 0o700) },
		"somebody's socket": func(path string) error { _, err := listenUnix(path, 0o600); return err },
	} {
		path := filepath.Join(dir, what)
		if err := make(path); err != nil {
			t.Fatal(err)
		}
		if ln, err := listenUnix(path, file.Private); err == nil {
			_ = ln.Close()
			t.Errorf("LK-15: %s is replaced", what)
		}
		if _, err := os.Lstat(path); err != nil {
			t.Errorf("LK-15: %s is gone: %v", what, err)
		}
	}
}

// LK-12: Vault's token is taken out of the environment, with all that Vault's own
// client would read there.
func TestVaultVariablesGo(t *testing.T) {
	for name, value := range map[string]string{"VAULT_TOKEN": "hvs.canary", "VAULT_NAMESPACE": "x", "VAULT_PROXY_ADDR": "http://evil.example"} {
		t.Setenv(name, value)
	}
	c := newCLI(nil, nil, nil)
	cfg, err := configs.Load(configs.Options{Environ: []string{"SALLYPORT_STORE_BACKEND=vault", "SALLYPORT_VAULT_ADDRESS=https://vault.example"}, Types: credentialType})
	if err != nil {
		t.Fatal(err)
	}
	token, err := vaultToken(cfg, c.getenv)
	if err != nil || reveal(token) != "hvs.canary" {
		t.Errorf("LK-12: the token was not read: %v", err)
	}
	for _, kv := range os.Environ() {
		if strings.HasPrefix(kv, "VAULT_") {
			t.Errorf("LK-12: %.12s is still in the environment", kv)
		}
	}
}
