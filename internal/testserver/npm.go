package testserver

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// npmFolder gives a copy of the folder beside this file with the packages that its lock file names, installed if it is
// not in the cache. what is told while that goes on.
func npmFolder(npm, folder, what string) (string, error) {
	cache, err := cacheDir()
	if err != nil {
		return "", err
	}
	top, err := moduleRoot()
	if err != nil {
		return "", err
	}
	src := filepath.Join(top, "internal", "testserver", folder)
	sum, err := hashFolder(src)
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, folder+"-"+sum)
	return dir, once(dir, func() error { return npmInstall(npm, src, dir, what) })
}

// npmInstall copies src and installs what its lock file names, beside dir first: a folder that exists is complete.
func npmInstall(npm, src, dir, what string) error {
	fmt.Fprintln(os.Stderr, "testserver: installing "+what+" with npm; the first time this takes some seconds")
	tmp := dir + ".new"
	err := errors.Join(os.RemoveAll(tmp), os.CopyFS(tmp, os.DirFS(src)))
	if err != nil {
		return err
	}
	cmd := exec.Command(npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	cmd.Dir = tmp
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("npm ci in %s: %w\n%s", tmp, err, out)
	}
	return os.Rename(tmp, dir)
}
