package secret

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
)

const canary = "CNRY-5f1e0c"

// LK-01: no way of printing shows the secret, at any depth of nesting.
func TestValueNeverPrints(t *testing.T) {
	type inner struct{ v Value }
	type outer struct {
		V Value
		P *Value
		M map[string]Value
		i inner
		e any
	}
	v := New(canary)
	o := outer{V: v, P: &v, M: map[string]Value{"k": v}, i: inner{v}, e: v}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
		for _, x := range []any{v, &v, o, &o, []Value{v}, o.i, map[string]any{"a": o}} {
			if got := fmt.Sprintf(verb, x); strings.Contains(got, canary) || strings.Contains(got, fmt.Sprintf("%x", canary)) {
				t.Errorf("LK-01: %s of %T shows the secret: %s", verb, x, got)
			}
		}
	}
	var buf bytes.Buffer
	slog.New(slog.NewJSONHandler(&buf, nil)).Info("m", "v", v, "o", o)
	slog.New(slog.NewTextHandler(&buf, nil)).Info("m", "v", v, "o", o)
	_ = json.NewEncoder(&buf).Encode(o)
	_ = toml.NewEncoder(&buf).Encode(map[string]any{"v": v})
	fmt.Fprint(&buf, errors.Join(fmt.Errorf("wrapped: %v", v)))
	if strings.Contains(buf.String(), canary) {
		t.Errorf("LK-01: an encoder shows the secret: %s", buf.String())
	}
	if v.Reveal() != canary {
		t.Errorf("Reveal = %q", v.Reveal())
	}
}

func TestValueReads(t *testing.T) {
	var v struct{ S Value }
	if err := json.Unmarshal([]byte(`{"S":"x"}`), &v); err != nil || v.S.Reveal() != "x" {
		t.Fatalf("got %q, %v", v.S.Reveal(), err)
	}
	if err := json.Unmarshal([]byte(`{"S":["`+canary+`"]}`), &v); err == nil || strings.Contains(err.Error(), canary) {
		t.Fatalf("a wrong type must fail without quoting it: %v", err)
	}
	if !New("").Empty() || !New("a").Equal(New("a")) || New("a").Equal(New("b")) || New("ab").Len() != 2 {
		t.Fatal("Empty, Equal or Len is wrong")
	}
}
