package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

var update = flag.Bool("update", false, "rewrite what the tests expect; read the diff")

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"sallyport": main})
}

// TestScripts are conversations with the program. $API is a small API that takes
// the token "right-token" and the key "right-key"; $HOST and $PORT are where it
// listens. sallyport.toml of the script's folder is the configuration.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup:               setupScript,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"ready":  ready,
			"secret": fromFile,
			"admin":  adminAddress,
			"expand": expandFile,
			"absent": absent,
			"mode":   fileMode,
			"exits":  exits,
		},
	})
}

func setupScript(env *testscript.Env) error {
	api := httptest.NewServer(http.HandlerFunc(smallAPI))
	env.Defer(api.Close)
	host, port, err := net.SplitHostPort(api.Listener.Addr().String())
	if err != nil {
		return err
	}
	clean := env.Vars[:0]
	for _, v := range env.Vars {
		name, _, _ := strings.Cut(v, "=")
		if !strings.HasSuffix(strings.ToLower(name), "_proxy") && !strings.HasPrefix(name, "VAULT_") {
			clean = append(clean, v)
		}
	}
	env.Vars = append(clean,
		"API="+api.URL, "HOST="+host, "PORT="+port,
		"HOME="+filepath.Join(env.WorkDir, "home"),
		"SALLYPORT_STATE_DIR="+filepath.Join(env.WorkDir, "state"),
		"GORACE=atexit_sleep_ms=0", // each command of a race test would wait a second at its end
		"SALLYPORT_CONFIG=", "XDG_CONFIG_HOME=", "XDG_STATE_HOME=", "STATE_DIRECTORY=",
	)
	return os.Mkdir(filepath.Join(env.WorkDir, "home"), 0o700)
}

// smallAPI answers GET /me to whoever knows the token or the key. POST /token
// gives the right token, POST /revoke takes any, POST /away answers 503.
func smallAPI(w http.ResponseWriter, r *http.Request) {
	switch r.Method + " " + r.URL.Path {
	case "POST /token":
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"access_token":"right-token","token_type":"Bearer","expires_in":3600}`)
		return
	case "POST /revoke":
		return
	case "POST /away":
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	switch r.Header.Get("Authorization") {
	case "Bearer right-token", "Bearer right-key":
		fmt.Fprintf(w, "{\"path\":%q}\n", r.URL.Path)
	case "Bearer narrow-token":
		w.Header().Set("WWW-Authenticate", `Bearer error="insufficient_scope", scope="contacts.read"`)
		w.WriteHeader(http.StatusForbidden)
	case "Bearer slow-token":
		w.Header().Set("Retry-After", "60")
		w.WriteHeader(http.StatusTooManyRequests)
	default:
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, "no\n")
	}
}

// ready waits for the daemon that the script has started in the background.
func ready(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: ready")
	}
	for end := time.Now().Add(time.Minute); time.Now().Before(end); {
		if _, err := os.Stat(filepath.Join(ts.Getenv("SALLYPORT_STATE_DIR"), "addresses.json")); err == nil {
			return
		}
		time.Sleep(25 * time.Millisecond)
	}
	ts.Fatalf("the daemon did not get ready")
}

// adminAddress sets $ADMIN to the URL of the running daemon's admin listener and
// $ADMINHOST to its HOST:PORT, $PROXY to HOST:PORT of its proxy and $PROXYPORT.
func adminAddress(ts *testscript.TestScript, _ bool, _ []string) {
	b, err := os.ReadFile(filepath.Join(ts.Getenv("SALLYPORT_STATE_DIR"), "addresses.json"))
	ts.Check(err)
	var at listening
	ts.Check(json.Unmarshal(b, &at))
	ts.Setenv("ADMIN", "http://"+at.Admin)
	ts.Setenv("ADMINHOST", at.Admin)
	ts.Setenv("PROXY", at.Proxy)
	_, port, err := net.SplitHostPort(at.Proxy)
	ts.Check(err)
	ts.Setenv("PROXYPORT", port)
}

// fromFile sets a variable to what a file holds: secret FILE NAME.
func fromFile(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: secret FILE NAME")
	}
	ts.Setenv(args[1], strings.TrimSpace(ts.ReadFile(args[0])))
}

// expandFile replaces $NAME in files by the script's variables.
func expandFile(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: expand FILE...")
	}
	for _, name := range args {
		path := ts.MkAbs(name)
		b, err := os.ReadFile(path)
		ts.Check(err)
		ts.Check(os.WriteFile(path, []byte(os.Expand(string(b), ts.Getenv)), 0o600))
	}
}

// absent fails if a text stands in any file below a folder.
func absent(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: absent TEXT FOLDER")
	}
	ts.Check(filepath.WalkDir(ts.MkAbs(args[1]), func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		if err == nil && strings.Contains(string(b), args[0]) {
			return fmt.Errorf("%s holds it", path)
		}
		return err
	}))
}

// fileMode checks the permissions of files: mode 600 FILE...
func fileMode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: mode MODE FILE...")
	}
	for _, name := range args[1:] {
		info, err := os.Stat(ts.MkAbs(name))
		ts.Check(err)
		if got := fmt.Sprintf("%o", info.Mode().Perm()); got != args[0] {
			ts.Fatalf("%s has mode %s, want %s", name, got, args[0])
		}
	}
}

// exits runs a program and checks its exit code: exits CODE PROGRAM ARG...
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM [ARG...]")
	}
	err := ts.Exec(args[1], args[2:]...)
	code := 0
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		code = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if strconv.Itoa(code) != args[0] {
		ts.Fatalf("exit code %d, want %s", code, args[0])
	}
}
