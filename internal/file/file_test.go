package file

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

func TestWrite(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	for _, data := range []string{"first", "", "third, longer"} {
		if err := Write(path, []byte(data), Private); err != nil {
			t.Fatal(err)
		}
		wantFile(t, path, data, Private)
	}
	if err := Write(path, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	wantFile(t, path, "x", 0o644)
	wantNames(t, dir, "f")
}

// The mode is as asked for, whatever the umask.
func TestWriteUmask(t *testing.T) {
	old := syscall.Umask(0o277)
	defer syscall.Umask(old)
	path := filepath.Join(t.TempDir(), "f")
	if err := Write(path, []byte("x"), Private); err != nil {
		t.Fatal(err)
	}
	wantFile(t, path, "x", Private)
}

func TestWriteReplacesLinks(t *testing.T) {
	dir := t.TempDir()
	target, link := filepath.Join(dir, "target"), filepath.Join(dir, "link")
	if err := errors.Join(os.WriteFile(target, []byte("theirs"), 0o600), os.Symlink(target, link)); err != nil {
		t.Fatal(err)
	}
	if err := Write(link, []byte("ours"), Private); err != nil {
		t.Fatal(err)
	}
	wantFile(t, target, "theirs", 0o600)
	if info, err := os.Lstat(link); err != nil || !info.Mode().IsRegular() {
		t.Errorf("LK-14: the link was written through: %v, %v", info.Mode(), err)
	}
}

func TestWriteFails(t *testing.T) {
	dir := t.TempDir()
	for name, path := range map[string]string{
		"no folder":            filepath.Join(dir, "absent", "f"),
		"a folder of the name": filepath.Join(dir, "d"),
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.MkdirAll(filepath.Join(dir, "d", "inside"), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := Write(path, []byte("x"), Private); err == nil {
				t.Fatal("no error")
			}
			wantNames(t, dir, "d")
			wantNames(t, filepath.Join(dir, "d"), "inside")
		})
	}
}

// A reader sees a whole file at every moment.
func TestWriteIsAtomic(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	a, b := bytes.Repeat([]byte("a"), 100<<10), bytes.Repeat([]byte("b"), 50<<10)
	if err := Write(path, a, Private); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range 50 {
			if err := Write(path, [][]byte{b, a}[i%2], Private); err != nil {
				t.Error(err)
			}
		}
	})
	for range 500 {
		got, err := ReadPrivate(path)
		if err != nil || !bytes.Equal(got, a) && !bytes.Equal(got, b) {
			t.Fatalf("read %d bytes, %v: neither the old nor the new", len(got), err)
		}
	}
	wg.Wait()
}

func TestCreate(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	var made, lost int
	var mu sync.Mutex
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			err := Create(path, fmt.Appendf(nil, "%d", i), Private)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				made++
			case errors.Is(err, fs.ErrExist):
				lost++
			default:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if made != 1 || lost != 7 {
		t.Errorf("%d created the file and %d found it there, want 1 and 7", made, lost)
	}
	wantNames(t, dir, "f")
}

func TestTemporary(t *testing.T) {
	for name, want := range map[string]bool{".tmp-123": true, ".tmp-": true, "a.tmp-1": false, ".lock": false, "tmp-1": false} {
		if Temporary(name) != want {
			t.Errorf("Temporary(%q) = %v", name, !want)
		}
	}
}

// What a killed write left is removed; one that is under way, and what only looks
// like it, stays.
func TestSweep(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{".tmp-old", ".tmp-new", "kept"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	old := time.Now().Add(-2 * unfinished)
	if err := errors.Join(
		os.Mkdir(filepath.Join(dir, ".tmp-folder"), 0o700),
		os.Chtimes(filepath.Join(dir, ".tmp-old"), old, old), os.Chtimes(filepath.Join(dir, "kept"), old, old),
		os.Chtimes(filepath.Join(dir, ".tmp-folder"), old, old), Sweep(dir),
	); err != nil {
		t.Fatal(err)
	}
	wantNames(t, dir, ".tmp-folder", ".tmp-new", "kept")
	if err := Sweep(filepath.Join(dir, "absent")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a folder that is not there: %v", err)
	}
}

func TestMakeDir(t *testing.T) {
	root := t.TempDir() // 0755: not ours to judge
	deep := filepath.Join(root, "a", "b", "c")
	for range 2 {
		if err := MakeDir(deep + "/"); err != nil {
			t.Fatal(err)
		}
	}
	for d := deep; d != root; d = filepath.Dir(d) {
		if info, err := os.Stat(d); err != nil || info.Mode().Perm() != PrivateDir {
			t.Errorf("LK-14: %s: mode %v, %v", d, info.Mode(), err)
		}
	}
	if err := os.Chmod(deep, 0o750); err != nil {
		t.Fatal(err)
	}
	wantErr(t, MakeDir(deep), "LK-14: mode is 0750, must be 0700; run chmod 700 on it")

	plain := filepath.Join(root, "plain")
	if err := os.WriteFile(plain, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	wantErr(t, MakeDir(plain), "exists")
	wantErr(t, MakeDir(filepath.Join(plain, "below")), "not a directory")
}

func TestReadPrivate(t *testing.T) {
	for _, mode := range []fs.FileMode{0o600, 0o400, 0o700} {
		if got, err := ReadPrivate(makeFile(t, mode)); err != nil || string(got) != "x" {
			t.Errorf("mode %04o: %q, %v", mode, got, err)
		}
	}
	for _, mode := range []fs.FileMode{0o640, 0o604, 0o620, 0o602, 0o610, 0o601, 0o644, 0o666, 0o777} {
		_, err := ReadPrivate(makeFile(t, mode))
		wantErr(t, err, fmt.Sprintf("LK-14: mode is %04o, must be 0600; run chmod 600 on it", mode))
	}
}

func TestReadPrivateRefuses(t *testing.T) {
	dir := t.TempDir()
	if err := errors.Join(
		os.WriteFile(filepath.Join(dir, "f"), []byte("x"), 0o600),
		os.Symlink("f", filepath.Join(dir, "link")),
		os.Symlink("absent", filepath.Join(dir, "dangling")),
		os.Mkdir(filepath.Join(dir, "folder"), 0o700),
		syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600),
	); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"link": "LK-14: is a symbolic link", "dangling": "LK-14: is a symbolic link",
		"folder": "is not a regular file", "pipe": "is not a regular file",
	} {
		_, err := ReadPrivate(filepath.Join(dir, name))
		wantErr(t, err, want)
	}
	if _, err := ReadPrivate(filepath.Join(dir, "absent")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("absent: %v, want fs.ErrNotExist", err)
	}
}

