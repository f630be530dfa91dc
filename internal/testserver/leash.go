package testserver

import (
	"os/exec"
	"testing"
)

// startLeashed is Start for a server that would outlive a test's process that is killed: a shell beside it ends it when
// the shell's input does. cmd has no input of its own; it is asked to end with the test, and has 20 s for that.
func startLeashed(tb testing.TB, cmd *exec.Cmd) *Process {
	tb.Helper()
	script := `exec 3<&0; "$@" <&- & pid=$!; { cat <&3; kill -TERM $pid; } >/dev/null 2>&1 & wait $pid`
	leashed := exec.Command("sh", append([]string{"-c", script, "sh"}, cmd.Args...)...)
	leashed.Dir, leashed.Env, leashed.SysProcAttr = cmd.Dir, cmd.Env, cmd.SysProcAttr
	stdin, err := leashed.StdinPipe()
	if err != nil {
		tb.Fatal(err)
	}
	server := Start(tb, leashed)
	tb.Cleanup(func() {
		_ = stdin.Close()
		server.Wait(tb, startLimit)
	})
	return server
}
