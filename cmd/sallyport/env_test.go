package main

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/configs"
	"github.com/sallyport/sallyport/internal/secret"
)

func get(t *testing.T, vars []variable, name string) string {
	t.Helper()
	i := slices.IndexFunc(vars, func(v variable) bool { return v.name == name })
	if i < 0 {
		t.Fatalf("%s is not set", name)
	}
	return vars[i].value
}

func TestVariables(t *testing.T) {
	r := runner{
		proxy: "127.0.0.1:3128", caller: "orders", token: secret.New("s3cret"), noProxy: "127.0.0.1:3129",
		bundle: "/state dir/bundle.pem", truststore: "/state dir/truststore.p12", wgetrc: "/state dir/wgetrc",
		javaOptions: "-Xmx1g",
	}
	vars := r.variables()
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"} {
		for _, n := range []string{name, strings.ToLower(name)} {
			if got := get(t, vars, n); got != "http://orders:s3cret@127.0.0.1:3128" {
				t.Errorf("%s = %s", n, got)
			}
		}
	}
	java := get(t, vars, "JAVA_TOOL_OPTIONS")
	if strings.Contains(java, "s3cret") {
		t.Error("the JVM prints JAVA_TOOL_OPTIONS: the token must not be in it")
	}
	options := splitJava(java)
	for _, want := range []string{
		"-Xmx1g", "-Dhttp.proxyHost=127.0.0.1", "-Dhttps.proxyPort=3128", "-Djdk.http.auth.tunneling.disabledSchemes=",
		"-Djavax.net.ssl.trustStore=/state dir/truststore.p12",
	} {
		if !slices.Contains(options, want) {
			t.Errorf("JAVA_TOOL_OPTIONS lacks %s: %q", want, options)
		}
	}
	r.javaOptions = java
	if again := r.java(); again != java {
		t.Errorf("run inside of run adds to JAVA_TOOL_OPTIONS: %s", again)
	}
	r.javaProxy = "127.0.0.1:3130"
	if !strings.Contains(r.java(), "-Dhttps.proxyPort=3130") {
		t.Error("Java does not use the listener that asks for no token")
	}
	r.caller = ""
	if got := r.url(); got != "http://127.0.0.1:3128" {
		t.Errorf("without authentication: %s", got)
	}
}

func TestCallerOf(t *testing.T) {
	named := func(names ...string) []configs.Caller {
		var all []configs.Caller
		for _, n := range names {
			all = append(all, configs.Caller{Name: n})
		}
		return all
	}
	for _, c := range []struct {
		why, auth, asked string
		callers          []configs.Caller
		want, fails      string
	}{
		{"no caller in the configuration", "token", "", nil, "default", ""},
		{"the only one", "token", "", named("orders"), "orders", ""},
		{"several, one default", "token", "", named("orders", "default"), "default", ""},
		{"several", "token", "", named("orders", "billing"), "", "several callers"},
		{"asked for", "token", "billing", named("orders", "billing"), "billing", ""},
		{"made by caller add", "token", "added", named("orders"), "added", ""},
		{"no name", "token", "../x", nil, "", "not a caller's name"},
		{"no authentication", "none", "", named("orders", "billing"), "anon", ""},
		{"no authentication, the same", "none", "anon", nil, "anon", ""},
		{"no authentication, another", "none", "orders", nil, "", "cannot be"},
	} {
		cfg := &configs.Config{Callers: c.callers, Proxy: configs.Proxy{Auth: c.auth, AnonymousCaller: "anon"}}
		got, err := callerOf(cfg, c.asked)
		if got != c.want || (err == nil) != (c.fails == "") || err != nil && !strings.Contains(err.Error(), c.fails) {
			t.Errorf("%s: got %q, %v", c.why, got, err)
		}
	}
}

func TestBoundListener(t *testing.T) {
	cfg := &configs.Config{Proxy: configs.Proxy{Listeners: []configs.Listener{
		{Listen: "unix:/run/s.sock", Caller: "orders"}, {Listen: "127.0.0.1:0", Caller: "orders"},
		{Listen: "127.0.0.1:3130", Caller: "orders"}, {Listen: "0.0.0.0:3131", Caller: "billing"},
	}}}
	for caller, want := range map[string]string{"orders": "127.0.0.1:3130", "billing": "127.0.0.1:3131", "other": ""} {
		if got := boundListener(cfg, caller); got != want {
			t.Errorf("%s: got %q, want %q", caller, got, want)
		}
	}
}

func TestReachable(t *testing.T) {
	for in, want := range map[string]string{
		"127.0.0.1:1": "127.0.0.1:1", "0.0.0.0:1": "127.0.0.1:1", "[::]:1": "[::1]:1", ":1": "127.0.0.1:1", "[::1]:1": "[::1]:1",
	} {
		if got, err := reachable(in); got != want || err != nil {
			t.Errorf("%s: got %s, %v", in, got, err)
		}
	}
}

func TestStateDir(t *testing.T) {
	for _, c := range []struct {
		flag    string
		environ []string
		want    string
	}{
		{"/f", []string{"SALLYPORT_STATE_DIR=/e", "HOME=/h"}, "/f"},
		{"", []string{"SALLYPORT_STATE_DIR=/e", "STATE_DIRECTORY=/s", "HOME=/h"}, "/e"},
		{"", []string{"STATE_DIRECTORY=/s:/t", "XDG_STATE_HOME=/x", "HOME=/h"}, "/s"},
		{"", []string{"XDG_STATE_HOME=/x", "HOME=/h"}, "/x/sallyport"},
		{"", []string{"HOME=/h"}, "/h/.local/state/sallyport"},
		{"", nil, ""},
	} {
		app := &cli{stateDirFlag: c.flag, environ: c.environ}
		if got, err := app.stateDir(); got != filepath.FromSlash(c.want) || (err == nil) != (c.want != "") {
			t.Errorf("%v: got %q, %v; want %q", c.environ, got, err, c.want)
		}
	}
}

func TestWithVariables(t *testing.T) {
	got := withVariables([]string{"A=1", "B=2", "A=3", "AB=4"}, []variable{{"A", "x=y"}})
	if want := []string{"B=2", "AB=4", "A=x=y"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
