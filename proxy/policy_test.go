package proxy

import (
	"net/http"
	"slices"
	"testing"

	"github.com/sallyport/sallyport/internal/fault"
)

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

// PA-03, PA-05, PA-06: a rule sees the method and the path as they are sent, and
// nothing else: each other spelling is another method or path.
func TestRulesSeeMethodAndPathOnly(t *testing.T) {
	r := newRig(t, echo, func(r *rig) {
		r.config.Callers[0].Allow = []Allow{{Methods: []string{"GET"}, Paths: []string{"/public/**", "/user", "/repos/*"}}}
	})
	a := r.upstream.authority
	for id, c := range map[string]struct {
		line string
		code fault.Code // empty: it goes through
	}{
		"PA-03 as it is":             {"GET /user", ""},
		"PA-03 parameter":            {"GET /user;x=y", fault.NotAllowed},
		"PA-03 encoded parameter":    {"GET /user%3Bx=y", fault.NotAllowed},
		"PA-03 parameter before":     {"GET /public;x=y/a", fault.NotAllowed},
		"PA-03 parameter of any":     {"GET /repos/a;x=y", ""},
		"PA-03 dots with parameter":  {"GET /public/..;x=y/private", fault.InvalidRequest},
		"PA-03 trailing slash":       {"GET /user/", fault.NotAllowed},
		"PA-03 trailing slash of *":  {"GET /repos/a/", fault.NotAllowed},
		"PA-03 upper case":           {"GET /USER", fault.NotAllowed},
		"PA-03 encoded letter":       {"GET /%75ser", ""},
		"PA-05 path in the query":    {"GET /private?x=/public/a", fault.NotAllowed},
		"PA-05 query is a path":      {"GET /private?/public/a", fault.NotAllowed},
		"PA-05 encoded question":     {"GET /private%3F/../public/a", fault.InvalidRequest},
		"PA-05 dots in the query":    {"GET /public/a?x=/../private", ""},
		"PA-06 lower case":           {"get /user", fault.NotAllowed},
		"PA-06 mixed case":           {"Get /user", fault.NotAllowed},
		"PA-06 OPTIONS":              {"OPTIONS /user", fault.NotAllowed},
		"PA-06 unknown":              {"FETCH /user", fault.NotAllowed},
		"PA-06 longer":               {"GETS /user", fault.NotAllowed},
		"PA-06 space before":         {" GET /user", fault.InvalidRequest},
		"PA-06 two spaces":           {"GET  /user", fault.InvalidRequest},
		"PA-06 tab":                  {"GET\t/user", fault.InvalidRequest},
		"PA-06 override in the path": {"GET /user?_method=DELETE", ""},
	} {
		before := len(r.upstream.seen())
		w := r.tunnel(a, "example.com")
		w.send("%s HTTP/1.1\r\nHost: %s\r\n\r\n", c.line, a)
		got := w.answer("GET")
		if c.code != "" {
			wantFault(t, id, got, c.code)
		} else if want := c.line + " 0"; got.StatusCode != 200 || got.body != want {
			t.Errorf("%s: %d %s, want %s", id, got.StatusCode, got.body, want)
		}
		if left := len(r.upstream.seen()) > before; left != (c.code == "") {
			t.Errorf("%s: reached the upstream: %v", id, left)
		}
	}
	req, _ := http.NewRequest(http.MethodGet, "http://"+r.proxy+"/gateway/api/private?x=/public/a", nil)
	req.SetBasicAuth("orders", "tok")
	wantFault(t, "PA-05 gateway", r.do(http.DefaultClient, req), fault.NotAllowed)
}

// PA-06, PA-07: under a rule no field says another method or path; without one
// the fields are the runner's.
func TestFieldsThatLeadPastRules(t *testing.T) {
	sent := []string{
		"X-HTTP-Method-Override", "x_http_method_override", "X-Http-Method", "X-METHOD-Override",
		"X-Original-URL", "x-original_uri", "X-Rewrite-Url", "X-Forwarded-Uri", "X_Forwarded_URI",
	}
	const methods = 4 // of these
	for id, c := range map[string]struct {
		change func(*rig)
		pass   []string
	}{
		"no rules":     {func(*rig) {}, sent},
		"PA-06 method": {func(r *rig) { r.config.Callers[0].Allow = []Allow{{Methods: []string{"GET"}}} }, sent[methods:]},
		"PA-07 path":   {func(r *rig) { r.config.Callers[0].Allow = []Allow{{Paths: []string{"/user"}}} }, sent[:methods]},
		"PA-07 provider's path": {func(r *rig) {
			p := *r.config.Providers.Get("api")
			p.Paths = []string{"/user"}
			r.providers(&p)
		}, sent[:methods]},
	} {
		r := newRig(t, echo, c.change)
		for _, h2 := range []bool{false, true} {
			req, _ := http.NewRequest(http.MethodGet, r.url("/user"), nil)
			for _, name := range append(sent, "X-Forwarded-For", "X-Mine") {
				req.Header[name] = []string{"/admin"}
			}
			if got := r.do(r.client(h2), req); got.StatusCode != 200 {
				t.Fatalf("%s: %d %s", id, got.StatusCode, got.body)
			}
			up := r.upstream.seen()[len(r.upstream.seen())-1].Header
			for _, name := range sent {
				_, passed := up[http.CanonicalHeaderKey(name)]
				if want := slices.Contains(c.pass, name); passed != want {
					t.Errorf("%s h2=%v: %s passed: %v, want %v", id, h2, name, passed, want)
				}
			}
			if up.Get("X-Forwarded-For") == "" || up.Get("X-Mine") == "" {
				t.Errorf("%s h2=%v: the runner's own fields are lost: %v", id, h2, up)
			}
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
