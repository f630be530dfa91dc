package credential

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/secret"
)

const canary = "CNRY-4c9e77"

var ref = Ref{"acme", "production", "crm", "main"}

func mustDecode(t *testing.T, data string) *Credential {
	t.Helper()
	c, _, err := Decode(ref, 3, []byte(data))
	if err != nil {
		t.Fatalf("Decode: %v", err)
	}
	return c
}

// members gives a JSON object's members as they are written.
func members(t *testing.T, data []byte) map[string]string {
	t.Helper()
	var m map[string]json.RawMessage
	if err := json.Unmarshal(data, &m); err != nil {
		t.Fatalf("%v in %s", err, data)
	}
	out := map[string]string{}
	for k, v := range m {
		out[k] = string(v)
	}
	return out
}

func wantEncoded(t *testing.T, c *Credential, want map[string]string) {
	t.Helper()
	b, err := Encode(c)
	if err != nil {
		t.Fatal(err)
	}
	if got := members(t, b); !maps.Equal(got, want) {
		t.Errorf("encoded as %s\nwant %v", b, want)
	}
}

func TestDecode(t *testing.T) {
	c := mustDecode(t, `{"provider":"wrong","type":"basic","description":"ours","username":"u","password":"p"}`)
	if c.Ref != ref || c.Version != 3 || c.Type != "basic" || c.Description != "ours" {
		t.Errorf("got %+v", c)
	}
	if got := c.Names(); !slices.Equal(got, []string{"password", "username"}) || c.Field("username").Reveal() != "u" {
		t.Errorf("fields %q", got)
	}
	wantEncoded(t, c, map[string]string{
		"provider": `"crm"`, "type": `"basic"`, "description": `"ours"`, "username": `"u"`, "password": `"p"`,
	})
}

// What others keep in the record is written back as it was read.
func TestFieldsOfOthersSurvive(t *testing.T) {
	others := map[string]string{
		"owner": `{"team":["a",{"b":null}]}`, "tags": `[]`, "nothing": `null`, "empty": `""`, "newline": `"\n"`,
		"port": `5432`, "big": `12345678901234567890`, "exact": `1.50`, "live": `true`, "off": `false`,
	}
	in := map[string]json.RawMessage{"type": json.RawMessage(`"basic"`), "password": json.RawMessage(`"p"`)}
	for k, v := range others {
		in[k] = json.RawMessage(v)
	}
	data, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	c := mustDecode(t, string(data))
	if got := c.Names(); !slices.Equal(got, []string{"big", "exact", "live", "off", "password", "port"}) {
		t.Errorf("fields %q: want the scalars that are not empty", got)
	}
	for k, v := range map[string]string{"port": "5432", "big": "12345678901234567890", "exact": "1.50", "live": "true"} {
		if got := c.Field(k).Reveal(); got != v {
			t.Errorf("field %s = %q, want %q", k, got, v)
		}
	}
	c = c.Clone()
	c.Set("password", secret.New("new"))
	want := maps.Clone(others)
	want["provider"], want["type"], want["password"] = `"crm"`, `"basic"`, `"new"`
	wantEncoded(t, c, want)

	c.Set("port", secret.New("5433"))
	c.Set("live", secret.New("true"))
	c.Unset("big")
	c.Set("exact", secret.Value{})
	want["port"] = `"5433"`
	delete(want, "big")
	delete(want, "exact")
	wantEncoded(t, c, want)
}

// A type or description of another kind is read as text, and written as ours.
func TestDecodeOddTypes(t *testing.T) {
	c := mustDecode(t, `{"type":5,"description":null,"provider":{"a":1},"token":"x"}`)
	wantEncoded(t, c, map[string]string{"provider": `"crm"`, "type": `"5"`, "token": `"x"`})
}

func TestDecodeTrims(t *testing.T) {
	c, trimmed, err := Decode(ref, 1, []byte(`{"b":"x\n","a":"x\r\n\n","c":" x ","d":"x\ny","e":"x","type":"bearer\n"}`))
	if err != nil || !slices.Equal(trimmed, []string{"a", "b", "type"}) {
		t.Errorf("trimmed %q, %v; want a, b and type", trimmed, err)
	}
	for k, want := range map[string]string{"a": "x", "b": "x", "c": " x ", "d": "x\ny", "e": "x"} {
		if got := c.Field(k).Reveal(); got != want {
			t.Errorf("%s = %q, want %q", k, got, want)
		}
	}
	if c.Type != "bearer" {
		t.Errorf("type = %q", c.Type)
	}
}

