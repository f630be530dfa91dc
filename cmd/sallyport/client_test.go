package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/secret"
)

func inProcess(h http.HandlerFunc) *client {
	return newClient("http://localhost", handlerTransport{h}, secret.Value{}, nil)
}

func TestClientReadsProblems(t *testing.T) {
	cl := inProcess(func(w http.ResponseWriter, _ *http.Request) {
		fault.New(fault.InUse, "used by orders", nil).Write(w, "id-1")
	})
	err := cl.get(t.Context(), "/x", nil, nil)
	if !errors.Is(err, fault.InUse) || !strings.Contains(err.Error(), "used by orders") {
		t.Errorf("got %v", err)
	}
	var out bytes.Buffer
	if code := report(&out, err); code != 1 || !strings.Contains(out.String(), "(in_use)") || !strings.Contains(out.String(), "\ntry: ") {
		t.Errorf("code %d, %s", code, out.String())
	}
}

func TestClientAnswersThatAreNotTheAPIs(t *testing.T) {
	for name, h := range map[string]http.HandlerFunc{
		"a page":     func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") },
		"an error":   func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusBadGateway) },
		"a redirect": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) },
		"a panic":    func(http.ResponseWriter, *http.Request) { panic("x") },
	} {
		var out map[string]string
		if err := inProcess(h).get(t.Context(), "/x", nil, &out); err == nil {
			t.Errorf("%s was taken for an answer", name)
		}
	}
}

func TestListReadsEveryPage(t *testing.T) {
	cl := inProcess(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Query().Get("cursor") {
		case "":
			_, _ = io.WriteString(w, `{"items":["a","b"],"next":"b"}`)
		default:
			_, _ = io.WriteString(w, `{"items":["c"],"next":""}`)
		}
	})
	got, err := list[string](t.Context(), cl, "/x", url.Values{"workspace": {"w"}})
	if err != nil || strings.Join(got, "") != "abc" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestClientGivesUp(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	cl := inProcess(func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	if err := cl.get(ctx, "/x", nil, nil); err == nil {
		t.Error("a cancelled call must fail")
	}
}

// The admin token goes to the address of the command line and nowhere else: no
// redirect is followed, no proxy of the environment is used.
func TestAdminTokenStays(t *testing.T) {
	var elsewhere []string
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		elsewhere = append(elsewhere, r.Header.Get("Authorization"))
	}))
	defer other.Close()
	var got string
	admin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r.Header.Get("Authorization")
		http.Redirect(w, r, other.URL, http.StatusTemporaryRedirect)
	}))
	defer admin.Close()
	t.Setenv("HTTP_PROXY", other.URL)
	t.Setenv("http_proxy", other.URL)
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("adm1n\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := newCLI(strings.NewReader(""), io.Discard, io.Discard)
	c.adminURL, c.adminTokenFile = admin.URL, file
	cl, err := c.connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := cl.get(t.Context(), "/api/v1/callers", nil, nil); err == nil {
		t.Error("a redirect was taken for an answer")
	}
	if got != "Bearer adm1n" || len(elsewhere) > 0 {
		t.Errorf("the API got %q, others %q", got, elsewhere)
	}
}

// LK-13: no flag takes a secret.
func TestNoFlagTakesASecret(t *testing.T) {
	suspicious := regexp.MustCompile(`token|secret|password|key|credential`)
	allowed := map[string]bool{
		"admin-token-file": true, // the path of a file
		"credential":       true, // of decide: a credential's name
	}
	var walk func(*cobra.Command)
	walk = func(cmd *cobra.Command) {
		for _, flag := range regexp.MustCompile(`--([a-z-]+)`).FindAllStringSubmatch(cmd.LocalFlags().FlagUsages(), -1) {
			if name := flag[1]; suspicious.MatchString(name) && !allowed[name] {
				t.Errorf("LK-13: %s --%s looks like it takes a secret", cmd.CommandPath(), name)
			}
		}
		for _, sub := range cmd.Commands() {
			walk(sub)
		}
	}
	walk(newRootCommand(newCLI(strings.NewReader(""), io.Discard, io.Discard)))
}

func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		"plain ünï": "plain ünï", "a\x1b[31mb": `a\u001b[31mb`, "a\nb": "a\nb", "a\rb": `a\u000db`, "a\u202eb": `a\u202eb`, "a\x00": `a\u0000`,
	} {
		if got := clean(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

func TestExitCodes(t *testing.T) {
	for _, c := range []struct {
		err  error
		code int
		told string
	}{
		{nil, 0, ""},
		{errors.New("x"), 1, "sallyport: x\n"},
		{usagef("y"), 2, "sallyport: y\n"},
		{try(usagef("y"), "z"), 2, "sallyport: y\ntry: z\n"},
		{try(try(errors.New("x"), "a"), "b"), 1, "sallyport: x\ntry: a\ntry: b\n"},
		{&failure{code: 3}, 3, ""},
		{withCode(3, usagef("y")), 2, "sallyport: y\n"},
		{withCode(3, errors.New("x")), 3, "sallyport: x\n"},
		{errors.New("one\ntwo"), 1, "sallyport: one\n  two\n"},
	} {
		var out bytes.Buffer
		if code := report(&out, c.err); code != c.code || out.String() != c.told {
			t.Errorf("%v: code %d, %q; want %d, %q", c.err, code, out.String(), c.code, c.told)
		}
	}
}

func TestNearest(t *testing.T) {
	known := []string{"github", "gitlab", "hubspot", "slack"}
	for name, want := range map[string]string{"githup": "github", "git": "github gitlab", "slak": "slack", "x": "", "GITHUB": ""} {
		if got := strings.Join(nearest(name, known), " "); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}
