package auth

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/secret"
)

// childDir names the folder of the parent in a process that a test starts of its
// own binary: the test of the same name then plays the child.
const childDir = "SALLYPORT_TEST_JOURNAL_DIR"

func child(t *testing.T, dir string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.count=1", "-test.timeout=60s", "-test.v")
	cmd.Env = append(os.Environ(), childDir+"="+dir)
	return cmd
}

// RT-08, RT-09: a full and a read-only disk. The disk is a small tmpfs that only a
// child process sees.
func TestRowFullDisk(t *testing.T) {
	if dir := os.Getenv(childDir); dir != "" {
		if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=256k,mode=0700"); err != nil {
			t.Fatal(err)
		}
		synctest.Test(t, func(t *testing.T) { testFullDisk(t, dir) })
		return
	}
	cmd := child(t, t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	out, err := cmd.CombinedOutput()
	if err != nil && (errors.Is(err, syscall.EPERM) || strings.Contains(string(out), "operation not permitted")) {
		t.Log("NO TMPFS MAY BE MOUNTED HERE (run the tests as root): only TestRowFileSizeLimit stands in for the full disk")
		return
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

func testFullDisk(t *testing.T, dir string) {
	server, store, reg := newRotating(), grantStore(), prometheus.NewRegistry()
	k := keep(t, dir, server, store, KeeperOptions{Required: true, Metrics: NewMetrics(reg)})
	k.want(t, "", "at-1")
	ballast := filepath.Join(dir, "ballast")
	fill := func() {
		if err := os.WriteFile(ballast, make([]byte, 1<<20), 0o600); !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
	}

	fill()
	k.refuses(t, "at-1", fault.Internal)
	k.want(t, "", "at-1") // it goes on being served
	k.refuses(t, "at-1", fault.Internal)
	if server.posts() != 1 || gauge(t, reg, "sallyport_journal_available") != 0 {
		t.Errorf("RT-08: %d posts on a full disk, journal_available %v", server.posts(), gauge(t, reg, "sallyport_journal_available"))
	}
	if log := k.log.String(); strings.Count(log, "the journal cannot be written\"") != 1 {
		t.Errorf("RT-08: it is to be told once:\n%s", log)
	}
	if cl, _ := claimOf(k.stored(t)); cl.State != "" || cl.Sent != 0 {
		t.Errorf("RT-08: the claim is %+v", cl)
	}
	empty(t, ballast)
	k.want(t, "at-1", "at-2")
	if gauge(t, reg, "sallyport_journal_available") != 1 {
		t.Error("RT-08: journal_available stays 0 when there is room again")
	}

	k.o.Reached = func(point string) {
		if point == "replied" {
			fill()
		}
	}
	k.want(t, "at-2", "at-3")
	if c := k.stored(t); c.Field("refresh_token").Reveal() != "rt-3" || gauge(t, reg, "sallyport_journal_available") != 0 {
		t.Errorf("RT-09: the store holds %v", c.Names())
	}
	if err := k.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	k.o.Reached = func(string) {}
	empty(t, ballast)
	k.want(t, "at-3", "at-4")

	if err := syscall.Mount("tmpfs", filepath.Join(dir, "journal"), "tmpfs", syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	k.refuses(t, "at-4", fault.Internal)
	k.want(t, "", "at-4")
	if server.posts() != 4 || server.reused != 0 {
		t.Errorf("RT-08: %d posts with a read-only disk, %d reuses", server.posts(), server.reused)
	}
	k.o.Required = false // as with Vault: the claim in the store is the intent
	k.want(t, "at-4", "at-5")
	if gauge(t, reg, "sallyport_journal_available") != 0 || server.reused != 0 {
		t.Errorf("RT-08: journal_available is 1 on a read-only disk, or %d reuses", server.reused)
	}
}

func empty(t *testing.T, ballast string) {
	t.Helper()
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
}

func gauge(t *testing.T, reg *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	t.Fatalf("there is no metric %s", name)
	return 0
}

// RT-08, RT-09: a limit on the size of files lets the intent through and not the
// answer, or neither.
func TestRowFileSizeLimit(t *testing.T) {
	dir := os.Getenv(childDir)
	if dir == "" {
		if out, err := child(t, t.TempDir()).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	synctest.Test(t, func(t *testing.T) { testFileSizeLimit(t, dir) })
}

func testFileSizeLimit(t *testing.T, dir string) {
	server := newRotating()
	pad := strings.Repeat("x", 4000)
	server.body = func(n int) (int, string) {
		return 200, fmt.Sprintf(`{"access_token":"at-%d","refresh_token":"rt-%d","expires_in":600,"pad":%q}`, n, n, pad)
	}
	k := keep(t, dir, server, grantStore(), KeeperOptions{Required: true})
	limit := func(n uint64) {
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: n, Max: syscall.RLIM_INFINITY & (1<<63 - 1)}); err != nil {
			t.Fatal(err)
		}
	}
	limit(2000)
	k.want(t, "", "at-1")
	if c := k.stored(t); c.Field("refresh_token").Reveal() != "rt-1" || !strings.Contains(k.log.String(), "the journal cannot be written") {
		t.Errorf("RT-09: the store holds %v; the log:\n%s", c.Names(), k.log)
	}
	if _, open := k.o.Journal.state(); open != 0 {
		t.Errorf("RT-09: %d entries are left in the journal", open)
	}
	limit(50)
	k.refuses(t, "at-1", fault.Internal)
	if server.posts() != 1 {
		t.Errorf("RT-08: %d posts", server.posts())
	}
	limit(1 << 30)
	k.want(t, "at-1", "at-2")
}

// RT-09: where the store is away too, the answer is in memory only: it is served,
// and written when the store is back.
func TestRowNeitherJournalNorStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, store, dir := newRotating(), grantStore(), t.TempDir()
		k := keep(t, dir, server, store, KeeperOptions{Required: true, Reached: func(point string) {
			if point == "replied" {
				if err := os.RemoveAll(filepath.Join(dir, "journal")); err != nil {
					t.Error(err)
				}
				store.Fail(fault.New(fault.VaultUnreachable, "", nil))
			}
		}})
		k.run(t)
		k.want(t, "", "at-1")
		k.want(t, "", "at-1")
		store.Fail(nil)
		if err := k.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		if c := k.stored(t); c.Field("refresh_token").Reveal() != "rt-1" || server.posts() != 1 {
			t.Errorf("RT-09: after %d posts the store holds %v", server.posts(), c.Names())
		}
	})
}

