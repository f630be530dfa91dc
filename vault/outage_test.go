package vault

import (
	"fmt"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/testserver"
)

// far is a real Vault behind toxiproxy.
func far(t *testing.T) (*testserver.Vault, *testserver.Toxiproxy, VaultOptions) {
	t.Helper()
	server := testserver.StartVault(t, testserver.VaultOptions{})
	u, err := url.Parse(server.Address)
	if err != nil {
		t.Fatal(err)
	}
	between := testserver.StartToxiproxy(t, u.Host)
	o := rootOptions(server)
	o.Address = "http://" + between.Addr
	return server, between, o
}

// real counts all calls that were made.
func (r *running) real(t *testing.T) int {
	t.Helper()
	all, err := r.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	n := 0.
	for _, family := range all {
		if family.GetName() != "sallyport_vault_requests_total" {
			continue
		}
		for _, m := range family.GetMetric() {
			n += m.GetCounter().GetValue()
		}
	}
	return int(n)
}

// FM-01: a Vault that is not there at start is logged in to when it comes; until then every call fails at once.
func TestVaultComesLate(t *testing.T) {
	t.Parallel()
	_, between, o := far(t)
	between.Down(t)
	v := runVault(t, o)
	wantCode(t, "FM-01: Ready", v.Ready(t.Context()), fault.VaultUnreachable)
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		began := time.Now()
		_, err := v.Get(t.Context(), newCredential(t, "crm").Ref)
		wantCode(t, "FM-01: Get before there is a Vault", err, fault.VaultUnreachable)
		if took := time.Since(began); took >= callLimit {
			t.Errorf("FM-01: it took %v", took)
		}
	}
	if n := v.real(t); n < 2 || n > 8 {
		t.Errorf("FM-01: %d calls in 5 s, want logins with backoff", n)
	}
	between.Up(t)
	began := time.Now()
	eventually(t, "FM-01: logged in", patience, func() bool { return v.Status().LoggedIn })
	t.Logf("FM-01: logged in after %v", time.Since(began).Round(time.Millisecond))
	c := newCredential(t, "crm", "token", "1")
	mustPut(t, v.Vault, c)
}

// FM-05: with 30 s to every answer no request waits longer than 2 s, and soon none waits at all; when Vault is quick
// again it is used again within moments.
func TestVaultLatency(t *testing.T) {
	t.Parallel()
	_, between, o := far(t)
	v := loggedIn(t, o)
	c := newCredential(t, "crm", "token", "1")
	mustPut(t, v.Vault, c)
	between.Slow(t, 30*time.Second)
	open := false
	for range 12 {
		began := time.Now()
		_, err := v.Get(t.Context(), c.Ref)
		took := time.Since(began)
		wantCode(t, "FM-05: Get", err, fault.VaultUnreachable)
		if took > callLimit+slack {
			t.Errorf("FM-05: a request waited %v", took)
		}
		if open = took < callLimit/4; open {
			break
		}
	}
	if !open || v.Status().Up || testutil.ToFloat64(v.metrics.up) != 0 {
		t.Errorf("FM-05: requests go on waiting; Status = %+v", v.Status())
	}
	between.Up(t)
	began := time.Now()
	eventually(t, "FM-05: read again", callLimit+2*healGap+slack, func() bool {
		_, err := v.Get(t.Context(), c.Ref)
		return err == nil
	})
	t.Logf("FM-05: read again after %v", time.Since(began).Round(time.Millisecond))
}

// FM-08: a Vault that is away half of the time is asked once a second while it is, and used at once when it is not.
func TestVaultFlaps(t *testing.T) {
	t.Parallel()
	_, between, o := far(t)
	v := loggedIn(t, o)
	c := newCredential(t, "crm", "token", "1")
	mustPut(t, v.Vault, c)
	get := func() error { _, err := v.Get(t.Context(), c.Ref); return err }
	for round := range 3 {
		between.Down(t)
		eventually(t, "FM-08: the circuit is open", patience, func() bool { _ = get(); return !v.circuit.closed() })
		before, began := v.real(t), time.Now()
		for time.Since(began) < 3*time.Second {
			if err := get(); err == nil {
				t.Fatal("FM-08: a Vault that is down answered")
			}
			time.Sleep(time.Millisecond)
		}
		if n, took := v.real(t)-before, time.Since(began); n > int(took/healGap)+1 {
			t.Errorf("FM-08: round %d: %d calls in %v, want one a second", round, n, took)
		}
		between.Up(t)
		began = time.Now()
		eventually(t, "FM-08: read again", patience, func() bool { return get() == nil })
		t.Logf("FM-08: round %d: read again after %v", round, time.Since(began).Round(time.Millisecond))
		for began = time.Now(); time.Since(began) < time.Second; time.Sleep(10 * time.Millisecond) {
			if err := get(); err != nil {
				t.Fatalf("FM-08: round %d: %v while Vault is up", round, err)
			}
		}
	}
}

