package main

import (
	"context"
	"io"
	"strings"
	"testing"
)

// A signal that came while run was preparing ends it; the command is not started.
func TestRunInterrupted(t *testing.T) {
	c, dir := readyCLI(t)
	c.exec = func(string, []string, []string) error {
		t.Error("the command was started")
		return nil
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.run(ctx, "", []string{"true"}); err == nil || !strings.Contains(err.Error(), "interrupted") {
		t.Errorf("%s: got %v", dir, err)
	}
}

func TestRunExecutes(t *testing.T) {
	c, _ := readyCLI(t)
	var argv, environ []string
	c.exec = func(_ string, a, e []string) error {
		argv, environ = a, e
		return nil
	}
	if err := c.run(t.Context(), "", []string{"true", "--flag"}); err != nil {
		t.Fatal(err)
	}
	if strings.Join(argv, " ") != "true --flag" {
		t.Errorf("argv %q", argv)
	}
	if !strings.Contains(strings.Join(environ, "\n"), "\nHTTPS_PROXY=http://default:") {
		t.Errorf("the environment has no proxy")
	}
}

// readyCLI gives a command line beside a state directory that looks like a
// running daemon's.
func readyCLI(t *testing.T) (*cli, string) {
	t.Helper()
	dir := t.TempDir() + "/state"
	held, err := acquireLock(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = held.release() })
	callers, err := openCallers(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := callers.tokenHash("default"); err != nil {
		t.Fatal(err)
	}
	writeAddresses(t, dir, `{"proxy":"127.0.0.1:3128","admin":"127.0.0.1:3129"}`)
	c := newCLI(strings.NewReader(""), io.Discard, io.Discard)
	c.stateDirFlag, c.environ = dir, []string{"PATH=/usr/bin:/bin", "HOME=" + dir}
	return c, dir
}
