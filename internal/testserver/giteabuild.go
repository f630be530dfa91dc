package testserver

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// giteaVersion that internal/testgitea/go.mod pins.
const giteaVersion = "1.26.0"

// giteaFiles are the folders of its module that a Gitea reads when it runs.
var giteaFiles = []string{"options", "public", "templates"}

// buildGitea gives a folder with the program gitea of internal/testgitea's module and what it reads, built if it is not
// in the cache. A first build downloads some 400 MB of modules and takes minutes.
func buildGitea() (string, error) { return buildNested("testgitea", "gitea", compileGitea) }

func compileGitea(src, dir string) error {
	fmt.Fprintln(os.Stderr, "testserver: building Gitea "+giteaVersion+"; the first time this takes some minutes")
	tmp := dir + ".new"
	if err := errors.Join(os.RemoveAll(tmp), os.MkdirAll(tmp, 0o755)); err != nil {
		return err
	}
	_, err := goIn(src, "build", "-p", "2", "-tags", "sqlite sqlite_unlock_notify", "-ldflags=-s -w -X main.Version="+giteaVersion,
		"-o", filepath.Join(tmp, "gitea"), "code.gitea.io/gitea")
	if err != nil {
		return err
	}
	module, err := goIn(src, "list", "-m", "-f", "{{.Dir}}", "code.gitea.io/gitea")
	if err != nil {
		return err
	}
	for _, name := range giteaFiles {
		if err := os.CopyFS(filepath.Join(tmp, name), os.DirFS(filepath.Join(module, name))); err != nil {
			return err
		}
	}
	return os.Rename(tmp, dir)
}

// goIn runs the go command in the folder of a nested module and gives what it prints.
func goIn(dir string, args ...string) (string, error) {
	cmd := exec.Command("go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOFLAGS=-mod=readonly -trimpath", "GOWORK=off", "CGO_ENABLED=1")
	out, err := cmd.Output()
	var failed *exec.ExitError
	if errors.As(err, &failed) {
		return "", fmt.Errorf("go %s in %s: %w\n%s", args[0], dir, err, failed.Stderr)
	}
	return strings.TrimSpace(string(out)), err
}