func TestDecodeRefuses(t *testing.T) {
	for _, data := range []string{
		"", canary, `"` + canary + `"`, `["` + canary + `"]`, "null", `{"token":"` + canary, `{"token":"` + canary + `"} x`, `{"token":` + canary + `}`,
	} {
		_, _, err := Decode(ref, 1, []byte(data))
		if err == nil || err.Error() != "record acme/production/crm/main is not a JSON object" {
			t.Errorf("Decode(%q): %v, want an error that names the record and quotes nothing", data, err)
		}
	}
}

func TestEncodeRefuses(t *testing.T) {
	c := &Credential{Ref: ref}
	c.Set("token", secret.New(canary+"\xff"))
	if _, err := Encode(c); err == nil || !strings.Contains(err.Error(), `field "token" is not UTF-8`) || strings.Contains(err.Error(), canary) {
		t.Errorf("not UTF-8: %v", err)
	}
	c = &Credential{Ref: ref, Rest: map[string]json.RawMessage{"x": json.RawMessage(canary)}}
	if _, err := Encode(c); err == nil || strings.Contains(err.Error(), canary) {
		t.Errorf("not JSON: %v", err)
	}
}

// LK-01: a record in a log or an error shows no value, those of others included.
func TestCredentialNeverPrints(t *testing.T) {
	c := mustDecode(t, `{"token":"`+canary+`","n":1234567,"theirs":{"x":"`+canary+`"}}`)
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		fmt.Fprintf(&out, verb, c)
		fmt.Fprintf(&out, verb, *c)
		fmt.Fprintf(&out, verb, []*Credential{c})
		fmt.Fprintf(&out, verb, struct{ C Credential }{*c})
	}
	slog.New(slog.NewTextHandler(&out, nil)).Info("m", "c", c, "v", *c)
	slog.New(slog.NewJSONHandler(&out, nil)).Info("m", "c", c, "v", []Credential{*c})
	for _, hidden := range []string{canary, hex.EncodeToString([]byte(canary)), "1234567", fmt.Sprintf("%d", []byte("1234567"))} {
		if strings.Contains(out.String(), hidden) {
			t.Errorf("LK-01: printing shows %s in %s", hidden, out.String())
		}
	}
	if !strings.Contains(out.String(), "c=acme/production/crm/main") {
		t.Errorf("a log line does not name the record: %s", out.String())
	}
}

func TestClone(t *testing.T) {
	c := mustDecode(t, `{"token":"1","n":1}`)
	d := c.Clone()
	d.Set("token", secret.New("2"))
	d.Unset("n")
	if c.Field("token").Reveal() != "1" || c.Rest["n"] == nil {
		t.Error("the clone shares a map")
	}
	(&Credential{}).Clone().Set("a", secret.New("b")) // no map yet
}

func TestPublic(t *testing.T) {
	for field, want := range map[string]bool{
		"url": true, "username": true, "client_id": true, "expires_at": true,
		"password": false, "token": false, "client_secret": false, "private_key": false, "access_token": false, "refresh_token": false,
		"subject_token": false, "api_key": false, "certificate": false, StateField: false, "anything": false, "": false,
	} {
		if Public(field) != want {
			t.Errorf("Public(%q) = %v", field, !want)
		}
	}
}

// What Decode accepts encodes, and reads back as itself.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{
		`{}`, `{"type":"basic","password":"x\n"}`, `{"a":1,"b":null,"c":[1],"d":{"e":""},"f":true,"g":""}`, `{"a":1e400}`, `{"\u0000":"\ud800"}`, `null`, `[]`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, _, err := Decode(ref, 1, data)
		if err != nil {
			return
		}
		b, err := Encode(c)
		if err != nil {
			t.Fatalf("what was read does not encode: %v", err)
		}
		d, trimmed, err := Decode(ref, 1, b)
		if err != nil {
			t.Fatalf("%s does not read back: %v", b, err)
		}
		if d.Type != c.Type || d.Description != c.Description || !slices.Equal(c.Names(), d.Names()) {
			t.Errorf("%s came back as %+v, was %+v", b, d, c)
		}
		for _, k := range c.Names() {
			if !c.Field(k).Equal(d.Field(k)) {
				t.Errorf("field %q changed", k)
			}
		}
		if !slices.Equal(slices.Sorted(maps.Keys(c.Rest)), slices.Sorted(maps.Keys(d.Rest))) {
			t.Errorf("fields of others changed: %v, %v", c.Rest, d.Rest)
		}
		for _, k := range trimmed {
			if _, others := c.Rest[k]; !others {
				t.Errorf("field %q is trimmed a second time", k)
			}
		}
	})
}
