package configs

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
)

// way is what a security requirement becomes: a credential type, and where its
// fields go.
type way struct {
	names  []string // of the security schemes
	typ    string
	types  []string
	places []placeForm
	oauth2 oauth2Form
	key    string // the field of an API key, which other schemes beside it must not use
	guess  bool   // told so, and the entry is unverified
	notes  []note
	cost   int
	why    string // of impossible
}

// Costs of a way, the best first.
const (
	whole      = iota
	deprecated // the description says so
	partly     // somebody must get a token by other means
	impossible
)

func (w *way) say(key, format string, args ...any) {
	w.notes = append(w.notes, note{key, line(fmt.Sprintf(format, args...))})
}

func cannot(format string, args ...any) way {
	return way{cost: impossible, why: line(fmt.Sprintf(format, args...))}
}

// secured chooses how callers are known.
func (i *importer) secured() error {
	ways, err := i.ways()
	if err != nil {
		return err
	}
	if len(ways) == 0 {
		i.form.Type, i.form.Unverified = "api_key", true
		i.say("type", "the description has no security scheme, so this is a guess: a key as Authorization: Bearer; [[provider.place]] says otherwise")
		return nil
	}
	best := slices.MinFunc(ways, func(a, b way) int { return a.cost - b.cost }) // the first of the best
	if best.cost == impossible {
		var why []string
		for _, w := range ways {
			why = append(why, strings.Join(w.names, " and ")+": "+w.why)
		}
		return fmt.Errorf("no security scheme of the description can be done here: %s", line(strings.Join(why, "; ")))
	}
	i.take(best)
	i.others(best, ways)
	return nil
}

func (i *importer) take(w way) {
	o := i.form.OAuth2
	i.form.Type, i.form.Types, i.form.Places = w.typ, w.types, w.places
	o.AuthorizationURL, o.TokenURL, o.RefreshURL, o.Scopes = w.oauth2.AuthorizationURL, w.oauth2.TokenURL, w.oauth2.RefreshURL, w.oauth2.Scopes
	i.form.OAuth2, i.form.Unverified = o, w.guess
	i.notes = append(i.notes, w.notes...)
	if own := w.typ + "_url"; i.everybody && slices.Contains(urlTypes, own) {
		i.form.Types = append(i.form.Types, own)
		i.say("types", "a credential of type %s has the host of its account in its field url", own)
	}
	if i.optional {
		i.say("", "the API takes some requests without a credential; anonymous = true lets them out where there is none")
	}
}

// others tells of the schemes that were not chosen.
func (i *importer) others(best way, ways []way) {
	var left []string
	for name, ref := range i.doc.Components.SecuritySchemes {
		if slices.Contains(best.names, name) || ref == nil || ref.Value == nil {
			continue
		}
		text := name + " (" + kindOfScheme(ref.Value)
		if n := slices.IndexFunc(ways, func(w way) bool { return len(w.names) == 1 && w.names[0] == name && w.cost == impossible }); n >= 0 {
			text += "; it cannot be done: " + ways[n].why
		}
		left = append(left, text+")")
	}
	slices.Sort(left)
	if len(left) > 0 {
		i.say("type", "made of the security scheme %s; the description has others, for --scheme: %s", strings.Join(best.names, " and "), strings.Join(left[:min(len(left), 12)], ", "))
	}
}

func kindOfScheme(s *openapi3.SecurityScheme) string {
	switch s.Type {
	case "apiKey":
		return "apiKey in " + s.In
	case "http":
		return "http " + s.Scheme
	}
	return s.Type
}

