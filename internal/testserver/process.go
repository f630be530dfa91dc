package testserver

import (
	"bytes"
	"net"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Bounds that a machine with much else to do does not come near.
const (
	startLimit  = time.Minute      // of the start of a server, and of its end
	callLimit   = 30 * time.Second // of a test's own call
	uploadLimit = 3 * time.Minute  // of a call that may be large
)

// Process is a server that a test runs. It is ended with the test.
type Process struct {
	Cmd    *exec.Cmd
	Exited chan struct{} // closed when it has ended; Cmd.ProcessState is set then
	out    lockedBuffer
}

// Start runs cmd and keeps what it prints.
func Start(tb testing.TB, cmd *exec.Cmd) *Process {
	tb.Helper()
	p := &Process{Cmd: cmd, Exited: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = &p.out, &p.out
	if err := cmd.Start(); err != nil {
		tb.Fatalf("%s: %v", cmd.Path, err)
	}
	go func() { _ = cmd.Wait(); close(p.Exited) }()
	tb.Cleanup(p.Stop)
	return p
}

// Log is what it has printed so far.
func (p *Process) Log() string { return p.out.String() }

// Signal sends it a signal.
func (p *Process) Signal(tb testing.TB, s syscall.Signal) {
	tb.Helper()
	if err := p.Cmd.Process.Signal(s); err != nil {
		tb.Errorf("signal %v: %v", s, err)
	}
}

// Wait gives its exit code; it must end within d.
func (p *Process) Wait(tb testing.TB, d time.Duration) int {
	tb.Helper()
	select {
	case <-p.Exited:
		return p.Cmd.ProcessState.ExitCode()
	case <-time.After(d):
		tb.Fatalf("%s did not end within %v; its output:\n%s", p.Cmd.Path, d, p.Log())
		return -1
	}
}

// Stop ends it, first politely.
func (p *Process) Stop() {
	_ = p.Cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.Exited:
	case <-time.After(5 * time.Second):
		_ = p.Cmd.Process.Kill()
		<-p.Exited
	}
}

// listening waits until something accepts at address; false if the process ended before.
func (p *Process) listening(tb testing.TB, address string) bool {
	tb.Helper()
	for end := time.Now().Add(startLimit); time.Now().Before(end); {
		if conn, err := net.DialTimeout("tcp", address, time.Second); err == nil {
			_ = conn.Close()
			return true
		}
		select {
		case <-p.Exited:
			return false
		case <-time.After(25 * time.Millisecond):
		}
	}
	tb.Fatalf("%s does not listen on %s; its output:\n%s", p.Cmd.Path, address, p.Log())
	return false
}

// announced waits for the line "listening URL" and gives the URL.
func (p *Process) announced(tb testing.TB) string {
	tb.Helper()
	for end := time.Now().Add(startLimit); time.Now().Before(end); {
		if _, rest, ok := strings.Cut(p.Log(), "listening "); ok {
			if url, _, ok := strings.Cut(rest, "\n"); ok {
				return url
			}
		}
		select {
		case <-p.Exited:
			tb.Fatalf("%s ended; its output:\n%s", p.Cmd.Path, p.Log())
		case <-time.After(20 * time.Millisecond):
		}
	}
	tb.Fatalf("%s does not listen; its output:\n%s", p.Cmd.Path, p.Log())
	return ""
}

// Find gives the path of a program that .ci/install installs.
func Find(tb testing.TB, program string) string {
	tb.Helper()
	for _, name := range []string{program, "/usr/sbin/" + program} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	tb.Fatalf("%s is not installed; .ci/install installs it as root on Debian, or names the command", program)
	return ""
}

// Version gives the first word of a program's version line that has a digit and a dot.
func Version(program string, args ...string) string {
	out, _ := exec.Command(program, args...).CombinedOutput()
	for _, word := range strings.FieldsFunc(string(out), func(r rune) bool { return strings.ContainsRune(" /\n\t(,'", r) }) {
		if word[0] >= '0' && word[0] <= '9' && strings.Contains(word, ".") {
			return word
		}
	}
	return "of unknown version"
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write implements io.Writer.
func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// String gives what was written.
func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
