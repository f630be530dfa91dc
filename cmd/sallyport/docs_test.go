package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sallyport/sallyport/auth"
	"github.com/sallyport/sallyport/configs"
	"github.com/sallyport/sallyport/internal/fault"
)

// TestDocs holds the pages of docs/ to the tables that the program runs on.
func TestDocs(t *testing.T) {
	for name, page := range map[string]string{
		"types.md": typesPage(), "faults.md": faultsPage(), "metrics.md": metricsPage(t), "providers.md": providersPage(t),
	} {
		path := filepath.Join("..", "..", "docs", name)
		if *update {
			if err := os.WriteFile(path, []byte(page), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		got, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != page {
			t.Errorf("docs/%s is not what the tables say; run make docs and read the difference", name)
		}
	}
}

const generated = "<!-- Written by make docs from the tables in the code. -->\n\n"

func typesPage() string {
	var b strings.Builder
	b.WriteString("# Credential types\n\n" + generated +
		"Fields of the stored record; those in parentheses are optional. Without a `[[provider.place]]` they go where the last column says.\n\n" +
		"| type | what it is | fields | goes to |\n|---|---|---|---|\n")
	for _, k := range auth.Kinds() {
		fields := code(k.Required)
		if len(k.Optional) > 0 {
			fields = strings.TrimSpace(fields + " (" + code(k.Optional) + ")")
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", k.Name, k.Doc, fields, places(k))
	}
	return b.String()
}

func places(k auth.Kind) string {
	var all []string
	for _, p := range k.Places {
		switch {
		case p.Username != "" || p.Password != "":
			all = append(all, "HTTP Basic `"+p.Username+":"+p.Password+"`")
		default:
			all = append(all, string(p.In)+" `"+p.Name+": "+p.Value+"`")
		}
	}
	return strings.Join(all, ", ")
}

func code(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return "`" + strings.Join(names, "` `") + "`"
}

func faultsPage() string {
	var b strings.Builder
	b.WriteString("# Faults\n\n" + generated +
		"Every answer of Sallyport's own is `application/problem+json` with one of these as `code`; reports, metrics and the log use the same words.\n" +
		"`sallyport explain CODE` prints one. A code without a status only describes an upstream's answer or a report.\n")
	for _, c := range fault.Codes() {
		d := fault.Diagnose(c)
		status, token := "none", "none"
		if d.Status != 0 {
			status = fmt.Sprint(d.Status)
		}
		if d.Token != "" {
			token = "`" + d.Token + "`"
		}
		fmt.Fprintf(&b, "\n## `%s`\n\n%s. Status: %s. Proxy-Status error: %s. Who acts: %s. May pass by itself: %s.\n\n%s\n\n",
			c, d.Title, status, token, d.Actor, yes(d.Transient), d.Cause)
		for _, r := range d.Remedy {
			fmt.Fprintf(&b, "- %s\n", r)
		}
		for _, v := range d.Kinds {
			fmt.Fprintf(&b, "\n*%s*: %s\n\n", strings.ReplaceAll(string(v.Kind), "_", " "), v.Cause)
			for _, r := range v.Remedy {
				fmt.Fprintf(&b, "- %s\n", r)
			}
		}
	}
	return b.String()
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

var described = regexp.MustCompile(`fqName: "([^"]+)", help: "((?:[^"\\]|\\.)*)",.* constLabels: \{([^}]*)\}, variableLabels: \{([^}]*)\}`)

// metricsPage asks the daemon's own registry what it can expose.
func metricsPage(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	b.WriteString("# Metrics\n\n" + generated +
		"Served at `/metrics` of the admin listener, and of `metrics_listen`. Metrics without labels are always exposed. No label's value comes from a request.\n" +
		"The Go and process collectors are there too.\n\n| metric | labels | what it tells |\n|---|---|---|\n")
	var rows []string
	for _, d := range descriptions(t) {
		m := described.FindStringSubmatch(d)
		if m == nil {
			t.Fatalf("a description that is not understood: %s", d)
		}
		if strings.HasPrefix(m[1], "sallyport_") {
			rows = append(rows, fmt.Sprintf("| `%s` | %s | %s |\n", m[1], code(append(labels(m[3]), labels(m[4])...)), m[2]))
		}
	}
	slices.Sort(rows)
	b.WriteString(strings.Join(slices.Compact(rows), ""))
	return b.String()
}

// labels gives the names in a list of labels, with or without values.
func labels(list string) (names []string) {
	for _, l := range strings.FieldsFunc(list, func(r rune) bool { return r == ',' }) {
		name, _, _ := strings.Cut(l, "=")
		names = append(names, name)
	}
	return names
}

// descriptions builds the daemon's rooms, with the embedded store and with
// Vault, and gives what they register.
func descriptions(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, environ := range [][]string{nil, {
		"SALLYPORT_STORE_BACKEND=vault", "SALLYPORT_VAULT_ADDRESS=http://127.0.0.1:1", "SALLYPORT_VAULT_AUTH_METHOD=token", "VAULT_TOKEN=x",
	}} {
		cfg, err := configs.Load(configs.Options{Environ: environ})
		if err != nil {
			t.Fatal(err)
		}
		c := newCLI(bytes.NewReader(nil), io.Discard, io.Discard)
		c.environ = environ
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		a := &app{cli: c, stateDir: t.TempDir(), life: ctx, log: slog.New(slog.DiscardHandler)}
		if err := a.build(cfg); err != nil {
			t.Fatal(err)
		}
		descs := make(chan *prometheus.Desc, 1000)
		a.registry.Describe(descs)
		close(descs)
		for d := range descs {
			all = append(all, d.String())
		}
	}
	return all
}
