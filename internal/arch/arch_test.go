// Package arch holds the import rules of ARCHITECTURE.md as a test.
package arch

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/sallyport/sallyport/"

// ground is the ground floor in order: a package may import those before it.
var ground = []string{
	"internal/near", "internal/secret", "internal/fault", "internal/file", "internal/credential", "internal/seal", "internal/provider",
}

// rooms may import the ground floor and what is listed. cmd/sallyport may import everything.
var rooms = map[string][]string{
	"configs": nil,
	"auth":    nil,
	"vault":   nil,
	"checker": {"auth"},
	"proxy":   {"auth"},
	"admin":   {"checker"},
}

// testRooms are for tests: no other code imports them. They may import the ground floor and each other.
var testRooms = []string{
	"internal/arch", "internal/bench", "internal/credential/credtest", "internal/e2e", "internal/testserver",
	"internal/testreport", "internal/testvault",
}

// homes: one library, one room, so that it can be replaced by opening one folder.
var homes = map[string]struct{ home, why string }{
	"filippo.io/age":                     {"internal/seal", "what seals files at rest is one decision"},
	"github.com/BurntSushi/toml":         {"configs", "nobody else knows the file's form"},
	"golang.org/x/oauth2":                {"auth", "its client, retries and errors need taming in one place"},
	"github.com/go-jose/go-jose/v4":      {"auth", "what is signed, and by which algorithm, is one decision"},
	"github.com/aws/aws-sdk-go-v2":       {"auth", "what is signed, and by which algorithm, is one decision"},
	"github.com/hashicorp/vault/api":     {"vault", "its errors and retries need taming in one place"},
	"github.com/sony/gobreaker":          {"vault", "when Vault counts as away is one decision"},
	"github.com/elazarl/goproxy":         {"proxy", "it answers CONNECT and no more"},
	"golang.org/x/time/rate":             {"proxy", "limits are a stage of the request's path"},
	"software.sslmate.com/src/go-pkcs12": {"proxy", "the CA's truststore is its only use"},
	"github.com/jackc/pgx/v5":            {"checker", "a database is logged in to, and only to check its credential"},
	"github.com/go-sql-driver/mysql":     {"checker", "a database is logged in to, and only to check its credential"},
	"github.com/jlaffaye/ftp":            {"checker", "an FTP server is logged in to, and only to check its credential"},
	"github.com/getkin/kin-openapi":      {"configs", "what an API's description becomes is an entry of the configuration"},
	"github.com/oasdiff/yaml":            {"configs", "the one form of YAML that is read is an API's description"},
	"github.com/spf13/cobra":             {"cmd/sallyport", "rooms know no command line"},
	"os/signal":                          {"cmd/sallyport", "rooms are told to stop by their context"},
	"github.com/rogpeppe/go-internal":    {"cmd/sallyport", "transcripts are of commands"},
}

type pkg struct {
	ImportPath                         string
	Imports, TestImports, XTestImports []string
}

func (p pkg) name() string { return strings.TrimPrefix(p.ImportPath, module) }

func list(t *testing.T) []pkg {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports,TestImports,XTestImports", module+"...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []pkg
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// allowed gives what package name may import of ours, and whether it has a place at all.
func allowed(name string) (may []string, known bool) {
	if i := slices.Index(ground, name); i >= 0 {
		return ground[:i], true
	}
	if slices.Contains(testRooms, name) {
		return slices.Concat(ground, testRooms), true
	}
	extra, known := rooms[name]
	return slices.Concat(ground, extra), known
}

func TestFloors(t *testing.T) {
	for _, p := range list(t) {
		name := p.name()
		if name == "cmd/sallyport" {
			continue
		}
		may, known := allowed(name)
		if !known {
			t.Errorf("%s has no floor: give it one in ARCHITECTURE.md and here", name)
			continue
		}
		for _, bad := range ours(p.Imports, may) {
			t.Errorf("%s imports %s: no arrow goes sideways or up", name, bad)
		}
		for _, bad := range ours(slices.Concat(p.TestImports, p.XTestImports), slices.Concat(may, testRooms, []string{name})) {
			t.Errorf("%s's tests import %s: what ties rooms together is tested in cmd/sallyport or internal/e2e", name, bad)
		}
	}
}

// ours gives the imports of this module that are not in may.
func ours(imports, may []string) (bad []string) {
	for _, path := range imports {
		if name, ok := strings.CutPrefix(path, module); ok && !slices.Contains(may, name) {
			bad = append(bad, name)
		}
	}
	return bad
}

func TestOnlyTestsImportTestRooms(t *testing.T) {
	for _, p := range list(t) {
		if slices.Contains(testRooms, p.name()) {
			continue
		}
		for _, path := range p.Imports {
			if name := strings.TrimPrefix(path, module); slices.Contains(testRooms, name) {
				t.Errorf("%s imports %s, which is for tests", p.name(), name)
			}
		}
	}
}

func TestOneLibraryOneRoom(t *testing.T) {
	for _, p := range list(t) {
		for _, path := range p.Imports {
			for lib, h := range homes {
				if path != lib && !strings.HasPrefix(path, lib+"/") || p.name() == h.home {
					continue
				}
				t.Errorf("%s imports %s, whose only home is %s: %s", p.name(), path, h.home, h.why)
			}
		}
	}
}

// GP-19: older versions panic on an HTTP/2 frame (GO-2026-4559), or route by the inner Host.
func TestPinnedVersions(t *testing.T) {
	for lib, least := range map[string][3]int{
		"golang.org/x/net":           {0, 56, 0},
		"github.com/elazarl/goproxy": {1, 9, 2},
	} {
		out, err := exec.Command("go", "list", "-m", "-f", "{{.Version}}", lib).Output()
		if err != nil {
			t.Fatalf("go list -m %s: %v", lib, err)
		}
		var v [3]int
		if _, err := fmt.Sscanf(string(out), "v%d.%d.%d", &v[0], &v[1], &v[2]); err != nil {
			t.Fatalf("GP-19: version %q of %s: %v", out, lib, err)
		}
		if slices.Compare(v[:], least[:]) < 0 {
			t.Errorf("GP-19: %s is %v, must be at least %v", lib, v, least)
		}
	}
}
