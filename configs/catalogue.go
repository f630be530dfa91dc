package configs

import (
	"embed"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
)

// catalogueFiles hold one [[provider]] each, as a configuration would write it.
//
//go:embed catalogue/*.toml
var catalogueFiles embed.FS

// shipped is a built-in provider.
type shipped struct {
	tree map[string]any
	note string // what a person needs to know of it: the comment that its file begins with
	sum  string // of its file
}

// catalogue gives the built-in providers by name.
func catalogue() (map[string]shipped, error) {
	names, err := catalogueFiles.ReadDir("catalogue")
	if err != nil {
		return nil, err
	}
	entries := make(map[string]shipped, len(names))
	for _, file := range names {
		entry, err := catalogueEntry(path.Join("catalogue", file.Name()))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file.Name(), err)
		}
		entries[strings.TrimSuffix(file.Name(), ".toml")] = entry
	}
	return entries, nil
}

func catalogueEntry(file string) (shipped, error) {
	text, err := catalogueFiles.ReadFile(file)
	if err != nil {
		return shipped{}, err
	}
	var tree map[string]any
	if _, err := toml.Decode(string(text), &tree); err != nil {
		return shipped{}, err
	}
	entries, _ := tree["provider"].([]map[string]any)
	if len(entries) != 1 || len(tree) != 1 || entries[0]["name"] != strings.TrimSuffix(path.Base(file), ".toml") {
		return shipped{}, fmt.Errorf("holds something else than one [[provider]] of its name")
	}
	return shipped{entries[0], leadingComment(string(text)), shortSum(text)}, nil
}

// leadingComment gives the comment that a file begins with, as one line.
func leadingComment(text string) string {
	var words []string
	for line := range strings.Lines(text) {
		comment, ok := strings.CutPrefix(line, "#")
		if !ok {
			break
		}
		words = append(words, strings.Fields(comment)...)
	}
	return strings.Join(words, " ")
}

// merge lays the keys of over on those of base: tables key by key, all else as
// a whole. It changes neither.
func merge(base, over map[string]any) map[string]any {
	out := maps.Clone(base)
	for _, k := range slices.Sorted(maps.Keys(over)) {
		below, isTable := over[k].(map[string]any)
		if under, ok := out[k].(map[string]any); ok && isTable {
			out[k] = merge(under, below)
			continue
		}
		out[k] = over[k]
	}
	return out
}
