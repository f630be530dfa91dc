package checker

import "encoding/json"

// Members under which the answers of verify requests name the account.
var (
	loginMembers = []string{"login", "username", "user"}
	kindMembers  = []string{"type", "accountType"}
)

// maxAccount bounds what is shown of a login or a kind, in bytes.
const maxAccount = 200

// account reads who the credential belongs to where the answer is a JSON object
// that says so; nil where it does not.
func account(body []byte) *Account {
	m := object(body)
	login := text(m, loginMembers)
	if login == "" {
		return nil
	}
	return &Account{Login: login, Kind: text(m, kindMembers)}
}

// object reads a JSON object; nil: it is none.
func object(body []byte) map[string]json.RawMessage {
	var m map[string]json.RawMessage
	_ = json.Unmarshal(body, &m)
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
