package credential

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/sallyport/sallyport/internal/secret"
)

// everything is a record with all that a store may hold.
const everything = `{"provider":"crm","type":"basic","description":"ours \u0007 <b>","username":"u","password":"` + canary + `",
	"private_key":"-----BEGIN-----\nx\n-----END-----","expires_in":3600,"empty":"","nothing":null,"live":true,"big":12345678901234567890,
	"exact":1.50,"far":1e400,"owner":{"team":["a",{"b":null}],"html":"<&>"},"tags":[],"sallyport_state":"{\"b\":[1.0],\"a\":\"<\"}"}`

func archived(t *testing.T, records ...*Credential) string {
	t.Helper()
	var b strings.Builder
	if err := WriteArchive(&b, time.Date(2025, 3, 4, 5, 6, 7, 8, time.UTC), records); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func named(name, data string) *Credential {
	r := ref
	r.Name = name
	c, _, err := Decode(r, 7, []byte(data))
	if err != nil {
		panic(err)
	}
	return c
}

func TestArchive(t *testing.T) {
	in := []*Credential{named("b", everything), named("a", `{}`)}
	text := archived(t, in...)
	if want := `{"sallyport_export":1,"created":"2025-03-04T05:06:07Z","credentials":2}` + "\n"; !strings.HasPrefix(text, want) {
		t.Errorf("it begins with %.80s", text)
	}
	if !strings.HasSuffix(text, "\n{\"end\":2}\n") || strings.Count(text, "\n") != 4 {
		t.Errorf("it is %s", text)
	}
	a, err := ReadArchive(iotest.OneByteReader(strings.NewReader(text)))
	if err != nil {
		t.Fatal(err)
	}
	if len(a.Records) != 2 || a.Created.Year() != 2025 || len(a.Trimmed) != 0 {
		t.Fatalf("%d records of %v, trimmed %v", len(a.Records), a.Created, a.Trimmed)
	}
	for i, c := range a.Records {
		if !c.Equal(in[i]) || c.Version != 0 || c.Ref != in[i].Ref {
			t.Errorf("%s came back changed", in[i].Ref)
		}
	}
	for k, want := range map[string]string{"big": "12345678901234567890", "exact": "1.50", "far": "1e400", "nothing": "null", "empty": `""`, "tags": "[]"} {
		if got := string(a.Records[0].Rest[k]); got != want {
			t.Errorf("%s = %s, want %s", k, got, want)
		}
	}
	if got := archived(t, a.Records...); got != text {
		t.Errorf("written again it is\n%s\nand was\n%s", got, text)
	}
	if got := archived(t); strings.Count(got, "\n") != 2 {
		t.Errorf("of nothing: %q", got)
	}
}

func TestArchiveTellsWhatItTrims(t *testing.T) {
	text := strings.Replace(archived(t, named("a", `{"token":"x"}`)), `"x"`, `"x\n"`, 1)
	a, err := ReadArchive(strings.NewReader(text))
	if err != nil || len(a.Trimmed) != 1 || a.Trimmed[a.Records[0].Ref][0] != "token" || a.Records[0].Field("token").Reveal() != "x" {
		t.Errorf("%v, %v", a, err)
	}
}

func TestReadArchiveRefuses(t *testing.T) {
	good := archived(t, named("a", `{"token":"`+canary+`"}`), named("b", everything))
	lines := strings.SplitAfter(good, "\n")
	head, a, b, end := lines[0], lines[1], lines[2], lines[3]
	for _, c := range []struct{ name, text, want string }{
		{"nothing", "", "ends before its last line"},
		{"something else", canary, "line 1: holds no Sallyport export"},
		{"JSON of something else", `{"token":"` + canary + `"}`, "line 1: holds no Sallyport export"},
		{"a newer format", `{"sallyport_export":2,"how":"` + canary + `"}`, "was written by a newer Sallyport: its format is 2, this version reads 1 at most"},
		{"a newer header", strings.Replace(head, "{", `{"more":"`+canary+`",`, 1) + a + b + end, "line 1: is no header"},
		{"no end", head + a + b, "ends before its last line"},
		{"cut in a line", good[:len(good)-20], "line 3"},
		{"a record less", head + a + end, "line 3: is no record that this version knows"},
		{"a record more", head + a + b + strings.ReplaceAll(b, "/b", "/c") + end, "line 4: holds more than the 2 records"},
		{"another end", head + a + b + `{"end":3}`, "line 4: tells of 3 records, the header of 2"},
		{"more behind the end", good + "{}", "line 5: stands behind the last one"},
		{"too many", strings.Replace(head, ":2}", ":100001}", 1), "line 1: tells of 100001 records"},
		{"less than none", strings.Replace(head, ":2}", ":-1}", 1), "line 1: tells of -1 records"},
		{"twice", head + a + a + end, "line 3: is the second one of acme/production/crm/a, after line 2"},
		{"another kind", head + a + `{"app":"acme/github","record":{"client_secret":"` + canary + `"}}` + "\n" + end, "line 3: is no record that this version knows"},
		{"another member", head + strings.Replace(a, "{", `{"note":"`+canary+`",`, 1) + b + end, "line 2: is no record that this version knows"},
		{"no record", head + `{"credential":"a/b/c/d"}` + "\n" + b + end, "line 2: is no record"},
		{"a record that is null", head + `{"credential":"a/b/c/d","record":null}` + "\n" + b + end, "line 2: record a/b/c/d is not a JSON object"},
		{"a record that is a string", head + `{"credential":"a/b/c/d","record":"` + canary + `"}` + "\n" + b + end, "line 2: record a/b/c/d is not a JSON object"},
		{"a short reference", head + strings.Replace(a, "acme/production/crm/a", "crm", 1) + b + end, "line 2: its credential is no reference"},
		{"a reference that climbs", head + strings.Replace(a, "acme/production/crm/a", "../"+canary+"/x/y", 1) + b + end, "line 2: its credential is no reference"},
		{"two values", head + strings.TrimSpace(a) + `{}` + "\n" + b + end, "line 2: is no record"},
		{"no UTF-8", head + strings.Replace(a, canary, canary+"\xff", 1) + b + end, "line 2: is not UTF-8 text"},
		{"an empty line", head + a + "\n" + b + end, "line 3: is no record"},
		{"a long line", head + strings.Replace(a, canary, strings.Repeat("x", maxLine), 1) + b + end, "line 2: is longer than 1 MiB"},
		{"a large record", head + strings.Replace(a, canary, strings.Repeat("x", maxRecord-10), 1) + b + end, "line 2: record acme/production/crm/a has 1048"},
	} {
		got, err := ReadArchive(strings.NewReader(c.text))
		if err == nil || got != nil && err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), canary) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	if _, err := ReadArchive(strings.NewReader(`{"sallyport_export":9}`)); !errors.Is(err, ErrNewerArchive) {
		t.Errorf("a newer one: %v", err)
	}
	if _, err := ReadArchive(io.MultiReader(strings.NewReader(head+a), iotest.ErrReader(io.ErrNoProgress))); !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("a reader that fails: %v", err)
	}
}

