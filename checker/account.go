package checker

import (
	"encoding/json"
	"mime"
	"net/http"
	"strings"
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

// denies reports whether an answer of a good status says in its body that it is none.
func denies(h http.Header, body []byte) bool {
	m := object(h, body)
	return string(m["ok"]) == "false" || string(m["success"]) == "false"
}

// object reads a JSON object; nil if the answer is none, or one of more than was read.
func object(h http.Header, body []byte) map[string]json.RawMessage {
	if t, _, _ := mime.ParseMediaType(h.Get("Content-Type")); !strings.HasSuffix(t, "json") {
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
