package configs

import (
	"os"
	"regexp"
	"testing"
)

// The providers that docs/grants.md shows are good ones.
func TestDocumentedProviders(t *testing.T) {
	page, err := os.ReadFile("../docs/grants.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```toml\n(.*?)```").FindAllSubmatch(page, -1)
	for _, m := range blocks {
		if _, err := load(Options{Path: "sallyport.toml", Types: documented}, m[1]); err != nil {
			t.Errorf("it shows:\n%s\nwhich is faulty: %v", m[1], err)
		}
	}
	if len(blocks) != 4 {
		t.Errorf("%d examples, want four", len(blocks))
	}
}
