package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/seal"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/testserver"
)

// 10,000 credentials in one workspace and environment: most in one provider's folder, the rest over many.
const (
	manyAPI     = 8000
	manyFolders = 80
	manyEach    = 25
	many        = manyAPI + manyFolders*manyEach
)

// manyNames are their names as PROVIDER/NAME; api has a default.
func manyNames() []string {
	names := []string{"api/default"}
	for i := 1; i < manyAPI; i++ {
		names = append(names, fmt.Sprintf("api/n%05d", i))
	}
	for f := range manyFolders {
		for i := range manyEach {
			names = append(names, fmt.Sprintf("p%02d/n%02d", f, i))
		}
	}
	return names
}

func manyToken(name string) string { return canary + "-" + strings.ReplaceAll(name, "/", "-") }

// manyProviders are the providers of the folders besides api's.
func manyProviders() string {
	var b strings.Builder
	for f := range manyFolders {
		fmt.Fprintf(&b, "[[provider]]\nname = \"p%02[1]d\"\nhosts = [\"p%02[1]d.example\"]\nbase_url = \"https://p%02[1]d.example\"\ntype = \"bearer\"\n", f)
	}
	return b.String()
}

// Ten thousand credentials cost a request what one does; whoever lists them all waits a moment.
func TestTenThousandCredentials(t *testing.T) {
	t.Parallel()
	t.Run("vault", func(t *testing.T) {
		v := testserver.StartVault(t, testserver.VaultOptions{})
		manyInVault(t, v)
		w := prepareWorld(t)
		w.Daemon = testserver.Prepare(t, w.frame(open+`
[store]
backend = "vault"
[vault]
address = "`+v.Address+`"
[vault.auth]
method = "token"
`)+manyProviders(), "VAULT_TOKEN="+v.Token)
		w.Bin = testserver.StaticBinary(t)
		w.Serve(t)
		w.holdsMany(t, w.vaultCalls)
	})
	t.Run("file", func(t *testing.T) {
		w := prepareWorld(t)
		w.Daemon = testserver.Prepare(t, w.frame(open)+manyProviders())
		w.Bin = testserver.StaticBinary(t)
		w.Serve(t)
		manyInFiles(t, w.State)
		w.holdsMany(t, nil)
	})
}

// holdsMany measures a daemon that has served nothing yet. calls gives the readings and listings that its Vault
// answered; nil: it has none.
func (w *world) holdsMany(t *testing.T, calls func(*testing.T) (reads, lists int)) {
	t.Helper()
	spent := func(what string, reads, lists int) {
		t.Helper()
		if calls == nil {
			return
		}
		if r, l := calls(t); r != reads || l != lists {
			t.Errorf("%s: %d readings and %d listings of Vault by now, want %d and %d", what, r, l, reads, lists)
		}
	}
	spent("the start", 0, 0)
	client := w.Client(t)
	w.took(t, "the first request", func() { w.asks(t, client, "") })
	spent("the first request", 1, 1)
	w.took(t, "100 requests, each with another credential", func() {
		for i := range 100 {
			w.asks(t, client, fmt.Sprintf("n%05d", i+1))
		}
	})
	spent("100 other credentials", 101, 1)
	if status, body := w.Call(t, http.MethodGet, "/api/v1/decision?caller=default&method=GET&url=https://elsewhere.example/", nil); status != http.StatusOK || !strings.Contains(body, `"tunnel"`) {
		t.Errorf("a host that nobody owns: status %d: %s", status, body)
	}
	spent("a host that nobody owns", 101, 2)
	w.took(t, "counting all", func() {
		if status, body := w.Call(t, http.MethodGet, "/api/v1/providers", nil); status != http.StatusOK || !strings.Contains(body, strconv.Itoa(manyAPI)) {
			t.Errorf("GET providers: status %d: %.200s", status, body)
		}
	})
	w.memory(t)
	w.took(t, "sallyport credential list", func() { w.listsMany(t) })
	w.memory(t)
}

// asks sends a request with a credential of the provider api.
func (w *world) asks(t *testing.T, client *http.Client, name string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+w.api.Addr+"/x", nil)
	if err != nil {
		t.Fatal(err)
	}
	want := "api/default"
	if name != "" {
		want = "api/" + name
		req.Header.Set("Sallyport-Credential", name)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if got := w.api.One(t).Header.Get("Authorization"); resp.StatusCode != http.StatusOK || got != "Bearer "+manyToken(want) {
		t.Errorf("%s: status %d, the upstream got %q", want, resp.StatusCode, got)
	}
}

