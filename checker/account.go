package checker

import (
	"encoding/json"
	"net/http"
	"slices"
)

// Members under which the answers of verify requests name the account.
var (
	loginMembers = []string{"login", "username", "user"}
	kindMembers  = []string{"type", "accountType"}
)

// maxAccount bounds what is shown of a login or a kind, in bytes.
const maxAccount = 200

// account reads who the credential belongs to where the answer is a JSON object
// that says so; nil where it does not.
func account(h http.Header, body []byte) *Account {
	m := object(h, body)
	login := text(m, loginMembers)
	if login == "" {
		return nil
	}
	return &Account{Login: login, Kind: text(m, kindMembers)}
}

// Members of answers that say that something went wrong, whatever the status says:
// those of GraphQL and of APIs that answer 200 to everything.
var (
	errorMembers = []string{"error", "Error", "errors", "errcode", "error_code"}
	failures     = []string{"error", "fail", "failed"} // as the status that a body tells
)

// denies reports whether an answer of a good status says in its body that it is none.
func denies(h http.Header, body []byte) bool {
	m := object(h, body)
	if string(m["ok"]) == "false" || string(m["success"]) == "false" {
		return true
	}
	if slices.Contains(failures, text(m, []string{"status"})) {
		return true
	}
	return slices.ContainsFunc(errorMembers, func(name string) bool { return !hollow(m[name]) })
}

// hollow reports whether a JSON value, nil for none, says nothing.
func hollow(v json.RawMessage) bool {
	switch string(v) {
	case "", "null", "false", "0", `""`, `"0"`, "[]", "{}":
		return true
	}
	return false
}

// object reads a JSON object, which scripts in PHP often call a page; nil if the
// answer is none, or one of more than was read.
func object(h http.Header, body []byte) map[string]json.RawMessage {
	if !isJSON(h) && !page(h) {
		return nil
	}
	var m map[string]json.RawMessage
	if json.Unmarshal(body, &m) != nil {
		return nil
	}
	return m
}

// text gives the first of the members that is a short string.
func text(m map[string]json.RawMessage, names []string) string {
	for _, name := range names {
		var s string
		if json.Unmarshal(m[name], &s) == nil && s != "" && len(s) <= maxAccount {
			return s
		}
	}
	return ""
}
