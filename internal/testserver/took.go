// Package testserver starts real servers for tests: builds or installs them once for all test processes, runs each on a
// free loopback port and ends it with the test.
package testserver

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Wire notes that what, such as "Vault Enterprise's namespaces", is not had by any server here, so that the test t shows
// only what goes over the wire. It is noted like Took.
func Wire(t testing.TB, what string) {
	t.Helper()
	Took(t, "wire only, "+what)
}

// Took notes that the real server or client what, such as "Vault 1.14.1", took part in the test t: one line
// "WHAT: PACKAGE.TEST" is appended to the file named by $SALLYPORT_TEST_REAL. Without that variable nothing is noted.
// It may be called from several processes at once: a line is one write to a file opened for appending.
func Took(t testing.TB, what string) {
	t.Helper()
	path := os.Getenv("SALLYPORT_TEST_REAL")
	if path == "" {
		return
	}
	pkg := strings.TrimSuffix(filepath.Base(os.Args[0]), ".test")
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatalf("SALLYPORT_TEST_REAL: %v", err)
	}
	defer func() { _ = f.Close() }()
	if _, err := fmt.Fprintf(f, "%s: %s.%s\n", what, pkg, t.Name()); err != nil {
		t.Fatalf("SALLYPORT_TEST_REAL: %v", err)
	}
}
