package proxy

import "testing"

func TestGlobPath(t *testing.T) {
	for _, c := range []struct {
		pattern, path string
		want          bool
	}{
		{"/repos/**", "/repos/a/b", true}, {"/repos/**", "/repos/a", true}, {"/repos/**", "/repos", true}, {"/repos/**", "/reposx", false},
		{"/repos/*", "/repos/a", true}, {"/repos/*", "/repos/a/b", false}, {"/repos/*", "/repos/", false}, {"/repos/*", "/repos", false},
		{"/a/*/c", "/a/b/c", true}, {"/a/*/c", "/a/b/d", false}, {"/a/*/c", "/a/b/c/d", false}, {"/a/*/**", "/a/b", true},
		{"/**", "/", true}, {"/**", "/anything/at/all", true}, {"/user", "/user", true}, {"/user", "/user/", false}, {"/user", "/USER", false}, {"/", "/", true},
	} {
		if got := globPath(c.pattern, c.path); got != c.want {
			t.Errorf("%s on %s: %v", c.pattern, c.path, got)
		}
	}
}

func TestPlainPath(t *testing.T) {
	for path, fine := range map[string]bool{
		"/a/b": true, "/a.b/..c": true, "/a/": true, "/%41": true,
		"/a/../b": false, "/a/..": false, "/a/./b": false, "//a": false, "/a//b": false, "/a/%2e%2E/b": false, "/a%2Fb": false,
		`/a\b`: false, "/a%5cb": false, "/a%00": false, "/a/..;x/b": false, "/a/%252e": false,
	} {
		if err := plainPath(path); (err == nil) != fine {
			t.Errorf("PA-01 PA-02: %s: %v", path, err)
		}
	}
}

func FuzzGlobPath(f *testing.F) {
	f.Add("/a/*/**", "/a/b/c")
	f.Fuzz(func(t *testing.T, pattern, path string) {
		if globPath(pattern, path) && pattern == path+"x" {
			t.Errorf("%q matches %q", pattern, path)
		}
	})
}
