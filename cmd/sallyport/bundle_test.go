package main

import (
	"archive/zip"
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What cannot be had is named in README.txt, with the reason, and ends nothing.
func TestBundleNamesWhatIsMissing(t *testing.T) {
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/metrics":
			http.Error(w, "canary in a page of some proxy", http.StatusBadGateway)
		case "/readyz":
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = io.WriteString(w, `{"status":"draining"}`)
		case "/api/v1/report":
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = io.WriteString(w, `{"code":"vault_unreachable","title":"Vault is away","detail":"no answer","remedy":["wait"]}`)
		case requestsPath:
			_, _ = io.WriteString(w, `{"items":[{"id":"`+r.URL.Query().Get("cursor")+`1"}],"next":"`+strings.Repeat("2", 1-len(r.URL.Query().Get("cursor")))+`"}`)
		default:
			_, _ = io.WriteString(w, `{"items":[],"next":""}`)
		}
	}))
	defer api.Close()
	var stdout, stderr bytes.Buffer
	c := newCLI(strings.NewReader(""), &stdout, &stderr)
	c.environ, c.adminURL = nil, api.URL
	path := filepath.Join(t.TempDir(), "support.zip")
	if err := c.requests(context.Background(), requestFlags{limit: 1, bundle: path, ref: "github", failed: true}); err != nil {
		t.Fatal(err)
	}
	files := unzip(t, path)
	var names []string
	for _, f := range files {
		names = append(names, f.name)
	}
	if got := strings.Join(names, " "); got != "README.txt requests.json credentials.json providers.json callers.json readyz.json version.json" {
		t.Errorf("files: %s", got)
	}
	readme, requests := files[0].text, files[1].text
	for _, want := range []string{
		"Of the daemon at " + api.URL + ".\n",
		"only those of credential=default%2Fproduction%2Fgithub%2Fdefault&failed=true",
		"\nMissing:\n\nreport.json       Vault is away (vault_unreachable): no answer\n" +
			"metrics.txt       the admin API answered 502 Bad Gateway\n" +
			"config.toml       the daemon is a remote one: its configuration lies there\n",
	} {
		if !strings.Contains(readme, want) {
			t.Errorf("README.txt has no %q:\n%s", want, readme)
		}
	}
	if !strings.Contains(requests, `"1"`) || !strings.Contains(requests, `"21"`) {
		t.Errorf("requests.json holds %s, want both pages", requests)
	}
	if strings.Contains(readme+stdout.String()+stderr.String(), "canary") || strings.Count(stderr.String(), "is missing") != 3 {
		t.Errorf("standard error:\n%s", &stderr)
	}
}

// A fault of the configuration may quote a value that stands in the wrong place.
func TestBundleQuotesNoFaultOfTheConfiguration(t *testing.T) {
	dir := t.TempDir()
	config := filepath.Join(dir, "sallyport.toml")
	if err := os.WriteFile(config, []byte("[proxy]\nlisten = \"canary\"\nauth = \"canary\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	c := newCLI(strings.NewReader(""), &stdout, &stderr)
	c.environ, c.stateDirFlag, c.configPath = nil, filepath.Join(dir, "state"), config
	if err := c.requests(context.Background(), requestFlags{limit: 1, bundle: filepath.Join(dir, "b.zip")}); err != nil {
		t.Fatal(err)
	}
	readme := unzip(t, filepath.Join(dir, "b.zip"))[0].text
	if strings.Contains(readme+stderr.String(), "canary") || !strings.Contains(readme, "\nconfig.toml       the configuration cannot be read") {
		t.Errorf("README.txt:\n%s", readme)
	}
}

type unzipped struct{ name, text string }

func unzip(t *testing.T, path string) (files []unzipped) {
	t.Helper()
	z, err := zip.OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = z.Close() }()
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, unzipped{f.Name, string(b)})
	}
	return files
}
