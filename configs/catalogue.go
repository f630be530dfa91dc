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

// catalogue gives the tree of each built-in provider by name.
func catalogue() (map[string]map[string]any, error) {
	names, err := catalogueFiles.ReadDir("catalogue")
	if err != nil {
		return nil, err
	}
	entries := make(map[string]map[string]any, len(names))
	for _, file := range names {
		entry, err := catalogueEntry(path.Join("catalogue", file.Name()))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file.Name(), err)
		}
		entries[strings.TrimSuffix(file.Name(), ".toml")] = entry
	}
	return entries, nil
}

func catalogueEntry(file string) (map[string]any, error) {
	text, err := catalogueFiles.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var tree map[string]any
	if _, err := toml.Decode(string(text), &tree); err != nil {
		return nil, err
	}
	entries, _ := tree["provider"].([]map[string]any)
	if len(entries) != 1 || len(tree) != 1 || entries[0]["name"] != strings.TrimSuffix(path.Base(file), ".toml") {
		return nil, fmt.Errorf("holds something else than one [[provider]] of its name")
	}
	return entries[0], nil
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