// listsMany lists them all: each credential once, in order, none with a value.
func (w *world) listsMany(t *testing.T) {
	t.Helper()
	out, errs, exit := w.Run(t, "credential", "list", "--json")
	var items []struct{ Provider, Name, Type string }
	if err := json.Unmarshal([]byte(out), &items); err != nil || exit != 0 {
		t.Fatalf("credential list: exit %d %s, %v", exit, errs, err)
	}
	var got []string
	for _, c := range items {
		if got = append(got, c.Provider+"/"+c.Name); c.Type != "bearer" {
			t.Fatalf("%s has type %q", got[len(got)-1], c.Type)
		}
	}
	if want := manyNames(); !slices.Equal(got, want) {
		t.Errorf("%d credentials are listed, want these %d in order", len(got), len(want))
	}
	if strings.Contains(out, canary) {
		t.Error("LK-01: the list holds a secret")
	}
}

// took measures f and holds it to a bound that only something broken exceeds.
func (w *world) took(t *testing.T, what string, f func()) {
	t.Helper()
	start := time.Now()
	f()
	d := time.Since(start)
	t.Logf("%s: %v", what, d.Round(time.Millisecond))
	if d > patience {
		t.Errorf("%s took %v", what, d)
	}
}

// memory holds what the daemon keeps to its bound. The collector runs when the heap is five times that.
func (w *world) memory(t *testing.T) {
	t.Helper()
	value := func(name string) float64 {
		v, err := strconv.ParseFloat(w.metric(t, name), 64)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return v / (1 << 20)
	}
	live, resident := value("go_memstats_next_gc_bytes")/5, value("process_resident_memory_bytes")
	t.Logf("memory: %.1f MiB are in use, %.1f MiB resident", live, resident)
	if live > 64 {
		t.Errorf("%.1f MiB are in use", live)
	}
}

// vaultCalls counts the calls that read a secret, and those that list a folder.
func (w *world) vaultCalls(t *testing.T) (reads, lists int) {
	t.Helper()
	for line := range strings.Lines(w.vaultRequests(t)) {
		_, value, _ := strings.Cut(strings.TrimSpace(line), "} ")
		n, err := strconv.Atoi(value)
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if strings.Contains(line, `"list"`) {
			lists += n
		} else {
			reads += n
		}
	}
	return reads, lists
}

func manyInVault(t *testing.T, v *testserver.Vault) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}, Timeout: time.Minute}
	defer client.CloseIdleConnections()
	var g errgroup.Group
	g.SetLimit(16)
	for _, name := range manyNames() {
		g.Go(func() error {
			body, err := json.Marshal(map[string]any{"data": map[string]string{"type": "bearer", "token": manyToken(name)}})
			if err != nil {
				return err
			}
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, v.Address+"/v1/secret/data/sallyport/credentials/default/production/"+name, bytes.NewReader(body))
			if err != nil {
				return err
			}
			req.Header.Set("X-Vault-Token", v.Token)
			resp, err := client.Do(req)
			if err == nil {
				err = resp.Body.Close()
			}
			if err == nil && resp.StatusCode != http.StatusOK {
				err = fmt.Errorf("%s: status %d", name, resp.StatusCode)
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
}

// manyInFiles writes the records as the file store does, but for the sync of each.
func manyInFiles(t *testing.T, state string) {
	t.Helper()
	s, _, err := seal.Load(filepath.Join(state, "store.key"))
	if err != nil {
		t.Fatal(err)
	}
	var g errgroup.Group
	g.SetLimit(2)
	for _, name := range manyNames() {
		g.Go(func() error {
			ref, err := credential.ParseRef(name)
			if err != nil {
				return err
			}
			c := &credential.Credential{Ref: ref, Type: "bearer"}
			c.Set("token", secret.New(manyToken(name)))
			record, err := credential.Encode(c)
			if err != nil {
				return err
			}
			plain, err := json.Marshal(map[string]any{"credential": ref.String(), "version": 1, "record": json.RawMessage(record)})
			if err != nil {
				return err
			}
			data, err := s.Seal(plain)
			if err != nil {
				return err
			}
			path := filepath.Join(state, "credentials", ref.String()+".age")
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				return err
			}
			return os.WriteFile(path, data, 0o600)
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
}
