package provider

import (
	"reflect"
	"testing"
)

func TestParseChallenges(t *testing.T) {
	type params = map[string]string
	for _, tt := range []struct {
		in   string
		want []Challenge
	}{
		{``, nil},
		{`Negotiate`, []Challenge{{"Negotiate", nil}}},
		{`Negotiate YII/+a==, Basic realm="x"`, []Challenge{{"Negotiate", nil}, {"Basic", params{"realm": "x"}}}},
		{`Bearer`, []Challenge{{"Bearer", nil}}},
		{`Bearer realm="a, b" , ERROR = invalid_token,scope="x y"`, []Challenge{{"Bearer", params{"realm": "a, b", "error": "invalid_token", "scope": "x y"}}}},
		{`Basic, Bearer error="invalid_token"`, []Challenge{{"Basic", nil}, {"Bearer", params{"error": "invalid_token"}}}},
		{`Basic realm="say \"hi\" \\", Digest nonce=a`, []Challenge{{"Basic", params{"realm": `say "hi" \`}}, {"Digest", params{"nonce": "a"}}}},
		{`,, Bearer a=1,,b=2,`, []Challenge{{"Bearer", params{"a": "1", "b": "2"}}}},
		{`Bearer error=first, error=second`, []Challenge{{"Bearer", params{"error": "first"}}}},
		{`Bearer error="open`, []Challenge{{"Bearer", nil}}},
		{`"quoted"`, nil},
		{`Bearer a=1, (b)`, []Challenge{{"Bearer", params{"a": "1"}}}},
	} {
		if got := ParseChallenges([]string{tt.in}); !reflect.DeepEqual(got, tt.want) {
			t.Errorf("ParseChallenges(%s) = %v; want %v", tt.in, got, tt.want)
		}
	}
}

func FuzzParseChallenges(f *testing.F) {
	for _, s := range []string{`Bearer error="invalid_token"`, `Negotiate YII=`, `a b,c=d,"`, `Basic realm="\`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, c := range ParseChallenges([]string{s}) {
			if tok, rest := token(c.Scheme); tok == "" || rest != "" {
				t.Fatalf("ParseChallenges(%q) gives the scheme %q", s, c.Scheme)
			}
		}
	})
}
