package configs

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/credential"
)

// Each file of testdata/openapi is a description, which may begin with a comment
// of the command's flags, and after a line "-- want --" what it becomes. A person
// reads the diff of -update.
func TestImportOpenAPI(t *testing.T) {
	files, err := filepath.Glob("testdata/openapi/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no descriptions", err)
	}
	for _, name := range files {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			doc, want, _ := strings.Cut(string(text), marker)
			got := imported(t, doc)
			if *update {
				if err := os.WriteFile(name, []byte(doc+marker+got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != want {
				t.Errorf("it becomes:\n%s\nwant:\n%s", got, want)
			}
			if strings.Contains(got, "hunter2") {
				t.Error("a password is quoted")
			}
		})
	}
}

// taken are some of the fields that types have.
func taken(field string) bool {
	return slices.Contains([]string{"api_key", "token", "url", "username", "password"}, field) || slices.Contains(credential.TokenFields, field)
}

// imported is what a description becomes, or the error, as text.
func imported(t *testing.T, doc string) string {
	t.Helper()
	o := ImportOptions{Taken: taken}
	if first, _, _ := strings.Cut(doc, "\n"); strings.HasPrefix(first, "# --") {
		words := strings.Fields(first)[1:]
		for n := 0; n+1 < len(words); n += 2 {
			*map[string]*string{"--name": &o.Name, "--scheme": &o.Scheme, "--url": &o.URL}[words[n]] = words[n+1]
		}
	}
	got, err := ImportOpenAPI([]byte(doc), o)
	if err != nil {
		return "error: " + err.Error() + "\n"
	}
	sound(t, got)
	return string(got.TOML)
}

// sound holds what was made to what is promised of it: it loads, it is one
// entry, every note is one line of it.
func sound(t *testing.T, got *Imported) {
	t.Helper()
	c, err := load(Options{}, got.TOML)
	if err != nil {
		t.Fatalf("it does not load: %v\n%s", err, got.TOML)
	}
	if p := c.Table.Get(got.Name); p == nil || !p.Configured || p.AllowCleartext || !strings.HasPrefix(p.BaseURL, "https://") {
		t.Errorf("provider %s is %v", got.Name, p)
	}
	r := &report{}
	if tree := r.parse(string(got.TOML)); len(tree) != 1 || len(tablesOf(tree["provider"])) != 1 {
		t.Errorf("it holds more than one entry:\n%s", got.TOML)
	}
	for _, n := range got.Notes {
		if n != line(n) || !strings.Contains(string(got.TOML), "# "+n+"\n") {
			t.Errorf("the note %q is no line of\n%s", n, got.TOML)
		}
	}
}

// What a description says is bounded, and so is what is read of it.
func TestImportBounds(t *testing.T) {
	if _, err := ImportOpenAPI(make([]byte, MaxDescription+1), ImportOptions{}); err == nil || !strings.Contains(err.Error(), "16 MiB") {
		t.Errorf("a file that is too large: %v", err)
	}
	deep := strings.Repeat(`{"a":`, 5000) + "1" + strings.Repeat("}", 5000)
	doc := `{"openapi":"3.0.0","info":{"title":"deep"},"servers":[{"url":"https://d.example"}],"paths":{"/me":{"get":{"x-deep":` + deep + `}}},"components":{"schemas":{"A":` + deep + `}}}`
	if _, err := ImportOpenAPI([]byte(doc), ImportOptions{}); err != nil {
		t.Errorf("what is deep and not needed: %v", err)
	}
	bomb := "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
	for n := 'b'; n < 'm'; n++ {
		bomb += string(n) + ": &" + string(n) + " [" + strings.Repeat("*"+string(n-1)+",", 9) + "*" + string(n-1) + "]\n"
	}
	if _, err := ImportOpenAPI([]byte(bomb+"openapi: 3.0.0\n"), ImportOptions{}); err == nil {
		t.Error("a bomb of aliases was read")
	}
	got, err := ImportOpenAPI([]byte(`{"openapi":"3.0.0","info":{"title":"`+strings.Repeat("long ", 5000)+`"},"servers":[{"url":"https://d.example"}]}`), ImportOptions{})
	if err != nil || len(got.TOML) > 4096 || len(got.Name) > 63 {
		t.Errorf("a long title: %v, %v", got, err)
	}
}

// A type that the program does not have is no type of an entry.
func TestImportAsksForTypes(t *testing.T) {
	doc := []byte(`{"openapi":"3.1.0","info":{"title":"x"},"servers":[{"url":"https://d.example"}],"components":{"securitySchemes":{"tls":{"type":"mutualTLS"}}}}`)
	_, err := ImportOpenAPI(doc, ImportOptions{Types: func(name string) (known, built bool) { return name != "mtls", name != "mtls" }})
	if faults := Faults(nil); !errors.As(err, &faults) {
		t.Errorf("a type that there is not: %v", err)
	}
}

// FuzzImportOpenAPI: no input is fatal, and whatever comes out is sound.
func FuzzImportOpenAPI(f *testing.F) {
	files, _ := filepath.Glob("testdata/openapi/*.txt")
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		doc, _, _ := strings.Cut(string(text), marker)
		f.Add([]byte(doc), "", "", "")
		f.Add([]byte(doc), "name", "key", "https://u.example/x")
	}
	f.Fuzz(func(t *testing.T, doc []byte, name, scheme, url string) {
		if len(doc) > 64<<10 {
			return
		}
		got, err := ImportOpenAPI(doc, ImportOptions{Name: name, Scheme: scheme, URL: url, Taken: taken})
		if err != nil {
			if strings.ContainsFunc(err.Error(), func(r rune) bool { return r < ' ' && r != '\n' }) {
				t.Errorf("the error steers a terminal: %q", err)
			}
			return
		}
		sound(t, got)
	})
}
