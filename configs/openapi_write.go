package configs

import (
	"bytes"
	"reflect"
)

// text writes the entry: the keys that say something, under their notes. What
// is about a key that is not written stands at the top.
func (i *importer) text() ([]byte, error) {
	w, _ := i.written()
	for n := range i.notes {
		if !w.seen[i.notes[n].key] {
			i.notes[n].key = ""
		}
	}
	w, text := i.written()
	return text.Bytes(), w.err
}

func (i *importer) written() (*noted, *bytes.Buffer) {
	var b bytes.Buffer
	w := &noted{writer: writer{out: &b}, notes: i.notes, seen: map[string]bool{}}
	w.print("# %s, made from its OpenAPI description\n", line(i.doc.Info.Title+" "+i.doc.Info.Version))
	w.note("")
	w.print("[[provider]]\n")
	var plain providerForm
	plain.setDefaults()
	plain.Type = "" // which one it is, is always said
	w.table("provider", "", reflect.ValueOf(i.form), reflect.ValueOf(plain))
	return w, &b
}

// noted is a writer that leaves out what a form has by itself, and writes notes
// above the keys that they are about.
type noted struct {
	writer
	notes []note
	seen  map[string]bool // keys that were written
}

func (w *noted) note(key string) {
	w.seen[key] = true
	for _, n := range w.notes {
		if n.key == key {
			w.print("# %s\n", n.text)
		}
	}
}

// table is writer.table; key is path without the entry's own.
func (w *noted) table(path, key string, v, plain reflect.Value) {
	fields := keysOf(v.Type())
	for _, f := range fields {
		e, by := v.Field(f.index), plain.Field(f.index)
		if !isTable(e.Type()) && !isArray(e.Type()) && !sameValue(e, by) {
			w.note(join(key, f.name))
			w.pair(f.name, e)
		}
	}
	for _, f := range fields {
		e, by := v.Field(f.index), plain.Field(f.index)
		if !isTable(e.Type()) && !isArray(e.Type()) || sameValue(e, by) {
			continue
		}
		w.print("\n")
		w.note(join(key, f.name))
		if isTable(e.Type()) {
			w.print("[%s]\n", join(path, f.name))
			w.table(join(path, f.name), join(key, f.name), e, by)
			continue
		}
		for n := range e.Len() {
			w.print("[[%s]]\n", join(path, f.name))
			w.table(join(path, f.name), join(key, f.name), e.Index(n), reflect.Zero(e.Type().Elem()))
		}
	}
}
