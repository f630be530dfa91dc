package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport/sallyport/auth"
	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
	"github.com/sallyport/sallyport/internal/seal"
	"github.com/sallyport/sallyport/internal/secret"
	"github.com/sallyport/sallyport/internal/testserver"
	"github.com/sallyport/sallyport/vault"
)

// killed is what a process that dies is told by its parent, in the environment.
const killed = "SALLYPORT_TEST_KILLED"

// dying is a process that refreshes a grant and is killed at a point of that.
type dying struct {
	Dir      string        // its state directory
	Vault    string        // address; "": the file store in Dir
	Token    string        // of Vault
	Endpoint string        // token endpoint
	Grace    time.Duration // of the provider
	Have     string        // the access token that it begins with, to be replaced
	Point    string        // where it dies; "": it does not
}

var killRef = credential.Ref{Workspace: "acme", Environment: "production", Provider: "crm", Name: "main"}

// killPoints are where a process dies: those that a keeper tells of, and while the
// server has the request.
var killPoints = []string{"claimed", "intended", "posting", "replied", "staged", "answered", "publishing", "published"}

// killTime bounds the rounds of one store.
const killTime = 20 * time.Second

// lostAt: the reply never reached the disk.
func lostAt(point string) bool { return point == "posting" || point == "replied" }

func (d dying) provider() *provider.Provider {
	return &provider.Provider{
		Name: "crm", OAuth2: provider.OAuth2{TokenURL: d.Endpoint, ClientAuth: "none"},
		Refresh: provider.Refresh{Rotates: true, Grace: d.Grace},
	}
}

// store opens the process' store.
func (d dying) store(t *testing.T) credential.Store {
	t.Helper()
	if d.Vault == "" {
		key, err := seal.LoadOrMake(filepath.Join(d.Dir, "key"))
		if err != nil {
			t.Fatal(err)
		}
		s, err := vault.OpenFile(vault.FileOptions{Dir: filepath.Join(d.Dir, "store"), Sealer: key})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	v, err := vault.NewVault(vault.VaultOptions{Address: d.Vault, Mount: "secret", Prefix: "sallyport", Method: "token", Token: secret.New(d.Token)})
	if err != nil {
		t.Fatal(err)
	}
	logout, err := logIn(context.Background(), v)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = logout() })
	return v
}

// live is the process: it takes over what its predecessor left, tells the token
// that it has then, and refreshes that, to its death.
func (d dying) live(t *testing.T) {
	key, err := seal.LoadOrMake(filepath.Join(d.Dir, "key"))
	if err != nil {
		t.Fatal(err)
	}
	journal, err := auth.OpenJournal(filepath.Join(d.Dir, "journal"), key, nil)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	point := ""
	p := d.provider()
	keeper := auth.NewKeeper(auth.KeeperOptions{
		Store: d.store(t), Journal: journal, Required: d.Vault == "", Provider: func(string) *provider.Provider { return p },
		Reached: func(at string) {
			mu.Lock()
			defer mu.Unlock()
			if at == point {
				_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
				select {} // it comes
			}
		},
	})
	have := d.Have
	obtain := func() error {
		c, err := keeper.Over().Get(context.Background(), killRef)
		if err != nil {
			return err
		}
		got, err := keeper.Obtain(context.Background(), auth.Demand{Provider: p, Client: &http.Client{Transport: &http.Transport{}}, Record: c, Have: secret.New(have)})
		if err == nil {
			have = got.Record.Field("access_token").Reveal()
		}
		return err
	}
	if err := obtain(); err != nil {
		fmt.Println("refused", fault.From(err).Code)
		return
	}
	if err := keeper.Drain(context.Background()); err != nil {
		t.Error(err)
	}
	fmt.Println("recovered", have)
	_, _ = os.Stdin.Read(make([]byte, 1)) // the parent is ready
	mu.Lock()
	point = d.Point
	mu.Unlock()
	fmt.Println("ended alive", obtain())
}

// strict is an authorization server of the worst kind, over TCP: a refresh token
// is good for one use, and its second one, after grace, ends the grant.
type strict struct {
	*httptest.Server
	grace time.Duration

	mu         sync.Mutex
	n          int
	valid, old string
	rotated    time.Time
	dead       bool
	reused     int
	posts      map[string]int
	kill       func() // instead of the next answer; nil: it answers
}

func newStrict(t *testing.T, grace time.Duration) *strict {
	a := &strict{grace: grace, valid: canaryRT + "0", posts: map[string]int{}}
	a.Server = httptest.NewServer(a)
	t.Cleanup(a.Close)
	return a
}

// What tokens begin with: to be found nowhere in clear.
const canaryRT, canaryAT = "canary-rt-", "canary-at-"

// ServeHTTP implements http.Handler.
func (a *strict) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	rt := r.PostFormValue("refresh_token")
	a.posts[rt]++
	forgiven := rt == a.old && time.Since(a.rotated) < a.grace
	if a.dead || rt != a.valid && !forgiven {
		if a.posts[rt] > 1 {
			a.reused++
		}
		a.dead = true
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, `{"error":"invalid_grant"}`)
		return
	}
	a.n++
	a.old, a.valid, a.rotated = rt, fmt.Sprint(canaryRT, a.n), time.Now()
	if a.kill != nil {
		a.kill()
		a.kill = nil
		panic(http.ErrAbortHandler)
	}
	_, _ = fmt.Fprintf(w, `{"access_token":"%s%d","refresh_token":%q,"expires_in":3600}`, canaryAT, a.n, a.valid)
}

