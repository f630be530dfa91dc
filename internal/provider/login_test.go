package provider

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

func TestLogin(t *testing.T) {
	l := Login{Path: "/{tenant}/login?x={tenant}", Body: ` {"user":"{username}","password":"{password}"}`}
	if got := strings.Join(l.Fields(), " "); got != "tenant username password" || !l.JSON() {
		t.Errorf("fields %s, JSON %v", got, l.JSON())
	}
	for body, want := range map[string]bool{"": false, "a={b}": false, "[]": true, "{a}": true} {
		if got := (Login{Body: body}).JSON(); got != want {
			t.Errorf("JSON of %q is %v", body, got)
		}
	}
}

func TestJSONPath(t *testing.T) {
	var doc any
	if err := json.Unmarshal([]byte(`{"a":{"b":["x",{"c":1,"0":"zero"}],"":"none"},"d e":null,"a.b":"dotted"}`), &doc); err != nil {
		t.Fatal(err)
	}
	for s, want := range map[string]string{
		"a.b[0]": `"x"`, "a.b.0": `"x"`, "a.b[1].c": "1", "a.b[1].0": `"zero"`, "a.b[1][0]": `"zero"`, "a.b": `["x",{"0":"zero","c":1}]`,
		"a.c": "", "a.b[2]": "", "a.b.c": "", "a.b[0].x": "", "a.b[65535]": "", "x": "", "A": "",
	} {
		p, err := ParseJSONPath(s)
		if err != nil {
			t.Errorf("%s: %v", s, err)
			continue
		}
		v, ok := p.Find(doc)
		got, _ := json.Marshal(v)
		if ok != (want != "") || ok && string(got) != want {
			t.Errorf("%s leads to %s, %v; want %s", s, got, ok, want)
		}
	}
	if v, ok := (JSONPath)(nil).Find(doc); ok {
		t.Errorf("no path leads to %v", v)
	}
	for _, s := range []string{"", ".", "a.", ".a", "a..b", "[", "a[", "a[]", "a[x]", "a[-1]", "a[0", "a[0]b", "a]", "a b", "{a}", "a[99999]", strings.Repeat("a.", 16) + "a"} {
		if p, err := ParseJSONPath(s); err == nil {
			t.Errorf("%q is taken for a path: %q", s, p)
		}
	}
}

// Whatever the path and the document are: it leads somewhere in the document, or nowhere.
func FuzzJSONPath(f *testing.F) {
	f.Add("a.b[0].c", `{"a":{"b":[{"c":"d"}]}}`)
	f.Add("[0][1]", `[[1,2]]`)
	f.Add("0", `{"0":[]}`)
	f.Fuzz(func(t *testing.T, s, text string) {
		p, err := ParseJSONPath(s)
		if err != nil {
			return
		}
		if len(p) == 0 || len(p) > maxSteps || slices.Contains(p, "") {
			t.Errorf("%q is the path %q", s, p)
		}
		if again, err := ParseJSONPath(strings.Join(p, ".")); err != nil || !slices.Equal(again, p) {
			t.Errorf("%q is the path %q, written with dots %q, %v", s, p, again, err)
		}
		var doc any
		if json.Unmarshal([]byte(text), &doc) != nil {
			return
		}
		v, ok := p.Find(doc)
		if part, err := json.Marshal(v); ok && (err != nil || len(part) > 6*len(text)+2) {
			t.Errorf("%q leads out of %q to %s", s, text, part)
		}
	})
}
