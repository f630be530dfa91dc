package proxy

import (
	"net/http"
	"strings"
)

// readable keeps of Accept-Encoding what a peek can read, for providers whose
// good answers may be errors: an unread one would not be known as such.
func readable(h http.Header) {
	const name = "Accept-Encoding"
	for _, v := range h[name] {
		if !allReadable(v) {
			h[name] = []string{readableOf(h[name])}
			return
		}
	}
}

func allReadable(v string) bool {
	for coding := range strings.SplitSeq(v, ",") {
		if !isReadable(coding) {
			return false
		}
	}
	return true
}

func readableOf(values []string) string {
	var kept []string
	for _, v := range values {
		for coding := range strings.SplitSeq(v, ",") {
			if isReadable(coding) {
				kept = append(kept, strings.TrimSpace(coding))
			}
		}
	}
	if len(kept) == 0 {
		return "identity"
	}
	return strings.Join(kept, ", ")
}

func isReadable(coding string) bool {
	coding, _, _ = strings.Cut(coding, ";")
	switch strings.ToLower(strings.TrimSpace(coding)) {
	case "gzip", "x-gzip", "identity":
		return true
	}
	return false
}
