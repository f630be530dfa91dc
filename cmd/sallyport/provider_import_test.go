package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/sallyport/sallyport/auth"
)

// importText is what provider import prints of a file.
func importText(t *testing.T, args ...string) string {
	t.Helper()
	var stdout, stderr strings.Builder
	if err := run(t.Context(), append([]string{"provider", "import"}, args...), strings.NewReader(""), &stdout, &stderr); err != nil {
		t.Fatalf("provider import %s: %v", args, err)
	}
	return stdout.String()
}

// The descriptions of real APIs become what their documentation says.
func TestProviderImportOfRealAPIs(t *testing.T) {
	module := func(path string) string {
		out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", path).Output()
		if err != nil {
			t.Fatalf("go list -m %s: %v", path, err)
		}
		return strings.TrimSpace(string(out))
	}
	kin := module("github.com/getkin/kin-openapi")
	for name, tc := range map[string]struct {
		args []string
		want []string
	}{
		"our own": {
			[]string{"--openapi", filepath.Join("..", "..", "admin", "openapi.json"), "--url", "https://sallyport.example", "--name", "sallyport"},
			[]string{`name = "sallyport"`, `hosts = ["sallyport.example"]`, `type = "bearer"`},
		},
		"Swagger's petstore": {
			[]string{"--openapi", filepath.Join(kin, "openapi2", "testdata", "swagger.json")},
			[]string{`name = "petstore"`, `base_url = "https://petstore.swagger.io/v2"`, `name = "api_key"`},
		},
		"Kubernetes'": {
			[]string{"--openapi", filepath.Join(kin, "openapi3", "testdata", "issue423.k8s.swagger.json"), "--url", "https://k8s.example"},
			[]string{`name = "kubernetes"`, `base_url = "https://k8s.example"`, `unverified = true`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := importText(t, tc.args...)
			for _, want := range tc.want {
				if !strings.Contains(got, want+"\n") {
					t.Errorf("%q is not in\n%s", want, got)
				}
			}
		})
	}
}

// The credential types of the admin API's description are those that there are.
func TestDescribedCredentialTypes(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "admin", "openapi.json"))
	if err != nil {
		t.Fatal(err)
	}
	var doc openapi3.T
	if err := json.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	var got, want []string
	for _, v := range doc.Components.Schemas["CredentialType"].Value.Enum {
		s, _ := v.(string)
		got = append(got, s)
	}
	for _, k := range auth.Kinds() {
		want = append(want, k.Name)
	}
	if !slices.Equal(got, want) {
		t.Errorf("openapi.json has the types %v, and there are %v", got, want)
	}
}
