package vault

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/credential/credtest"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/file"
	"github.com/sallyport/sallyport/internal/secret"
)

// childDir names the folder of the parent in a process that a test starts of its
// own binary: the test of the same name then plays the child.
const childDir = "SALLYPORT_TEST_FILE_DIR"

func child(t *testing.T, dir string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.count=1", "-test.timeout=60s", "-test.v")
	cmd.Env = append(os.Environ(), childDir+"="+dir)
	return cmd
}

// No increment of several processes is lost.
func TestFileSharedByProcesses(t *testing.T) {
	const children, each = 4, 15
	ref := credential.Ref{Workspace: "acme", Environment: "production", Provider: "github", Name: "n"}
	if dir := os.Getenv(childDir); dir != "" {
		s := openStore(t, dir)
		for range each {
			if err := credtest.Increment(t.Context(), s, ref, "token"); err != nil {
				t.Fatal(err)
			}
		}
		return
	}
	dir := t.TempDir()
	s := openStore(t, dir)
	putNew(t, s, ref.String(), "0")
	var wg sync.WaitGroup
	for range children {
		cmd := child(t, dir)
		wg.Go(func() {
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
	wg.Wait()
	wantToken(t, s, ref.String(), strconv.Itoa(children*each))
	c, err := s.Get(t.Context(), ref)
	if err != nil || c.Version != 1+children*each {
		t.Errorf("version %d, %v; want %d", c.Version, err, 1+children*each)
	}
}

// A process that is killed at any point leaves the record as it was before or
// after the write it was at, never between, and never behind a write that it
// was told of.
func TestFileSurvivesKill(t *testing.T) {
	ref := credential.Ref{Workspace: "acme", Environment: "production", Provider: "github", Name: "main"}
	if dir := os.Getenv(childDir); dir != "" {
		writeForEver(t, openStore(t, dir), ref)
		return
	}
	const rounds = 60
	dir := t.TempDir()
	s := openStore(t, dir)
	putNew(t, s, ref.String(), killValue(0))
	var told, halves int
	for end := time.Now().Add(12 * time.Second); told < rounds && time.Now().Before(end); told++ {
		version := killWriter(t, dir, time.Duration(rand.IntN(20_000))*time.Microsecond)
		halves += temporaries(t, s.dir)
		wantOldOrNew(t, s, ref, version)
		if t.Failed() {
			return
		}
	}
	t.Logf("killed a writer %d times, %d half-written files were left behind and ignored", told, halves)

	again := openStore(t, dir)
	if n := temporaries(t, s.dir); n != 0 {
		t.Errorf("%d half-written files are there after the store was opened", n)
	}
	if err := again.Put(t.Context(), &credential.Credential{Ref: fileRef(t, "acme/production/github/after")}); err != nil {
		t.Errorf("Put after all that: %v", err)
	}
}

// killValue is long enough that a write of a part of it would show.
func killValue(n int) string { return strings.Repeat(strconv.Itoa(n)+" ", 4000) }

// writeForEver writes the record and tells its version when it is written; beside
// it makes and deletes a second one.
func writeForEver(t *testing.T, s *File, ref credential.Ref) {
	second := ref
	second.Name = "second"
	for {
		c, err := s.Get(t.Context(), ref)
		if err != nil {
			t.Fatal(err)
		}
		c.Set("token", secret.New(killValue(c.Version)))
		if err := s.Put(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		fmt.Println("stored", c.Version)
		err = s.Delete(t.Context(), second)
		if errors.Is(err, fault.CredentialNotFound) {
			err = s.Put(t.Context(), &credential.Credential{Ref: second, Type: "bearer"})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// killWriter starts a writer and kills it so long after its first write. It gives
// the last version that the writer told of.
func killWriter(t *testing.T, dir string, after time.Duration) (version int) {
	t.Helper()
	cmd := child(t, dir)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	var other strings.Builder
	for lines := bufio.NewScanner(io.LimitReader(out, 1<<20)); lines.Scan(); {
		n, ok := strings.CutPrefix(lines.Text(), "stored ")
		if !ok {
			other.WriteString(lines.Text() + "\n")
			continue
		}
		if version == 0 {
			time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
		}
		version, _ = strconv.Atoi(n)
	}
	err = cmd.Wait()
	if killed := (*exec.ExitError)(nil); !errors.As(err, &killed) || killed.Exited() {
		t.Fatalf("the writer ended by itself: %v: %s", err, other.String())
	}
	return version
}

func wantOldOrNew(t *testing.T, s *File, ref credential.Ref, told int) {
	t.Helper()
	c, err := s.Get(t.Context(), ref)
	if err != nil {
		t.Fatalf("after a kill: %v", err)
	}
	if c.Version != told && c.Version != told+1 {
		t.Errorf("version %d, the writer told of %d: want that or the next", c.Version, told)
	}
	if c.Field("token").Reveal() != strings.TrimRight(killValue(c.Version-1), "\r\n") {
		t.Errorf("the value of version %d is not the one that was written", c.Version)
	}
	refs, err := s.List(t.Context(), credential.Ref{})
	if err != nil || len(refs) < 1 || len(refs) > 2 {
		t.Errorf("List = %v, %v; want the one or two records", refs, err)
	}
	for _, r := range refs {
		if _, err := s.Get(t.Context(), r); err != nil {
			t.Errorf("after a kill: %v", err)
		}
	}
}

func temporaries(t *testing.T, dir string) (n int) {
	t.Helper()
	if err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && file.Temporary(d.Name()) {
			n++
		}
		return err
	}); err != nil {
		t.Error(err)
	}
	return n
}
