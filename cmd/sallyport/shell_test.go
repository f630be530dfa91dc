package main

import (
	"encoding/json"
	"os/exec"
	"testing"
)

// odd values that a shell could take apart.
var odd = []string{"", "plain", "two words", "it's", `"double"`, `back\slash`, `end\`, "$HOME `id` $(id)", "a\nb", "!x", "*?[a]", "ünï", `'"'"`, `\'`}

func TestShQuote(t *testing.T) {
	for _, s := range odd {
		out, err := exec.Command("sh", "-c", "printf %s "+shQuote(s)).Output()
		if err != nil || string(out) != s {
			t.Errorf("sh reads %s as %q, want %q (%v)", shQuote(s), out, s, err)
		}
	}
}

func TestShLines(t *testing.T) {
	for _, s := range odd {
		out, err := exec.Command("sh", "-c", `eval "$1"; printf %s "$V"`, "sh", shLines([]variable{{"V", s}})).Output()
		if err != nil || string(out) != s {
			t.Errorf("eval gives %q, want %q (%v)", out, s, err)
		}
	}
}

func TestFishQuote(t *testing.T) {
	for in, want := range map[string]string{
		"plain": `'plain'`, "it's": `'it\'s'`, `a\b`: `'a\\b'`, `\'`: `'\\\''`, "$x": `'$x'`, "a\nb": "'a\nb'",
	} {
		if got := fishQuote(in); got != want {
			t.Errorf("%q: got %s, want %s", in, got, want)
		}
	}
}

func TestJSONObject(t *testing.T) {
	vars := []variable{{"A", odd[5]}, {"B", "a\nb"}, {"C", "<&>"}}
	var m map[string]string
	if err := json.Unmarshal([]byte(jsonObject(vars)), &m); err != nil {
		t.Fatal(err)
	}
	for _, v := range vars {
		if m[v.name] != v.value {
			t.Errorf("%s: got %q, want %q", v.name, m[v.name], v.value)
		}
	}
}

// splitJava is what the JVM does with JAVA_TOOL_OPTIONS: white space separates,
// quotes of either kind hold together and vanish.
func splitJava(s string) []string {
	var all []string
	var word []rune
	var quote rune
	in := false
	for _, r := range s + " " {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote == 0 && (r == '"' || r == '\''):
			quote, in = r, true
		case quote == 0 && (r == ' ' || r == '\t' || r == '\n'):
			if in {
				all, word, in = append(all, string(word)), nil, false
			}
		default:
			word, in = append(word, r), true
		}
	}
	return all
}

func TestJavaQuote(t *testing.T) {
	for _, s := range []string{"-Da=b", "-Da=", "-Da=b c", "-Da=it's", `-Da="x"`, `-Da='x' "y" z`, "\""} {
		if got := splitJava("-Dx=1 " + javaQuote(s) + " -Dy=2"); len(got) != 3 || got[1] != s {
			t.Errorf("%q as %s is read as %q", s, javaQuote(s), got)
		}
	}
}
