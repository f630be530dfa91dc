package configs

import (
	"strconv"
	"strings"
)

// maxDepth of nested values whose lines are told.
const maxDepth = 64

// lineIndex gives the line of every key and table of a TOML text that has been
// parsed: the parser keeps them to itself. Of any other text it gives something.
func lineIndex(text string) map[string]int {
	s := &scanner{text: text, line: 1, lines: map[string]int{}, count: map[string]int{}}
	for table := ""; ; {
		s.space(" \t\r\n")
		switch {
		case s.end():
			return s.lines
		case s.text[s.i] == '[':
			table = s.header()
		default:
			s.pair(table, 0)
		}
		s.until("\n")
	}
}

type scanner struct {
	text  string
	i     int
	line  int
	lines map[string]int
	count map[string]int // elements seen of each [[array]]
}

func (s *scanner) end() bool { return s.i >= len(s.text) }

// next gives the byte at i and goes on; 0 at the end.
func (s *scanner) next() byte {
	if s.end() {
		return 0
	}
	c := s.text[s.i]
	s.i++
	if c == '\n' {
		s.line++
	}
	return c
}

// space skips the given white space, and comments.
func (s *scanner) space(white string) {
	for !s.end() {
		switch c := s.text[s.i]; {
		case strings.IndexByte(white, c) >= 0:
			s.next()
		case c == '#':
			s.until("\n")
		default:
			return
		}
	}
}

// until goes to the next of stops.
func (s *scanner) until(stops string) {
	for !s.end() && strings.IndexByte(stops, s.text[s.i]) < 0 {
		s.next()
	}
}

// header reads [a.b] or [[a.b]] and gives the table's path.
func (s *scanner) header() string {
	line := s.line
	s.next()
	array := !s.end() && s.text[s.i] == '['
	if array {
		s.next()
	}
	path := ""
	parts := s.key()
	for i, part := range parts {
		path = join(path, part)
		s.note(path, line)
		if array && i == len(parts)-1 {
			s.count[path]++
		}
		if n := s.count[path]; n > 0 {
			path = index(path, n-1)
		}
	}
	s.lines[path] = line // whatever a table below it has noted before
	return path
}

func (s *scanner) note(path string, line int) {
	if _, ok := s.lines[path]; !ok {
		s.lines[path] = line
	}
}

// pair reads KEY = VALUE.
func (s *scanner) pair(table string, depth int) {
	line, path := s.line, table
	for _, part := range s.key() {
		path = join(path, part)
		s.note(path, line)
	}
	if !s.end() && s.text[s.i] == '=' {
		s.next()
		s.value(path, depth)
	}
}

// key reads a dotted key.
func (s *scanner) key() []string {
	var parts []string
	for {
		s.space(" \t")
		parts = append(parts, s.keyPart())
		s.space(" \t")
		if s.end() || s.text[s.i] != '.' {
			return parts
		}
		s.next()
	}
}

func (s *scanner) keyPart() string {
	start := s.i
	if !s.end() && (s.text[s.i] == '"' || s.text[s.i] == '\'') {
		s.str()
		quoted := s.text[start:s.i]
		if plain, err := strconv.Unquote(quoted); err == nil && quoted[0] == '"' {
			return plain
		}
		return strings.Trim(quoted, `"'`)
	}
	s.until(" \t\r\n.=]#")
	return s.text[start:s.i]
}

// value reads any value, noting what is inside of it.
func (s *scanner) value(path string, depth int) {
	s.space(" \t")
	if s.end() || depth > maxDepth {
		return
	}
	switch s.text[s.i] {
	case '"', '\'':
		s.str()
	case '[':
		s.next()
		for n := 0; s.more(']'); n++ {
			at := s.i
			s.note(index(path, n), s.line)
			s.value(index(path, n), depth+1)
			s.leave(at)
		}
	case '{':
		s.next()
		for s.more('}') {
			at := s.i
			s.pair(path, depth+1)
			s.leave(at)
		}
	default:
		s.until(",]}\n#")
	}
}

// more goes to the next element of an array or inline table; at its end it goes
// behind it and reports false.
func (s *scanner) more(closing byte) bool {
	s.space(" \t\r\n,")
	if s.end() || s.text[s.i] != closing {
		return !s.end()
	}
	s.next()
	return false
}

// leave goes on where nothing was read, which valid text never asks for.
func (s *scanner) leave(at int) {
	if s.i == at {
		s.next()
	}
}

// str skips a string of any of the four kinds.
func (s *scanner) str() {
	quote := s.text[s.i : s.i+1]
	if triple := strings.Repeat(quote, 3); strings.HasPrefix(s.text[s.i:], triple) {
		quote = triple
	}
	for range quote {
		s.next()
	}
	for !s.end() && !strings.HasPrefix(s.text[s.i:], quote) {
		if s.next() == '\\' && quote[0] == '"' {
			s.next()
		}
	}
	for range quote {
		s.next()
	}
	for len(quote) == 3 && !s.end() && s.text[s.i] == quote[0] { // """a"""" ends with a quote of its own
		s.next()
	}
}
