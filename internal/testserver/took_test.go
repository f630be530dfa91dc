package testserver

import (
	"os"
	"path/filepath"
	"testing"
)

func TestTook(t *testing.T) {
	path := filepath.Join(t.TempDir(), "real")
	t.Setenv("SALLYPORT_TEST_REAL", path)
	Took(t, "Vault 1.0")
	Took(t, "curl 8")
	Wire(t, "a thing")
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if want := "Vault 1.0: testserver.TestTook\ncurl 8: testserver.TestTook\nwire only, a thing: testserver.TestTook\n"; string(got) != want {
		t.Errorf("noted %q, want %q", got, want)
	}
	t.Setenv("SALLYPORT_TEST_REAL", "")
	Took(t, "nobody")
}
