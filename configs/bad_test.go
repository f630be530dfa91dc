package configs

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the expected faults in testdata/bad")

const marker = "-- want --\n"

// testTypes knows the documented types; the grants of persons are not built.
func testTypes(name string) (known, built bool) {
	known, _ = documented(name)
	return known, known && name != "oauth2_authorization_code" && name != "github_app"
}

// Each file of testdata/bad is a configuration, and after a line "-- want --" its
// faults. A person reads the diff of -update.
func TestBad(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no bad configurations", err)
	}
	for _, name := range files {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			config, want, _ := strings.Cut(string(text), marker)
			_, err = load(Options{Path: "sallyport.toml", Types: testTypes}, []byte(config))
			var faults Faults
			if !errors.As(err, &faults) {
				t.Fatalf("load: %v; want faults", err)
			}
			got := faults.Error() + "\n"
			if *update {
				if err := os.WriteFile(name, []byte(config+marker+got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != want {
				t.Errorf("faults:\n%s\nwant:\n%s", got, want)
			}
			if strings.Contains(got, "hunter2") {
				t.Error("a fault quotes a password")
			}
		})
	}
}