// ways are the requirements that a request may meet, the ones of the whole API
// first, then by how many operations ask for them, then each scheme by itself.
func (i *importer) ways() ([]way, error) {
	all := i.doc.Components.SecuritySchemes
	if i.o.Scheme != "" && all[i.o.Scheme] == nil {
		return nil, fmt.Errorf("the description has no security scheme %q; it has %s", line(i.o.Scheme), line(orNone(slices.Sorted(maps.Keys(all)))))
	}
	requirements := slices.Clone(i.doc.Security)
	i.optional = slices.ContainsFunc(requirements, func(r openapi3.SecurityRequirement) bool { return len(r) == 0 })
	requirements = append(requirements, i.asked()...)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		requirements = append(requirements, openapi3.SecurityRequirement{name: nil})
	}
	var ways []way
	seen := map[string]bool{}
	for _, r := range requirements {
		names := slices.Sorted(maps.Keys(r))
		id := strings.Join(names, "\x00")
		if _, wanted := r[i.o.Scheme]; len(names) == 0 || seen[id] || i.o.Scheme != "" && !wanted {
			continue
		}
		seen[id] = true
		ways = append(ways, i.way(names, r))
	}
	return ways, nil
}

func orNone(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names[:min(len(names), 30)], ", ")
}

// asked are the requirements of single operations, the most frequent first.
func (i *importer) asked() []openapi3.SecurityRequirement {
	count := map[string]int{}
	by := map[string]openapi3.SecurityRequirement{}
	for _, item := range i.doc.Paths.Map() {
		if item == nil {
			continue
		}
		for _, op := range item.Operations() {
			if op.Security == nil {
				continue
			}
			for _, r := range *op.Security {
				names := slices.Sorted(maps.Keys(r))
				id := strings.Join(names, "\x00")
				count[id]++
				by[id] = openapi3.SecurityRequirement{}
				for _, name := range names {
					by[id][name] = nil // one operation's scopes are not the whole API's
				}
			}
		}
	}
	ids := slices.SortedFunc(maps.Keys(by), func(a, b string) int {
		if count[a] != count[b] {
			return count[b] - count[a]
		}
		return strings.Compare(a, b)
	})
	var out []openapi3.SecurityRequirement
	for _, id := range ids {
		out = append(out, by[id])
	}
	return out
}

// way makes one of a requirement: one scheme, or API keys beside one other.
func (i *importer) way(names []string, scopes openapi3.SecurityRequirement) way {
	var keys, mains []way
	for _, name := range names {
		ref := i.doc.Components.SecuritySchemes[name]
		if ref == nil || ref.Value == nil {
			return named(cannot("the description has no scheme %q", name), names)
		}
		w := i.ofScheme(ref.Value, scopes[name])
		if strings.Contains(strings.ToLower(ref.Value.Description), "deprecated") && w.cost == whole {
			w.cost = deprecated
		}
		if w.cost == impossible {
			return named(w, names)
		}
		if w.key != "" {
			keys = append(keys, w)
		} else {
			mains = append(mains, w)
		}
	}
	if len(mains) > 1 {
		return named(cannot("two schemes for one request"), names)
	}
	return named(i.together(mains, keys), names)
}

func named(w way, names []string) way {
	w.names = names
	return w
}

// together puts API keys beside a scheme of another kind, or beside each other.
// Where the field api_key is another's, a key has a field of its own name.
func (i *importer) together(mains, keys []way) way {
	w := way{typ: "api_key"}
	free := len(mains) == 0
	if !free {
		w = mains[0]
	}
	if w.typ == "basic" && len(keys) > 0 {
		w.typ, free = "basic_api_key", true
	}
	slices.SortStableFunc(keys, func(a, b way) int { return secrecy(b.key) - secrecy(a.key) })
	for _, k := range keys {
		p, field := k.places[0], "api_key"
		if !free {
			field = i.field(p.Name)
		}
		if field == "" {
			return cannot("the key %q has no name for a field", p.Name)
		}
		free = false
		p.Value = strings.Replace(p.Value, "{api_key}", "{"+field+"}", 1)
		w.places, w.notes, w.cost, w.guess = append(w.places, p), append(w.notes, k.notes...), max(w.cost, k.cost), w.guess || k.guess
		if len(mains)+len(keys) > 1 {
			w.say("place", "each credential has %s in its field %s", p.Name, field)
		}
	}
	return w
}

// secrecy tells keys from the names of accounts that stand beside them.
func secrecy(name string) int {
	name = strings.ToLower(name)
	if strings.Contains(name, "key") || strings.Contains(name, "token") || strings.Contains(name, "secret") {
		return 1
	}
	return 0
}
