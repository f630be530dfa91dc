package vault

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/sallyport/sallyport/internal/credential"
)

// What others keep in sallyport_state comes back as it was, whatever it is.
func FuzzVaultState(f *testing.F) {
	for _, s := range []string{"", "{}", "null", `{"claim":{"owner":"a","until":1}}`, `[1]`, `"x"`, "text", `{"a":1`, `{"":0}`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if !utf8.ValidString(s) || s != strings.TrimRight(s, "\r\n") {
			t.Skip("a record holds no such text")
		}
		c := newCredential(t, "crm", credential.StateField, s)
		data, err := marked(c, "id")
		if err != nil {
			t.Fatal(err)
		}
		back, _, err := credential.Decode(c.Ref, 1, data)
		if err != nil {
			t.Fatal(err)
		}
		unmark(back)
		got := back.Field(credential.StateField).Reveal()
		state, isObject := stateOf(s)
		if !isObject {
			if got != s || attemptOf(data) != "" {
				t.Errorf("%q came back as %q", s, got)
			}
			return
		}
		if attemptOf(data) != "id" {
			t.Errorf("the attempt of %s reads %q", data, attemptOf(data))
		}
		delete(state, attempt)
		if after, _ := stateOf(got); !reflect.DeepEqual(members(t, state), members(t, after)) {
			t.Errorf("%q came back as %q", s, got)
		}
	})
}

// members gives JSON values that are equal if their texts mean the same.
func members(t *testing.T, state map[string]json.RawMessage) map[string]any {
	t.Helper()
	m := map[string]any{}
	for k, raw := range state {
		d := json.NewDecoder(strings.NewReader(string(raw)))
		d.UseNumber()
		var v any
		if err := d.Decode(&v); err != nil {
			t.Fatal(err)
		}
		m[k] = v
	}
	return m
}
