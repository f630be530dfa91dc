package configs

import (
	"errors"
	"fmt"
	"path"
	"strings"
	"unicode"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/sallyport/sallyport/internal/credential"
)

// MaxDescription bounds a description that ImportOpenAPI reads, in bytes.
const MaxDescription = 16 << 20

// ImportOptions say how a description becomes an entry. All may be left out.
type ImportOptions struct {
	Name   string // of the provider; empty: made from the title
	Scheme string // which security scheme; empty: the one that the whole API asks for, else the first that can be done
	URL    string // where the API is; empty: the first server with https

	Types func(name string) (known, built bool) // credential types; nil: the documented ones
	Taken func(field string) bool               // fields that credential types have, so that a host's {field} is none of them; nil: none
}

// Imported is a [[provider]] that was made of a description.
type Imported struct {
	Name  string
	TOML  []byte   // of the whole entry, with the notes as comments
	Notes []string // what was guessed, left out or needs a hand; each one line
}

// ImportOpenAPI makes a [[provider]] of an OpenAPI 3 or Swagger 2 description, in
// JSON or YAML. It reads no other file and asks nobody. What it gives loads.
func ImportOpenAPI(doc []byte, o ImportOptions) (*Imported, error) {
	d, err := readDescription(doc)
	if err != nil {
		return nil, err
	}
	i := &importer{doc: d, o: o}
	i.form.setDefaults()
	for _, part := range []func() error{i.named, i.located, i.secured, i.verified} {
		if err := part(); err != nil {
			return nil, err
		}
	}
	text, err := i.text()
	if err != nil {
		return nil, err
	}
	return &Imported{i.form.Name, text, i.told()}, i.loads(text)
}

// importer makes one entry.
type importer struct {
	doc  *openapi3.T
	o    ImportOptions
	form providerForm

	notes      []note
	hostFields []string // {field}s of the host
	optional   bool     // some of the API takes no credential
	everybody  bool     // runs the API on a host of his own
}

// note is what a person needs to know of the key that it stands above; without
// a key, of the entry.
type note struct{ key, text string }

// say notes something. What it quotes is of the description: it becomes one
// line of bounded length.
func (i *importer) say(key, format string, args ...any) {
	i.notes = append(i.notes, note{key, line(fmt.Sprintf(format, args...))})
}

func (i *importer) told() []string {
	var all []string
	for _, n := range i.notes {
		all = append(all, n.text)
	}
	return all
}

// maxLine bounds a note, in characters.
const maxLine = 600

// line makes one printable line of s.
func line(s string) string {
	s = strings.Join(strings.FieldsFunc(s, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }), " ")
	if runes := []rune(s); len(runes) > maxLine {
		return string(runes[:maxLine]) + " ..."
	}
	return s
}

// noise are words of titles that say nothing about which API it is.
var noise = map[string]bool{
	"api": true, "apis": true, "rest": true, "restful": true, "http": true, "web": true, "openapi": true, "swagger": true,
	"specification": true, "spec": true, "documentation": true, "docs": true, "reference": true, "public": true, "the": true,
}

func (i *importer) named() error {
	name := i.o.Name
	if name == "" {
		name = nameOf(i.doc.Info.Title)
	}
	if !credential.ValidPart(name) {
		return fmt.Errorf("%q is no name of a provider, which is 1 to 63 of a-z 0-9 . _ - and begins with a letter or digit; give --name NAME", line(name))
	}
	i.form.Name = name
	if f, err := catalogueFiles.Open(path.Join("catalogue", name+".toml")); err == nil {
		_ = f.Close()
		i.say("", "%s is a built-in provider (sallyport provider show %s), whose keys this entry overrides; give --name for one beside it", name, name)
	}
	return nil
}

// nameOf makes a name of a title.
func nameOf(title string) string {
	words := strings.FieldsFunc(strings.ToLower(title), func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') })
	var kept []string
	for _, w := range words {
		version := len(w) > 1 && w[0] == 'v' && strings.Trim(w[1:], "0123456789") == ""
		if !noise[w] && !version {
			kept = append(kept, w)
		}
	}
	if len(kept) == 0 {
		kept = words
	}
	name := strings.Join(kept, "-")
	return strings.TrimRight(name[:min(len(name), 63)], "-")
}

// loads holds the entry to the rules, as a configuration of its own.
func (i *importer) loads(text []byte) error {
	_, err := load(Options{Types: i.o.Types}, text)
	var faults Faults
	if !errors.As(err, &faults) {
		return err
	}
	for n := range faults {
		faults[n].Line = 0 // of a text that nobody sees
	}
	return fmt.Errorf("the description makes no provider: %w", faults)
}
