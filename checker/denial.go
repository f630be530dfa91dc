package checker

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/sallyport/sallyport/internal/provider"
)

// Members of answers, in lower case, that say that something went wrong, whatever
// the status says: those of GraphQL and of APIs that answer 200 to everything.
var (
	errorMembers   = []string{"error", "errors", "errcode", "error_code", "error_description", "fault"}
	successMembers = []string{"ok", "success", "issuccess"}
	statusMembers  = []string{"status", "result", "statuscode", "status_code"}
	messageMembers = []string{"message", "msg", "detail", "description"}
)

// failures are the statuses and results, in lower case, that a body tells.
var failures = []string{"error", "fail", "failed", "failure", "unauthorized", "forbidden", "denied"}

// no is false as JSON writes it, and as those do who do not.
var no = []string{"false", "0", `"false"`, `"0"`, `"no"`}

// roots of XML, in lower case, that tell of an error.
var roots = []string{"error", "errors", "fault", "exception", "errorresponse", "error_response"}

// refusalText is how a text refuses, beside what it says of a key.
var refusalText = regexp.MustCompile(`(?i)\b(?:un|not )(?:authori[sz]ed|authenticated)\b|\bauthenti?cation (?:failed|required|error)|\b(?:access|permission) denied\b|\bforbidden\b|\bnot logged in\b|\blogin required\b`)

// maxRefusal bounds a text that is nothing but a refusal, in bytes.
const maxRefusal = 1 << 10

// denies reports whether the body of an answer of a good status says that it is none.
func denies(body []byte) bool {
	body = bytes.TrimSpace(body)
	if m := object(body); m != nil {
		return objectDenies(m)
	}
	if root := rootOf(body); root.Local != "" {
		return slices.Contains(roots, root.Local) || slices.Contains(failures, root.Space)
	}
	var s string
	switch {
	case json.Unmarshal(body, &s) == nil:
		return refuses(s)
	case json.Valid(body):
		return false
	}
	return refuses(string(body))
}

func objectDenies(m map[string]json.RawMessage) bool {
	for name, v := range m {
		low := strings.ToLower(name)
		switch {
		case slices.Contains(errorMembers, low) && !hollow(v),
			slices.Contains(successMembers, low) && slices.Contains(no, strings.ToLower(string(v))),
			slices.Contains(statusMembers, low) && failing(v),
			low == "code" && refusing(string(v)),
			slices.Contains(messageMembers, low) && refuses(word(v)):
			return true
		}
	}
	return false
}

// failing reports whether a status is one of a failure, in words or as HTTP's number.
func failing(v json.RawMessage) bool {
	return slices.Contains(failures, strings.ToLower(word(v))) || refusing(strings.Trim(string(v), `"`))
}

// refusing reports whether a number is HTTP's for an error.
func refusing(number string) bool {
	n, err := strconv.Atoi(number)
	return err == nil && n >= 400 && n <= 599
}

// refuses reports whether a short text says that a key or its owner is not taken.
func refuses(text string) bool {
	return len(text) < maxRefusal && (refusalText.MatchString(text) || provider.SaysRejected([]byte(text)))
}

// word gives the text of a JSON string; empty: it is none.
func word(v json.RawMessage) string {
	var s string
	_ = json.Unmarshal(v, &s)
	return s
}

// hollow reports whether a JSON value, nil for none, says nothing.
func hollow(v json.RawMessage) bool {
	switch string(v) {
	case "", "null", "false", "0", `""`, `"0"`, "[]", "{}":
		return true
	}
	return false
}

// rootOf gives the root of an XML document, in lower case, or what is in the body of
// a SOAP envelope, and in place of its name space the status that it has as an
// attribute; the zero Name: it is no XML.
func rootOf(body []byte) xml.Name {
	if !bytes.HasPrefix(bytes.TrimLeft(body, "\ufeff \t\r\n"), []byte("<")) {
		return xml.Name{}
	}
	d := xml.NewDecoder(bytes.NewReader(body))
	d.Strict, d.CharsetReader = false, func(_ string, r io.Reader) (io.Reader, error) { return r, nil }
	for {
		t, err := d.RawToken()
		if err != nil {
			return xml.Name{}
		}
		start, ok := t.(xml.StartElement)
		name := xml.Name{Local: strings.ToLower(start.Name.Local)}
		if !ok || name.Local == "envelope" || name.Local == "body" {
			continue
		}
		for _, a := range start.Attr {
			if l := strings.ToLower(a.Name.Local); l == "status" || l == "stat" {
				name.Space = strings.ToLower(a.Value)
			}
		}
		return name
	}
}
