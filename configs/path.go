package configs

import (
	"strconv"
	"strings"
)

// A path is how a key is found: proxy.ca.permitted, provider[0].place[1].in,
// provider[0].headers."X Y".

func join(path, key string) string {
	if !bare(key) {
		key = strconv.Quote(key)
	}
	if path == "" {
		return key
	}
	return path + "." + key
}

func index(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }

// parent cuts the last index or key; the parent of a top-level key is empty.
func parent(path string) string {
	return path[:max(strings.LastIndexAny(path, ".["), 0)]
}

func bare(key string) bool {
	for i := range len(key) {
		if c := key[i]; (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' && c != '-' {
			return false
		}
	}
	return key != ""
}