// LT-13: what is judged is what is read, also while somebody puts another file, or
// a link to one, in its place.
func TestReadPrivateWhileReplaced(t *testing.T) {
	dir := t.TempDir()
	path, theirs := filepath.Join(dir, "f"), filepath.Join(dir, "theirs")
	if err := errors.Join(os.WriteFile(path, []byte("ours"), 0o600), os.WriteFile(theirs, []byte("theirs"), 0o600), os.Chmod(theirs, 0o644)); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	var swapper sync.WaitGroup
	swapper.Go(func() {
		next := filepath.Join(dir, "next")
		for i := 0; ; i++ {
			select {
			case <-done:
				return
			default:
			}
			var err error
			switch i % 4 {
			case 0:
				err = os.Link(theirs, next)
			case 1:
				err = os.Symlink("theirs", next)
			default:
				err = os.WriteFile(next, []byte("ours"), 0o600)
			}
			if err = errors.Join(err, os.Rename(next, path)); err != nil {
				t.Error(err)
				return
			}
		}
	})
	read, refused := 0, 0
	for read < 500 || refused < 500 {
		switch got, err := ReadPrivate(path); {
		case err != nil:
			refused++
		case string(got) == "ours":
			read++
		default:
			t.Fatalf("LT-13: read %q", got)
		}
		if t.Failed() || read+refused > 1_000_000 {
			break
		}
	}
	close(done)
	swapper.Wait()
}

func TestReadPrivateOtherOwner(t *testing.T) {
	path := makeFile(t, 0o600)
	if os.Geteuid() != 0 {
		t.Skip("only root can give a file away: run the tests as root to see that another uid's file is refused")
	}
	if err := os.Chown(path, 12345, -1); err != nil {
		t.Fatal(err)
	}
	_, err := ReadPrivate(path)
	wantErr(t, err, "LK-14, LT-13: belongs to uid 12345, but Sallyport runs as uid 0")
}

func TestReadIsBounded(t *testing.T) {
	path := makeFile(t, 0o600)
	if err := os.Truncate(path, maxSize+1); err != nil { // sparse
		t.Fatal(err)
	}
	_, err := ReadPrivate(path)
	wantErr(t, err, "is larger than 16 MiB")
	_, _, err = ReadOperator(path)
	wantErr(t, err, "is larger than 16 MiB")
	_, _, err = ReadOperator("/dev/zero")
	wantErr(t, err, "is larger than 16 MiB")
}

// LT-15: what everybody can write to says nothing, behind a link either; what
// everybody can read is told.
func TestReadOperator(t *testing.T) {
	for _, tc := range []struct {
		mode     fs.FileMode
		readable bool
		want     string
	}{
		{mode: 0o600}, {mode: 0o640}, {mode: 0o660}, {mode: 0o644, readable: true}, {mode: 0o444, readable: true},
		{mode: 0o602, want: "is writable by everybody (mode 0602); run chmod o-w on it"},
		{mode: 0o666, want: "is writable by everybody (mode 0666)"},
	} {
		path := makeFile(t, tc.mode)
		link := path + "-link"
		if err := os.Symlink(path, link); err != nil {
			t.Fatal(err)
		}
		for _, p := range []string{path, link} {
			got, readable, err := ReadOperator(p)
			if tc.want != "" {
				wantErr(t, err, tc.want)
			} else if err != nil || string(got) != "x" || readable != tc.readable {
				t.Errorf("mode %04o: %q, readable %v, %v", tc.mode, got, readable, err)
			}
		}
	}
}

// makeFile makes a file that holds x.
func makeFile(t *testing.T, mode fs.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "f")
	if err := errors.Join(os.WriteFile(path, []byte("x"), 0o600), os.Chmod(path, mode)); err != nil {
		t.Fatal(err)
	}
	return path
}

func wantFile(t *testing.T, path, want string, mode fs.FileMode) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil || string(got) != want {
		t.Errorf("%s holds %q, %v; want %q", path, got, err, want)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != mode {
		t.Errorf("%s: mode %v, %v; want %v", path, info.Mode(), err, mode)
	}
}

// wantErr wants an error with that text; a row's id may stand before the text.
func wantErr(t *testing.T, err error, want string) {
	t.Helper()
	row, text, ok := strings.Cut(want, ": ")
	if !ok {
		row, text = "", want
	}
	if err == nil || !strings.Contains(err.Error(), text) {
		t.Errorf("%s error %v, want %q", row, err, text)
	}
}

func wantNames(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if err != nil || strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("%s holds %q, %v; want %q", dir, got, err, want)
	}
}