// consent makes a new grant, as a person does, and gives its refresh token.
func (a *strict) consent() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.n++
	a.dead, a.valid, a.old = false, fmt.Sprint(canaryRT, a.n), ""
	return a.valid
}

// RT-05: a process that is killed at any point of a refresh leaves a grant that
// works after the restart, wherever the reply had reached the disk; where it had
// not, at most one more post tells what became of it.
func TestKeeperSurvivesKill(t *testing.T) {
	if line := os.Getenv(killed); line != "" {
		var d dying
		if err := json.Unmarshal([]byte(line), &d); err != nil {
			t.Fatal(err)
		}
		d.live(t)
		return
	}
	const rounds = 20 // or as many as fit into killTime
	t.Run("file", func(t *testing.T) { killRounds(t, dying{}, rounds, killPoints) })
	t.Run("file, grace", func(t *testing.T) { killRounds(t, dying{Grace: 30 * time.Minute}, 5, []string{"posting", "replied"}) })
	t.Run("vault", func(t *testing.T) {
		v := testserver.StartVault(t, testserver.VaultOptions{})
		killRounds(t, dying{Vault: v.Address, Token: v.Token}, rounds, killPoints)
	})
}

func killRounds(t *testing.T, d dying, rounds int, points []string) {
	server, end := newStrict(t, d.Grace), time.Now().Add(killTime)
	d.Dir, d.Endpoint = t.TempDir(), server.URL
	store := d.store(t)
	authorize(t, store, server.consent())
	died, before := "", "" // where the last one died, and the refresh token that it was at
	lost, extra, deaths := 0, 0, 0
	for i := range rounds * len(points) {
		if i >= len(points) && time.Now().After(end) {
			break
		}
		d.Point = points[i%len(points)]
		got := d.run(t, server)
		if died != "" {
			server.mu.Lock()
			posts, reused := server.posts[before], server.reused
			server.mu.Unlock()
			mayFail := lostAt(died) && d.Grace == 0
			if refused := got.refused != ""; refused != mayFail || refused && got.refused != string(fault.ReauthorizationRequired) {
				t.Errorf("RT-05: after a death at %s: %+v", died, got)
			}
			if most := 1 + btoi(lostAt(died)); posts > most || reused > lost+btoi(mayFail) {
				t.Errorf("RT-05: after a death at %s the refresh token was posted %d times, with %d reuses; want %d at most", died, posts, reused, most)
			}
			extra += max(posts-1, 0)
			lost = reused
		}
		if got.refused != "" { // a person authorizes again
			d.Have = ""
			authorize(t, store, server.consent())
			if got = d.run(t, server); got.refused != "" {
				t.Fatalf("RT-05: a new grant is refused: %+v", got)
			}
		}
		if t.Failed() {
			return
		}
		if !got.died {
			t.Fatalf("RT-05: it did not die at %s: %+v", d.Point, got)
		}
		died, before, d.Have = d.Point, got.spent, got.token
		deaths++
		noTokenIn(t, d.Dir)
	}
	t.Logf("RT-05: %d processes were killed; %d posts more than refreshes, %d grants lost with a reply that never reached the disk", deaths, extra, lost)
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// authorize puts a refresh token into the record.
func authorize(t *testing.T, store credential.Store, refreshToken string) {
	t.Helper()
	c, err := store.Get(t.Context(), killRef)
	if errors.Is(err, fault.CredentialNotFound) {
		c, err = &credential.Credential{Ref: killRef, Type: "oauth2_refresh_token"}, nil
		c.Set("client_id", secret.New("id"))
	}
	if err != nil {
		t.Fatal(err)
	}
	c.Set("refresh_token", secret.New(refreshToken))
	c.Unset("access_token")
	if err := store.Put(t.Context(), c); err != nil {
		t.Fatal(err)
	}
}

// death is what a process told, and how it ended.
type death struct {
	token, refused string
	spent          string // the refresh token that it was at when it died
	died           bool
	said           string
}

// run starts a process and waits for its end.
func (d dying) run(t *testing.T, server *strict) (got death) {
	t.Helper()
	line, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKeeperSurvivesKill$", "-test.count=1", "-test.timeout=60s")
	cmd.Env = append(os.Environ(), killed+"="+string(line))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	in, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(io.LimitReader(out, 1<<20)); lines.Scan(); {
		what, value, _ := strings.Cut(lines.Text(), " ")
		switch what {
		case "recovered":
			server.mu.Lock()
			got.token, got.spent = value, server.valid
			if d.Point == "posting" {
				server.kill = func() { _ = cmd.Process.Kill() }
			}
			server.mu.Unlock()
			_, _ = in.Write([]byte("\n"))
		case "refused":
			got.refused = value
		default:
			got.said += lines.Text() + "\n"
		}
	}
	err = cmd.Wait()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		got.died = !exit.Exited()
	}
	return got
}

// noTokenIn: no file of a state directory shows a token.
func noTokenIn(t *testing.T, dir string) {
	t.Helper()
	if err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		if i := slices.IndexFunc([]string{canaryRT, canaryAT}, func(s string) bool { return bytes.Contains(b, []byte(s)) }); i >= 0 {
			t.Errorf("LK-14: %s holds a token in clear", path)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
}
