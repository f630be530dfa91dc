package testserver

import (
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// tethered starts a server beside a reader of a shell's input, which sends it the signal when the test's process ends,
// however it does. It ends with the test.
func tethered(tb testing.TB, signal, dir string, owner *syscall.SysProcAttr, command ...string) *Process {
	tb.Helper()
	shell := []string{"-c", `exec 3<&0; "$@" <&- & pid=$!; { cat <&3; kill -` + signal + ` $pid; } >/dev/null 2>&1 & wait $pid`, "sh"}
	cmd := exec.Command("sh", append(shell, command...)...)
	cmd.Dir, cmd.SysProcAttr = dir, owner
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		tb.Fatal(err)
	}
	server := Start(tb, cmd)
	tb.Cleanup(func() {
		_ = stdin.Close()
		server.Wait(tb, startLimit)
	})
	return server
}

// until asks until it is answered; false if the server has ended, or goes on without an answer.
func (p *Process) until(answered func() bool) bool {
	for end := time.Now().Add(startLimit); time.Now().Before(end); {
		if answered() {
			return true
		}
		select {
		case <-p.Exited:
			return false
		case <-time.After(50 * time.Millisecond):
		}
	}
	return false
}
