package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/testserver"
)

// shop is one store with its configuration, and the commands that work on it.
type shop struct {
	dir, config string
	told        *strings.Builder // all that every shop's commands have printed
}

func newShop(t *testing.T, told *strings.Builder, config string) *shop {
	t.Helper()
	dir := t.TempDir()
	s := &shop{dir, filepath.Join(dir, "sallyport.toml"), told}
	if err := os.WriteFile(s.config, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return s
}

func vaultShop(t *testing.T, told *strings.Builder, v *testserver.Vault, mount, token string) *shop {
	t.Helper()
	s := newShop(t, told, "")
	path := filepath.Join(s.dir, "token")
	if err := os.WriteFile(path, []byte(token), 0o600); err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf("[store]\nbackend = \"vault\"\n[vault]\naddress = %q\nmount = %q\n[vault.auth]\ntoken_file = %q\n", v.Address, mount, path)
	if err := os.WriteFile(s.config, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *shop) run(t *testing.T, args ...string) (printed string, code int) {
	t.Helper()
	var b bytes.Buffer
	args = append([]string{"--config", s.config, "--state-dir", filepath.Join(s.dir, "state")}, args...)
	code = report(&b, run(t.Context(), args, strings.NewReader(""), &b, &b))
	s.told.Write(b.Bytes())
	return b.String(), code
}

func (s *shop) must(t *testing.T, want string, args ...string) {
	t.Helper()
	if got, code := s.run(t, args...); code != 0 || !strings.Contains(got, want) {
		t.Fatalf("%s: code %d, %s", args[0], code, got)
	}
}

// open gives the store itself, as the commands open it.
func (s *shop) open(t *testing.T) credential.Store {
	t.Helper()
	c, _ := quietCLI()
	c.configPath, c.stateDirFlag = s.config, filepath.Join(s.dir, "state")
	store, _, done, err := c.openStoreDirect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = done() })
	return store
}

