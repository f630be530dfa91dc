package testserver

import (
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"strings"
)

// goInstall gives the path of the program name, built from the main package pkg of a Go module if it is not in the cache.
func goInstall(name, pkg, version string) (string, error) {
	cache, err := cacheDir()
	if err != nil {
		return "", err
	}
	bin := filepath.Join(cache, name+"-"+version+"-"+strings.ReplaceAll(runtime.Version(), " ", "_"))
	return bin, once(bin, func() error {
		made := bin + ".new"
		cmd := exec.Command("go", "install", "-trimpath", "-ldflags=-s -w", pkg+"@v"+version)
		cmd.Dir = cache // a folder of no module
		cmd.Env = append(os.Environ(), "GOBIN="+made, "GOFLAGS=-mod=mod", "GOWORK=off")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("go install: %w\n%s", err, out)
		}
		if err := os.Rename(filepath.Join(made, path.Base(pkg)), bin); err != nil {
			return err
		}
		return os.Remove(made)
	})
}