// FM-02: a sealed Vault is told from one that is away, costs no waiting either, and is used as soon as it is unsealed.
func TestVaultSealedBehindCircuit(t *testing.T) {
	t.Parallel()
	server, _, o := far(t)
	v := loggedIn(t, o)
	c := newCredential(t, "crm", "token", "1")
	mustPut(t, v.Vault, c)
	server.Seal(t)
	eventually(t, "FM-02: the circuit is open", patience, func() bool {
		_, err := v.Get(t.Context(), c.Ref)
		wantCode(t, "FM-02: Get", err, fault.VaultSealed)
		return !v.circuit.closed()
	})
	before := v.calls(opRead, "vault_sealed")
	for range 100 {
		_, err := v.Get(t.Context(), c.Ref)
		wantCode(t, "FM-02: Get behind the open circuit", err, fault.VaultSealed)
	}
	if n := v.calls(opRead, "vault_sealed"); n != before {
		t.Errorf("FM-02: a sealed Vault was read %d times", n-before)
	}
	server.Unseal(t, server.UnsealKey)
	eventually(t, "FM-02: read again", patience, func() bool {
		_, err := v.Get(t.Context(), c.Ref)
		return err == nil
	})
}

// VA-02: the answer to a write is lost after the write has landed: it is read back and told as the success it was.
func TestVaultLostAnswer(t *testing.T) {
	t.Parallel()
	server, between, o := far(t)
	v := loggedIn(t, o)
	const folder = "secret/data/sallyport/credentials/default/production/crm/"

	t.Run("silence, then a closed connection", func(t *testing.T) {
		c := newCredential(t, "crm/silent", "token", "landed")
		mustPut(t, v.Vault, newCredential(t, "crm/other", "token", "1"))
		between.Lose(t)
		answer := make(chan error, 1)
		go func() { answer <- v.Put(t.Context(), c) }()
		eventually(t, "VA-02: the write has landed", patience, func() bool { return exists(t, server, folder+"silent") })
		select {
		case err := <-answer:
			t.Fatalf("VA-02: Put ended before its answer was lost: %v", err)
		default:
		}
		between.Up(t)
		if err := <-answer; err != nil || c.Version != 1 {
			t.Errorf("VA-02: Put: %v, version %d; want success, 1", err, c.Version)
		}
	})
	t.Run("cut in the middle of the answer", func(t *testing.T) {
		c := newCredential(t, "crm/cut", "token", "first!")
		mustPut(t, v.Vault, c)
		c.Set("token", secret.New("landed"))
		// What a reading takes fits; the answer to the write that follows on the same connection is cut off.
		between.Add(t, testserver.Toxic{Type: "limit_data", Attributes: map[string]int{"bytes": answerSize(t, server, folder+"cut") + 60}})
		err := v.Put(t.Context(), c)
		between.Up(t)
		if err != nil || c.Version != 2 {
			t.Errorf("VA-02: Put: %v, version %d; want success, 2", err, c.Version)
		}
		if got := stored(t, server, folder+"cut")["token"]; got != "landed" {
			t.Errorf("VA-02: the record holds %v", got)
		}
		if n := v.calls(opWrite, "vault_unreachable"); n == 0 {
			t.Error("VA-02: no write lost its answer")
		}
	})
	t.Run("nothing can be read back", func(t *testing.T) {
		c := newCredential(t, "crm/unknown", "token", "1")
		between.Lose(t)
		began := time.Now()
		wantCode(t, "VA-02: Put", v.Put(t.Context(), c), fault.VaultUnreachable)
		if took := time.Since(began); took > 2*callLimit+slack {
			t.Errorf("VA-02: it took %v", took)
		}
		between.Up(t)
		eventually(t, "written again", 2*callLimit+healGap+slack, func() bool {
			err := v.Put(t.Context(), c) // the first one has landed: whoever tries again is told
			return fault.From(err).Code == fault.StoreConflict
		})
	})
}

func exists(t *testing.T, server *testserver.Vault, path string) bool {
	t.Helper()
	list := server.Do(t, "LIST", strings.TrimSuffix(strings.Replace(path, "/data/", "/metadata/", 1), path[strings.LastIndex(path, "/")+1:]), nil)
	return strings.Contains(fmt.Sprint(list["data"]), path[strings.LastIndex(path, "/")+1:])
}

// answerSize is how many bytes Vault's answer to a reading of path has on the wire.
func answerSize(t *testing.T, server *testserver.Vault, path string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.Address+"/v1/"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Vault-Token", server.Token)
	client := &http.Client{Transport: &http.Transport{DisableCompression: true}}
	defer client.CloseIdleConnections()
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	dump, err := httputil.DumpResponse(resp, true)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: status %d %v", path, resp.StatusCode, err)
	}
	return len(dump)
}
