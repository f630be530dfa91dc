package testserver

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Python gives a python3 that has the module, which .ci/install installs.
func Python(tb testing.TB, module string) string {
	tb.Helper()
	for _, name := range []string{"python3", "/usr/bin/python3"} {
		path, err := exec.LookPath(name)
		if err == nil && exec.Command(path, "-c", "import "+module).Run() == nil {
			return path
		}
	}
	tb.Fatalf("there is no python3 with %s; .ci/install installs it as root on Debian, or names the command", module)
	return ""
}

// PythonScript runs a script with no variables but env and PATH, and gives what it printed.
func PythonScript(tb testing.TB, module, script string, env ...string) (out string, err error) {
	tb.Helper()
	python := Python(tb, module)
	file := filepath.Join(tb.TempDir(), "script.py")
	write(tb, file, []byte(script))
	cmd := exec.Command(python, file)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + tb.TempDir()}, env...)
	b, err := cmd.CombinedOutput()
	return string(b), err
}
