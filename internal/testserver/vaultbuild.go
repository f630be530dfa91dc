package testserver

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
)

// cacheDir is where built and installed servers are kept from one test run to the next.
func cacheDir() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir = filepath.Join(dir, "sallyport-test")
	return dir, os.MkdirAll(dir, 0o700)
}

// moduleRoot is the folder of the product's module; tests run in one of its packages.
func moduleRoot() (string, error) {
	out, err := exec.Command("go", "env", "GOMOD").Output()
	mod := strings.TrimSpace(string(out))
	if err != nil || !filepath.IsAbs(mod) {
		return "", fmt.Errorf("go env GOMOD gives no module: %q (%w)", mod, err)
	}
	return filepath.Dir(mod), nil
}

// once runs make unless path exists. Of several processes one does the work and the others wait for it.
// make must produce path at its end, whole or not at all.
func once(path string, make func() error) error {
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	lock, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = lock.Close() }()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil { // closing unlocks
		return err
	}
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	return make()
}

// buildVault gives the path of the Vault server of internal/testvault, built if it is not in the cache.
// A first build downloads some 200 MB of modules and takes minutes.
func buildVault() (string, error) { return buildNested("testvault", "testvault", compileVault) }

// buildNested gives the path of what compile makes of the nested module internal/FOLDER, under its name in the cache, made
// if it is not there for this content and this compiler.
func buildNested(folder, name string, compile func(src, made string) error) (string, error) {
	cache, err := cacheDir()
	if err != nil {
		return "", err
	}
	top, err := moduleRoot()
	if err != nil {
		return "", err
	}
	src := filepath.Join(top, "internal", folder)
	sum, err := hashFolder(src)
	if err != nil {
		return "", err
	}
	made := filepath.Join(cache, name+"-"+sum)
	return made, once(made, func() error { return compile(src, made) })
}

func compileVault(src, bin string) error {
	fmt.Fprintln(os.Stderr, "testserver: building the real Vault server; the first time this takes some minutes")
	tmp := bin + ".new"
	cmd := exec.Command("go", "build", "-ldflags=-s -w", "-o", tmp, ".")
	cmd.Dir = src
	cmd.Env = append(os.Environ(), "GOFLAGS=-mod=readonly -trimpath", "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build in %s: %w\n%s", src, err, out)
	}
	return os.Rename(tmp, bin)
}

// hashFolder names the content of the folder dir and the compiler.
func hashFolder(dir string) (string, error) {
	h := sha256.New()
	fmt.Fprintln(h, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		fmt.Fprintln(h, strings.TrimPrefix(path, dir))
		_, err = io.Copy(h, f)
		return errors.Join(err, f.Close())
	})
	return fmt.Sprintf("%x", h.Sum(nil)[:8]), err
}