// What is read is bounded in all.
func TestReadArchiveIsBounded(t *testing.T) {
	a := newArchiveReader(repeat(strings.Repeat(" ", maxRecord)+"\n"), 4<<20)
	var err error
	for err == nil {
		_, err = a.next()
	}
	if !strings.Contains(err.Error(), "is larger than 4 MiB") || a.n > 4 {
		t.Errorf("after %d lines: %v", a.n, err)
	}
}

// repeat reads s for ever.
func repeat(s string) io.Reader { return &repeater{s: s} }

type repeater struct {
	s    string
	rest string
}

func (r *repeater) Read(p []byte) (int, error) {
	if r.rest == "" {
		r.rest = r.s
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

func TestWriteArchiveRefuses(t *testing.T) {
	bad := &Credential{Ref: ref}
	bad.Set("token", secret.New(canary+"\xff"))
	large := &Credential{Ref: ref}
	large.Set("token", secret.New(canary+strings.Repeat("x", maxRecord)))
	for name, c := range map[string]struct {
		records []*Credential
		want    string
	}{
		"no UTF-8": {[]*Credential{bad}, `field "token" is not UTF-8`},
		"large":    {[]*Credential{large}, "record acme/production/crm/main has 1048"},
		"too many": {make([]*Credential, MaxArchived+1), "100001 records are too many"},
	} {
		err := WriteArchive(io.Discard, time.Now(), c.records)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), canary) {
			t.Errorf("%s: %v", name, err)
		}
	}
	full := iotest.ErrReader(io.ErrShortWrite)
	if err := WriteArchive(failing{full}, time.Now(), nil); !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("a writer that fails: %v", err)
	}
}

type failing struct{ r io.Reader }

func (f failing) Write(p []byte) (int, error) { return f.r.Read(p) }

func FuzzReadArchive(f *testing.F) {
	var b bytes.Buffer
	_ = WriteArchive(&b, time.Unix(1, 0), []*Credential{named("a", everything), named("b", `{"x":"y"}`)})
	f.Add(b.Bytes())
	f.Add([]byte(`{"sallyport_export":1,"created":"2025-03-04T05:06:07Z","credentials":0}` + "\n" + `{"end":0}`))
	f.Add([]byte(`{"sallyport_export":2}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		a, err := ReadArchive(bytes.NewReader(data))
		if err != nil {
			return
		}
		var again bytes.Buffer
		if err := WriteArchive(&again, a.Created, a.Records); err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		c, err := ReadArchive(&again)
		if err != nil || len(c.Records) != len(a.Records) {
			t.Fatalf("what was written cannot be read: %v", err)
		}
		for i := range a.Records {
			if !c.Records[i].Equal(a.Records[i]) {
				t.Errorf("%s has changed", a.Records[i].Ref)
			}
		}
	})
}

// An archive's record prints as its reference.
func TestArchivePrintsNoSecret(t *testing.T) {
	a, err := ReadArchive(strings.NewReader(archived(t, named("a", everything))))
	if err != nil {
		t.Fatal(err)
	}
	if s := fmt.Sprintf("%+v %#v %s", *a, a, a.Records); strings.Contains(s, canary) {
		t.Errorf("it prints as %s", s)
	}
}
