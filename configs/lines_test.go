package configs

import (
	"reflect"
	"testing"

	"github.com/BurntSushi/toml"
)

func TestLineIndex(t *testing.T) {
	const text = `# comment = 1
[proxy] # [not]
listen = "a # [b]" # c
hosts = [
  "one", # "two"
  '''three
[x]
''', "four",
]
"quoted key".'x.y' = """
a = 1
\"""" 
[proxy.ca]
permitted = []
[[provider]]
name = "a"
  [[provider.place]]
  in = "header"
  [[provider.place]]
  in = "query"
[[provider]]
headers = { "X Y" = "1", Z = { deep = [{ a = 1 }, { a = 2 }] } }
[provider.limits]
rate = ["10/s",
  "20/min"]
last = 1979-05-27T07:32:00Z`
	want := map[string]int{
		"proxy": 2, "proxy.listen": 3, "proxy.hosts": 4, "proxy.hosts[0]": 5, "proxy.hosts[1]": 6, "proxy.hosts[2]": 8,
		`proxy."quoted key"`: 10, `proxy."quoted key"."x.y"`: 10, "proxy.ca": 13, "proxy.ca.permitted": 14,
		"provider": 15, "provider[0]": 15, "provider[0].name": 16, "provider[0].place": 17, "provider[0].place[0]": 17, "provider[0].place[0].in": 18,
		"provider[0].place[1]": 19, "provider[0].place[1].in": 20, "provider[1]": 21, "provider[1].headers": 22, `provider[1].headers."X Y"`: 22,
		"provider[1].headers.Z": 22, "provider[1].headers.Z.deep": 22, "provider[1].headers.Z.deep[0]": 22, "provider[1].headers.Z.deep[0].a": 22,
		"provider[1].headers.Z.deep[1]": 22, "provider[1].headers.Z.deep[1].a": 22,
		"provider[1].limits": 23, "provider[1].limits.rate": 24, "provider[1].limits.rate[0]": 24, "provider[1].limits.rate[1]": 25, "provider[1].limits.last": 26,
	}
	if _, err := toml.Decode(text, &map[string]any{}); err != nil {
		t.Fatal(err)
	}
	got := lineIndex(text)
	for path, line := range want {
		if got[path] != line {
			t.Errorf("%s stands in line %d; want %d", path, got[path], line)
		}
	}
	for path := range got {
		if _, ok := want[path]; !ok {
			t.Errorf("%s is no key", path)
		}
	}
}

// Every key that the parser sees has a line.
func FuzzLineIndex(f *testing.F) {
	for _, s := range []string{"a = 1\n[b]\nc.d = [1, {x = '}'}]", "[[a]]\n[[a.b]]\nx=\"\"\"\n\"\"\"\"", "\"a\\u0041\" = 1", "{]", "[[", "a = [", "a = {b = [}", "'''", "[[i]]\n[[a.b]]\n[a]"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		lines := lineIndex(text)
		var tree map[string]any
		if _, err := toml.Decode(text, &tree); err != nil {
			return
		}
		for key := range tree {
			if bare(key) && lines[key] == 0 {
				t.Errorf("%s has no line in %q: %v", key, text, lines)
			}
		}
	})
}

// Whatever the file holds, loading it ends in a configuration or in faults, and
// what is loaded can be written and loaded again.
func FuzzLoad(f *testing.F) {
	f.Add(Reference())
	f.Add(commented.ReplaceAll(Reference(), []byte("$1")))
	f.Add([]byte("provider = [1, {name = \"github\", hosts = [2]}]\n[proxy]\nlisten = 3"))
	f.Add([]byte("caller = {}\n[limits]\nrate = [\"1/s\"]"))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := load(Options{Path: "fuzz.toml"}, text)
		if err != nil {
			if _, ok := err.(Faults); !ok || len(err.(Faults)) == 0 {
				t.Fatalf("load: %T %v; want faults", err, err)
			}
			return
		}
		if reflect.DeepEqual(c, &Config{}) || c.Table == nil {
			t.Fatal("no faults and no configuration")
		}
		again, err := load(Options{Path: "fuzz.toml"}, []byte(withoutLists(*c.form)))
		if err != nil {
			t.Fatalf("what was written does not load: %v\n%s", err, withoutLists(*c.form))
		}
		if withoutLists(*again.form) != withoutLists(*c.form) {
			t.Fatalf("written\n%s\nread\n%s", withoutLists(*c.form), withoutLists(*again.form))
		}
	})
}
