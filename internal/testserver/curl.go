package testserver

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"sync"
	"testing"
)

var curlVersion = sync.OnceValue(func() string { return Version("curl", "--version") })

// Curl runs the real curl with no variables but env and PATH, for some minutes at most.
func Curl(tb testing.TB, env []string, args ...string) (stdout, stderr string, exit int) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), uploadLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, Find(tb, "curl"), append([]string{"-sS"}, args...)...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + tb.TempDir()}, env...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var ended *exec.ExitError
	if err != nil && !errors.As(err, &ended) {
		tb.Fatalf("curl: %v", err)
	}
	Took(tb, "curl "+curlVersion())
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}
