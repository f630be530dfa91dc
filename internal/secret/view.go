package secret

import (
	"html"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// maxEscape is how many bytes an escape takes at most: \ud83d\ude00.
const maxEscape = 12

// view is a text as a reader takes it who knows one kind of escapes.
type view struct {
	text string
	from []int // where each byte of text comes from in the text that was read, and its length; nil: text is that text
}

// add adds the part of the text that was read behind text[from:to].
func (v view) add(found []span, from, to int) []span {
	if v.from != nil {
		end := to
		for v.from[end] == v.from[to-1] { // one escape may stand for many bytes
			end++
		}
		from, to = v.from[from], v.from[end]
	}
	if n := len(found); n > 0 && found[n-1].from <= from && from < found[n-1].to {
		found[n-1].to = max(found[n-1].to, to)
		return found
	}
	return append(found, span{from, to})
}

// views are the ways in which text may be read: as it is, and where it has such
// escapes percent-encoded, as a form's value, as a JSON string and as HTML.
func views(text string) []view {
	all := []view{{text: text}}
	for _, k := range []struct {
		marks string
		must  string // of the marks, that one reads otherwise than another kind
		read  func(string) (string, int)
	}{
		{"%", "%", readPercent},
		{"%+", "+", readForm},
		{`\`, `\`, readBackslash},
		{"&", "&", readHTML},
	} {
		if strings.Contains(text, k.must) {
			all = append(all, unescaped(text, k.marks, k.read))
		}
	}
	return all
}

// unescaped reads text. read tells what the escape stands for that a text begins
// with, and how long it is; 0: it is none.
func unescaped(text, marks string, read func(string) (string, int)) view {
	b, from := make([]byte, 0, len(text)), make([]int, 0, len(text)+1)
	for i := 0; i < len(text); {
		s, n := text[i:i+1], 0
		if strings.IndexByte(marks, text[i]) >= 0 {
			s, n = read(text[i:min(len(text), i+maxEscape)])
		}
		if n == 0 {
			s, n = text[i:i+1], 1
		}
		b = append(b, s...)
		for range len(s) {
			from = append(from, i)
		}
		i += n
	}
	return view{string(b), append(from, len(text))}
}

func readPercent(s string) (string, int) {
	if len(s) < 3 {
		return "", 0
	}
	c, err := url.PathUnescape(s[:3])
	if err != nil || len(c) != 1 {
		return "", 0
	}
	return c, 3
}

func readForm(s string) (string, int) {
	if s[0] == '+' {
		return " ", 1
	}
	return readPercent(s)
}

func readHTML(s string) (string, int) {
	i := strings.IndexByte(s, ';')
	if i < 0 {
		return "", 0
	}
	c := html.UnescapeString(s[:i+1])
	if c == s[:i+1] || len(c) > 1 && strings.HasSuffix(c, ";") { // &amplifier; is no &amp;
		return "", 0
	}
	return c, i + 1
}

// plain are the escapes of one character in JSON and in the languages that write
// strings likewise.
var plain = strings.NewReplacer("b", "\b", "f", "\f", "n", "\n", "r", "\r", "t", "\t")

func readBackslash(s string) (string, int) {
	if len(s) < 2 {
		return "", 0
	}
	switch s[1] {
	case '"', '\'', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return plain.Replace(s[1:2]), 2
	case 'x':
		if n, ok := hexOf(s, 2, 2); ok {
			return string([]byte{byte(n)}), 4
		}
	case 'u':
		return readUnicode(s)
	}
	return "", 0
}

func readUnicode(s string) (string, int) {
	r, ok := hexOf(s, 2, 4)
	if !ok {
		return "", 0
	}
	if utf16.IsSurrogate(r) && len(s) >= 12 && s[6:8] == `\u` {
		if low, ok := hexOf(s, 8, 4); ok {
			if pair := utf16.DecodeRune(r, low); pair != utf8.RuneError {
				return string(pair), 12
			}
		}
	}
	return string(r), 6
}

// hexOf reads the n hexadecimal digits of s from at on.
func hexOf(s string, at, n int) (rune, bool) {
	if len(s) < at+n {
		return 0, false
	}
	v, err := strconv.ParseUint(s[at:at+n], 16, 16)
	return rune(v), err == nil
}
