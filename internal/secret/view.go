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

// maxDecodings is how often the escapes of one kind are read in what they stand for.
const maxDecodings = 4

// view is a text as a reader takes it who knows one kind of escapes.
type view struct {
	text string
	from []int32 // where each byte of text comes from in the text that was read, and its length; nil: text is that text
}

// hide hides the part of the text that was read behind text[from:to].
func (v view) hide(c cover, from, to int) {
	if v.from != nil {
		end := to
		for v.from[end] == v.from[to-1] { // one escape may stand for many bytes
			end++
		}
		from, to = int(v.from[from]), int(v.from[end])
	}
	c[from]++
	c[to]--
}

// escape is a kind of escapes.
type escape struct {
	mark byte                       // that each begins with
	read func(string) (string, int) // what the one stands for that a text begins with, and how long it is; 0: it is none
}

var (
	percents = escape{'%', readPercent}
	escapes  = []escape{{'\\', readBackslash}, {'&', readHTML}}
)

// views shows the ways in which text may be read: as it is, and where it has such
// escapes percent-encoded, as a form's value, as a JSON string and as HTML, each
// time after time; and as one in the other, in this order.
func views(text string, see func(view)) {
	plain := view{text: text}
	see(plain)
	plain.asForm(see)
	mixed := plain.again(percents, func(v view) {
		see(v)
		v.asForm(see)
	})
	for _, e := range escapes {
		plain.again(e, see)
		mixed = mixed.again(e, func(view) {})
	}
	if mixed.from != nil {
		see(mixed)
	}
}

// again shows what the text of v is when its escapes are read once, twice and so
// on, and gives the last of it.
func (v view) again(e escape, see func(view)) view {
	for range maxDecodings {
		next := v.unescaped(e)
		if next.text == v.text {
			break
		}
		v = next
		see(v)
	}
	return v
}

// asForm shows the text of v as a form's value, where that is something else than
// percent-encoded.
func (v view) asForm(see func(view)) {
	if strings.Contains(v.text, "+") {
		see(view{strings.ReplaceAll(v.text, "+", " "), v.from}.unescaped(percents))
	}
}

// unescaped reads the escapes in the text of v.
func (v view) unescaped(e escape) view {
	if strings.IndexByte(v.text, e.mark) < 0 {
		return v
	}
	b, from := make([]byte, 0, len(v.text)), make([]int32, 0, len(v.text)+1)
	for i := 0; i < len(v.text); {
		next := strings.IndexByte(v.text[i:], e.mark)
		if next < 0 {
			next = len(v.text) - i
		}
		b, from = append(b, v.text[i:i+next]...), v.origins(from, i, i+next)
		if i += next; i == len(v.text) {
			break
		}
		s, n := e.read(v.text[i:min(len(v.text), i+maxEscape)])
		if n == 0 {
			s, n = v.text[i:i+1], 1
		}
		b = append(b, s...)
		for range len(s) {
			from = v.origins(from, i, i+1)
		}
		i += n
	}
	return view{string(b), v.origins(from, len(v.text), len(v.text)+1)}
}

// origins adds to all where each byte of text[from:to] comes from.
func (v view) origins(all []int32, from, to int) []int32 {
	if v.from != nil {
		return append(all, v.from[from:to]...)
	}
	for i := from; i < to; i++ {
		all = append(all, int32(i)) //nolint:gosec // texts are shorter
	}
	return all
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