// all reads every record of the store.
func (s *shop) all(t *testing.T) map[credential.Ref]*credential.Credential {
	t.Helper()
	store := s.open(t)
	refs, failed, err := everyRef(t.Context(), store)
	if err != nil || len(failed) > 0 {
		t.Fatalf("%v, %v", failed, err)
	}
	m := map[credential.Ref]*credential.Credential{}
	for _, ref := range refs {
		if m[ref], err = store.Get(t.Context(), ref); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

// recipient is the public key of the identity that identityFile writes.
const recipient = "age1xcdgnrlh7wezcmxdcmjl06562wx7z4x98k2sfcm54twre2n8velsq3xecl"

func identityFile(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path, []byte("AGE-SECRET-KEY-133JN0LAC7P9HM2CWEMDMTMY9UPZXY5S9USMNMEQDGP50YM4V633QFGEFC5\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// oddRecords are records with all that a store may hold.
var oddRecords = map[string]string{
	"default/production/github/default": `{"type":"bearer","token":"` + exportCanary + `"}`,
	"acme/production/crm/main":          `{"type":"basic","description":"pä <b> \u0007\n2","username":"u","password":"` + exportCanary + ` \"\\/\u2028x\ty"}`,
	"acme/production/crm/key":           `{"type":"oauth2_jwt_bearer","private_key":"-----BEGIN X-----\n` + exportCanary + `\n-----END X-----","issuer":"i","subject":"s"}`,
	"acme/staging/crm/main": `{"type":"oauth2_refresh_token","refresh_token":"` + exportCanary + `","access_token":"a","expires_in":3600,"expires_at":"2025-03-04T05:06:07Z",
		"sallyport_state":"{\"refreshed\":[1,2.50,{\"x\":\"<&>\"}],\"a\":12345678901234567890}"}`,
	"b.c-d_e/production/x/others": `{"type":"api_key","api_key":"` + exportCanary + `","port":5432,"exact":1.5,"live":true,"off":false,
		"nothing":null,"empty":"","tags":[],"owner":{"team":["a",{"b":null,"html":"<&>"}],"n":-0.10}}`,
	"b.c-d_e/production/x/no-type": `{"anything":"` + exportCanary + `"}`,
	"b.c-d_e/production/x/none":    `{}`,
	"b.c-d_e/production/x/large":   `{"type":"bearer","token":"` + exportCanary + strings.Repeat("x", 200_000) + `"}`,
}

// Records go from files to KV version 2, to version 1 and back to files, and are
// the same everywhere.
func TestExportAndImportBetweenBackends(t *testing.T) {
	v := testserver.StartVault(t, testserver.VaultOptions{})
	v.Do(t, "POST", "sys/mounts/old", map[string]any{"type": "kv", "options": map[string]string{"version": "1"}})
	var told strings.Builder
	shops := []*shop{
		newShop(t, &told, ""), vaultShop(t, &told, v, "secret", v.Token), vaultShop(t, &told, v, "old", v.Token), newShop(t, &told, ""),
	}
	key := identityFile(t)
	want := stock(t, shops[0].open(t))
	for i, to := range shops[1:] {
		path := filepath.Join(to.dir, "export.age")
		shops[i].must(t, fmt.Sprintf("exported %d credentials", len(oddRecords)), "export", path, "--recipient", recipient)
		to.must(t, fmt.Sprintf("imported %d credentials, 0 overwritten, 0 unchanged", len(oddRecords)), "import", path, "--identity", key)
		sameRecords(t, to.all(t), want)
		to.must(t, fmt.Sprintf("imported 0 credentials, 0 overwritten, %d unchanged", len(oddRecords)), "import", path, "--identity", key)
	}
	var number struct {
		Data struct{ Data map[string]json.RawMessage }
	}
	b, err := json.Marshal(v.Do(t, "GET", "secret/data/sallyport/credentials/b.c-d_e/production/x/others", nil))
	if err != nil || json.Unmarshal(b, &number) != nil || string(number.Data.Data["port"]) != "5432" {
		t.Errorf("in Vault the port is %s, want a number", number.Data.Data["port"])
	}
	if strings.Contains(told.String(), exportCanary) {
		t.Error("a command printed a secret")
	}
	for _, s := range shops {
		noCanary(t, s.dir)
	}
}

// stock puts oddRecords into a store and gives them as it reads them.
func stock(t *testing.T, s credential.Store) map[credential.Ref]*credential.Credential {
	t.Helper()
	m := map[credential.Ref]*credential.Credential{}
	for name, data := range oddRecords {
		c := decoded(t, name, data)
		err := s.Put(t.Context(), c)
		if err == nil {
			m[c.Ref], err = s.Get(t.Context(), c.Ref)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return m
}

// sameRecords compares record by record: the fields, and every scalar of others
// as it is written.
func sameRecords(t *testing.T, got, want map[credential.Ref]*credential.Credential) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%d records, want %d", len(got), len(want))
	}
	for ref, w := range want {
		g := got[ref]
		if g == nil {
			t.Errorf("%s is missing", ref)
			continue
		}
		if !g.Equal(w) || g.Type != w.Type || g.Description != w.Description || fmt.Sprint(g.Names()) != fmt.Sprint(w.Names()) {
			t.Errorf("%s has changed", ref)
		}
		for k, raw := range w.Rest {
			if raw[0] != '{' && !bytes.Equal(g.Rest[k], raw) {
				t.Errorf("%s: %s is %s, want %s", ref, k, g.Rest[k], raw)
			}
		}
	}
}

// noCanary looks for a secret in clear in all files below dir.
func noCanary(t *testing.T, dir string) {
	t.Helper()
	n := 0
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		n++
		b, err := os.ReadFile(path)
		if bytes.Contains(b, []byte(exportCanary)) {
			t.Errorf("%s holds a secret in clear", path)
		}
		if strings.HasPrefix(d.Name(), ".tmp-") {
			t.Errorf("%s was left behind", path)
		}
		return err
	})
	if err != nil || n == 0 {
		t.Errorf("%d files, %v", n, err)
	}
}

// Numbers of others that KV version 2 changes are told, and left alone the next
// time; those that would make a record unreadable are refused.
func TestImportOfNumbersIntoVault(t *testing.T) {
	v := testserver.StartVault(t, testserver.VaultOptions{})
	var told strings.Builder
	to, key := vaultShop(t, &told, v, "secret", v.Token), identityFile(t)
	path := filepath.Join(t.TempDir(), "export.age")
	archive(t, path, []*credential.Credential{decoded(t, "crm", `{"type":"bearer","token":"x","big":[12345678901234567890],"exact":1.50}`)})
	to.must(t, "default/production/crm/default: KV version 2 of Vault rounds numbers to double precision: big\n", "import", path, "--identity", key)
	to.must(t, "imported 0 credentials, 0 overwritten, 1 unchanged", "import", path, "--identity", key)

	archive(t, path, []*credential.Credential{decoded(t, "a/b/c/d", `{"token":"x","n":1}`), decoded(t, "crm", `{"token":"x","far":1e400}`)})
	got, code := to.run(t, "import", path, "--identity", key, "--overwrite")
	if code != 1 || !strings.Contains(got, "1 of 2 credentials hold numbers that Vault cannot keep; nothing was written\n  default/production/crm/default: far\n") {
		t.Errorf("code %d, %s", code, got)
	}
	if n := len(to.all(t)); n != 1 {
		t.Errorf("%d records are there", n)
	}
}

// A store whose key Vault wraps is opened with it; what the configuration only
// refers to is left out, and told.
func TestExportOfWrappedStore(t *testing.T) {
	v := testserver.StartVault(t, testserver.VaultOptions{})
	v.Do(t, "POST", "sys/mounts/transit", map[string]any{"type": "transit"})
	v.Do(t, "POST", "transit/keys/sidecar", map[string]any{})
	v.Do(t, "POST", "secret/data/team/crm", map[string]any{"data": map[string]any{"token": exportCanary}})
	var told strings.Builder
	to, key, path := vaultShop(t, &told, v, "secret", v.Token), identityFile(t), filepath.Join(t.TempDir(), "export.age")
	config, err := os.ReadFile(to.config)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(string(config), `backend = "vault"`, `key = "transit:sidecar"`, 1) +
		"[[provider]]\nname = \"crm\"\nhosts = [\"crm.example\"]\nbase_url = \"https://crm.example\"\ntype = \"bearer\"\n" +
		"[[credential]]\nworkspace = \"acme\"\nenvironment = \"production\"\nprovider = \"crm\"\nname = \"legacy\"\ntype = \"bearer\"\npath = \"secret/team/crm\"\n"
	if err := os.WriteFile(to.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	archive(t, path, append(many(3), decoded(t, "acme/production/crm/legacy", `{"token":"x"}`)))
	to.must(t, "acme/production/crm/legacy is stored, but [[credential]] of the configuration hides it", "import", path, "--identity", key)
	to.must(t, "", "credential", "rm", "w0/production/p0/n0", "--force")
	to.must(t, "left out, since the configuration only refers to them: acme/production/crm/legacy\n", "export", path, "--recipient", recipient)
	to.must(t, "imported 0 credentials, 0 overwritten, 3 unchanged", "import", path, "--identity", key)
	if strings.Contains(told.String(), exportCanary) {
		t.Error("a command printed a secret")
	}
	noCanary(t, to.dir)
}

func decoded(t *testing.T, name, data string) *credential.Credential {
	t.Helper()
	ref, err := credential.ParseRef(name)
	if err != nil {
		t.Fatal(err)
	}
	c, _, err := credential.Decode(ref, 0, []byte(data))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// What a policy hides, and what is deleted, is never left out in silence.
func TestExportTellsWhatVaultHides(t *testing.T) {
	v := testserver.StartVault(t, testserver.VaultOptions{})
	var told strings.Builder
	root := vaultShop(t, &told, v, "secret", v.Token)
	store := root.open(t)
	stock(t, store)
	key := identityFile(t)
	const base = "secret/metadata/sallyport/credentials/"
	read := "path \"secret/data/sallyport/credentials/*\" { capabilities = [\"create\", \"read\", \"update\"] }\npath \"" + base + "*\" { capabilities = [\"list\"] }\npath \"secret/metadata/sallyport/credentials\" { capabilities = [\"list\"] }\n"
	v.Policy(t, "no-record", read+"path \"secret/data/sallyport/credentials/acme/production/crm/main\" { capabilities = [\"deny\"] }")
	v.Policy(t, "no-folder", read+"path \""+base+"acme/staging\" { capabilities = [\"deny\"] }\npath \""+base+"acme/staging/\" { capabilities = [\"deny\"] }")
	path := filepath.Join(t.TempDir(), "export.age")
	for policy, want := range map[string]string{
		"no-record": "1 of 8 credentials cannot be read; nothing was written\n  acme/production/crm/main: ",
		"no-folder": "folders of the store that cannot be listed: 1; nothing was written\n  acme/staging/",
	} {
		s := vaultShop(t, &told, v, "secret", v.NewToken(t, map[string]any{"policies": []string{policy}}))
		got, code := s.run(t, "export", path, "--recipient", recipient)
		if code != 1 || !strings.Contains(got, want) || !strings.Contains(got, "(vault_denied)") {
			t.Errorf("%s: code %d, %s", policy, code, got)
		}
		if _, err := os.Stat(path); err == nil {
			t.Errorf("%s: something was written", policy)
		}
	}
	// one that lies there deleted, as vault kv delete leaves it
	v.Do(t, "DELETE", "secret/data/sallyport/credentials/default/production/github/default", nil)
	root.must(t, "exported 7 credentials", "export", path, "--recipient", recipient)
	if !strings.Contains(told.String(), "left out, since they were deleted: default/production/github/default\n") {
		t.Errorf("the deleted one is not told: %s", told.String())
	}
	importPartly(t, v, root, path, key)
	if strings.Contains(told.String(), exportCanary) {
		t.Error("a command printed a secret")
	}
}

// importPartly imports where one path is denied, and again where it is not.
func importPartly(t *testing.T, v *testserver.Vault, root *shop, path, key string) {
	t.Helper()
	const base = "path \"secret/data/sallyport/credentials/"
	v.Policy(t, "no-write", base+"*\" { capabilities = [\"create\", \"read\", \"update\"] }\n"+base+"acme/staging/*\" { capabilities = [\"read\"] }")
	v.Do(t, "DELETE", "secret/metadata/sallyport/credentials/acme/staging/crm/main", nil)
	v.Do(t, "DELETE", "secret/metadata/sallyport/credentials/acme/production/crm/key", nil)
	s := vaultShop(t, root.told, v, "secret", v.NewToken(t, map[string]any{"policies": []string{"no-write"}}))
	got, code := s.run(t, "import", path, "--identity", key)
	for _, want := range []string{
		"written acme/production/crm/key\n", "imported 1 credential, 0 overwritten, 5 unchanged",
		"1 of 2 credentials were not written\n  acme/staging/crm/main: ", "(vault_denied)", "try: run the same import again",
	} {
		if code != 1 || !strings.Contains(got, want) {
			t.Errorf("code %d, %q is not in: %s", code, want, got)
		}
	}
	root.must(t, "imported 1 credential, 0 overwritten, 6 unchanged", "import", path, "--identity", key)
}

// A large store takes seconds, not minutes; Vault that goes away ends it at once.
func TestExportOfManyFromVault(t *testing.T) {
	v := testserver.StartVault(t, testserver.VaultOptions{})
	var told strings.Builder
	from, to := newShop(t, &told, ""), vaultShop(t, &told, v, "secret", v.Token)
	key := identityFile(t)
	const n = 1000
	path := filepath.Join(t.TempDir(), "export.age")
	archive(t, path, many(n))
	began := time.Now()
	to.must(t, fmt.Sprintf("imported %d credentials", n), "import", path, "--identity", key)
	written := time.Since(began)
	began = time.Now()
	to.must(t, fmt.Sprintf("exported %d credentials", n), "export", path, "--recipient", recipient)
	t.Logf("%d records: written in %v, read in %v", n, written, time.Since(began))
	if took := time.Since(began); took > time.Minute {
		t.Errorf("reading %d records took %v", n, took)
	}
	v.Stop()
	began = time.Now()
	got, code := to.run(t, "export", path, "--recipient", recipient)
	if code != 1 || !strings.Contains(got, "(vault_unreachable)") || time.Since(began) > time.Minute {
		t.Errorf("without Vault: code %d after %v: %s", code, time.Since(began), got)
	}
	from.must(t, fmt.Sprintf("imported %d credentials", n), "import", path, "--identity", key) // the old one stands
}

// archive writes records to path without a store.
func archive(t *testing.T, path string, records []*credential.Credential) {
	t.Helper()
	c, _ := quietCLI()
	lock, err := c.exportLock(context.Background(), &exportFlags{recipients: []string{recipient}})
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := encrypt(&b, lock, records); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}
