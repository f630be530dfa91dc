package credential

import (
	"path"
	"strings"
	"testing"
)

func TestParseRef(t *testing.T) {
	for in, want := range map[string]string{
		"github":                          "default/production/github/default",
		"github/main":                     "default/production/github/main",
		"staging/github/main":             "default/staging/github/main",
		"acme/production/github/main":     "acme/production/github/main",
		"a/b/c/d.e_f-0":                   "a/b/c/d.e_f-0",
		"0/1/2/3":                         "0/1/2/3",
		"a.age/b.age/c.age/d.age":         "a.age/b.age/c.age/d.age",
		strings.Repeat("x", 63) + "/main": "default/production/" + strings.Repeat("x", 63) + "/main",
	} {
		if got, err := ParseRef(in); err != nil || got.String() != want {
			t.Errorf("ParseRef(%q) = %s, %v; want %s", in, got, err, want)
		}
	}
}

// What a short form leaves out is that of where it is read.
func TestParseRefIn(t *testing.T) {
	for in, want := range map[string]string{
		"github":                    "acme/staging/github/default",
		"github/main":               "acme/staging/github/main",
		"test/github/main":          "acme/test/github/main",
		"other/production/github/x": "other/production/github/x",
	} {
		if got, err := ParseRefIn(in, "acme", "staging"); err != nil || got.String() != want {
			t.Errorf("ParseRefIn(%q) = %s, %v; want %s", in, got, err, want)
		}
	}
}

func TestParseRefRefuses(t *testing.T) {
	for in, want := range map[string]string{
		"":                      `provider "" is not a name`,
		"github/":               `name "" is not a name`,
		"/github":               `provider "" is not a name`,
		"a//github/main":        `environment "" is not a name`,
		"a/b/c/d/e":             "want WORKSPACE/ENVIRONMENT/PROVIDER/NAME",
		"..":                    `provider ".." is not a name`,
		"../../etc/passwd":      `workspace ".." is not a name`,
		"a/b/c/..":              `name ".." is not a name`,
		"a/b/c/x..y":            `name "x..y" is not a name`,
		"a/b/c/.x":              "begin with a letter or digit",
		"a/b/c/-x":              "begin with a letter or digit",
		"GitHub":                `provider "GitHub" is not a name`,
		"a/b/c/x y":             `name "x y" is not a name`,
		"a/b/c/x\n":             `name "x\n" is not a name`,
		"a/b/c/x\x00":           `name "x\x00" is not a name`,
		"a/b/c/x%2fy":           `name "x%2fy" is not a name`,
		`a/b/c/x\y`:             "is not a name",
		"a/b/c/bücher":          "is not a name",
		strings.Repeat("x", 64): "1 to 63",
	} {
		if got, err := ParseRef(in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseRef(%q) = %s, %v; want %q", in, got, err, want)
		}
	}
}

func TestRefCompare(t *testing.T) {
	refs := []Ref{ // ascending; as strings a-b/... would stand before a/...
		{"a", "p", "crm", "x"}, {"a", "p", "crm", "y"}, {"a", "p", "crm-eu", "a"}, {"a", "q", "a", "a"}, {"a-b", "a", "a", "a"},
	}
	for i, a := range refs {
		for j, b := range refs {
			want := min(max(i-j, -1), 1)
			if got := a.Compare(b); got != want {
				t.Errorf("%s.Compare(%s) = %d, want %d", a, b, got, want)
			}
		}
	}
}

func TestRefIn(t *testing.T) {
	r := Ref{"acme", "production", "github", "main"}
	for _, tc := range []struct {
		folder Ref
		want   bool
	}{
		{Ref{}, true}, {Ref{Workspace: "acme"}, true}, {Ref{"acme", "production", "", ""}, true},
		{Ref{"acme", "production", "github", ""}, true},
		{Ref{Workspace: "other"}, false}, {Ref{"acme", "staging", "", ""}, false}, {Ref{"acme", "production", "git", ""}, false},
	} {
		if got := r.In(tc.folder); got != tc.want {
			t.Errorf("%s in %s = %v", r, tc.folder, got)
		}
	}
}

// What ParseRef accepts is a path of four parts below any folder, and reads back as itself.
func FuzzParseRef(f *testing.F) {
	for _, s := range []string{"github", "github/main", "a/b/c/d", "../x", "a/b/c/..", "A", "a/b/c/d/e", "a\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := ParseRef(s)
		if err != nil {
			return
		}
		full := r.String()
		if again, err := ParseRef(full); err != nil || again != r {
			t.Errorf("%q: %q reads back as %q, %v", s, full, again, err)
		}
		if !strings.HasSuffix(full, s) && !strings.HasPrefix(full, DefaultWorkspace+"/") {
			t.Errorf("%q became %q", s, full)
		}
		if p := path.Join("/store", full); p != "/store/"+full || strings.Count(full, "/") != 3 {
			t.Errorf("%q leaves its folder: %q", s, p)
		}
	})
}
