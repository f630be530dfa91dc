package testserver

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Binary builds the program once: with the race detector when the test has it,
// else static, as it is shipped.
func Binary(tb testing.TB) string {
	tb.Helper()
	path, err := binary()
	if err != nil {
		tb.Fatal(err)
	}
	return path
}

// StaticBinary builds the program as it is shipped.
func StaticBinary(tb testing.TB) string {
	tb.Helper()
	path, err := build("sallyport", []string{"CGO_ENABLED=0"}, "-trimpath")
	if err != nil {
		tb.Fatal(err)
	}
	return path
}

// build leaves the program in the cache folder. Several processes may
// build at once: each puts a whole file in its place.
func build(name string, env []string, flags ...string) (string, error) {
	dir, err := cacheDir()
	if err != nil {
		return "", err
	}
	temp, err := os.MkdirTemp(dir, "build-*")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(temp) }()
	out := filepath.Join(temp, name)
	cmd := exec.Command("go", append(append([]string{"build"}, flags...), "-o", out, "github.com/sallyport/sallyport/cmd/sallyport")...)
	cmd.Env = append(os.Environ(), env...)
	if text, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, text)
	}
	path := filepath.Join(dir, name)
	return path, os.Rename(out, path)
}