// LK-01, LK-03, LK-14: no token, and nothing of the client's secret, is in the log,
// the metrics, a fault, the record's bookkeeping, or a file of the journal.
func TestRowNoTokenIsSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, store, dir, reg := newRotating(), grantStore(), t.TempDir(), prometheus.NewRegistry()
		server.valid = canary
		answers := []string{
			fmt.Sprintf(`{"access_token":%q,"refresh_token":%q,"scope":"a"}`, canary, canary+"1"),
			fmt.Sprintf(`{"error":"invalid_client","error_description":%q,"refresh_token":%q}`, canary, canary),
			fmt.Sprintf(`<html>%s`, canary), fmt.Sprintf(`{"refresh_token":%q,"acc`, canary+"2"), `{"error":"invalid_grant"}`,
		}
		server.before = func(n int) (int, string) {
			return map[bool]int{true: 200, false: 400}[n != 2 && n != 5], answers[n-1]
		}
		k := keep(t, dir, server, store, KeeperOptions{Required: true, Metrics: NewMetrics(reg)})
		k.edit(t, func(c *credential.Credential) {
			c.Set("refresh_token", secret.New(canary))
			c.Set("client_secret", secret.New(canary))
		})
		look := func(what string) {
			t.Helper()
			scan(t, what+": the log", k.log.String())
			families, err := reg.Gather()
			if err != nil {
				t.Fatal(err)
			}
			scan(t, what+": the metrics", fmt.Sprint(families))
			scan(t, what+": the record's bookkeeping", k.stored(t).Field(credential.StateField).Reveal())
			files, err := filepath.Glob(filepath.Join(dir, "journal", "*"))
			if err != nil || len(files) == 0 {
				t.Fatalf("no journal: %v", err)
			}
			for _, file := range files {
				b, _ := os.ReadFile(file)
				scan(t, what+": the journal", string(b))
			}
		}
		k.o.Reached = func(point string) { look(point) }
		have := ""
		for n := range answers {
			got, err := k.obtain(have)
			if err != nil {
				scan(t, "a fault", fmt.Sprintf("%v %+v %#v", err, err, fault.From(err)))
			} else {
				have = got
			}
			look(fmt.Sprint("after answer ", n))
			k.edit(t, func(c *credential.Credential) {
				cl, _ := claimOf(c)
				cl.rested().write(c)
			})
		}
		if server.posts() != len(answers) {
			t.Errorf("%d posts, want one for each answer", server.posts())
		}
	})
}

// An entry that cannot be read is an intent all the same: what it was about may
// have been sent. It stays where it is.
func TestJournalOfDamagedEntries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, store, dir := newRotating(), grantStore(), t.TempDir()
		k := keep(t, dir, server, store, KeeperOptions{Required: true})
		_, err := k.through(lossy(&http.Transport{}, false, syscall.ECONNRESET, 0), "")
		if !errors.Is(err, fault.TokenEndpointUnreachable) {
			t.Fatal(err)
		}
		c := k.stored(t)
		cl, _ := claimOf(c)
		cl = cl.rested()
		cl.State, cl.ID, cl.Owner, cl.Journaled, cl.Sent = claimed, "CLAIM", k.owner, true, 0
		cl.write(c)
		if err := store.Put(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(dir, "journal", "CLAIM"+entrySuffix)
		if err := os.WriteFile(file, []byte("torn"), 0o600); err != nil {
			t.Fatal(err)
		}
		k = k.again(t, dir)
		k.want(t, "", "at-1")
		if _, err := os.Stat(file); err != nil || server.probes != 1 {
			t.Errorf("%d probes, want one before a second sending; the damaged file: %v", server.probes, err)
		}
	})
}
