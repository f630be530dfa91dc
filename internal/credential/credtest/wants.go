package credtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"testing"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/secret"
)

func record(ref credential.Ref, fields ...string) *credential.Credential {
	c := &credential.Credential{Ref: ref, Type: "basic"}
	for i := 0; i+1 < len(fields); i += 2 {
		c.Set(fields[i], secret.New(fields[i+1]))
	}
	return c
}

func with(c *credential.Credential, version int) *credential.Credential {
	c.Version = version
	return c
}

func get(t *testing.T, s credential.Store, ref credential.Ref) error {
	t.Helper()
	_, err := s.Get(t.Context(), ref)
	return err
}

func mustGet(t *testing.T, s credential.Store, ref credential.Ref) *credential.Credential {
	t.Helper()
	c, err := s.Get(t.Context(), ref)
	if err != nil {
		t.Fatalf("Get %s: %v", ref, err)
	}
	return c
}

func put(t *testing.T, s credential.Store, c *credential.Credential) {
	t.Helper()
	if err := s.Put(t.Context(), c); err != nil {
		t.Fatalf("Put %s: %v", c.Ref, err)
	}
}

func wantFault(t *testing.T, what string, err error, code fault.Code) {
	t.Helper()
	if !errors.Is(err, code) {
		t.Errorf("%s: error %v, want %s", what, err, code)
	}
	wantAnyFault(t, what, err)
}

func wantAnyFault(t *testing.T, what string, err error) {
	t.Helper()
	if f := (*fault.Fault)(nil); !errors.As(err, &f) {
		t.Errorf("%s: error %v is no fault", what, err)
	}
}

func wantRefs(t *testing.T, s credential.Store, folder credential.Ref, want ...credential.Ref) {
	t.Helper()
	got, err := s.List(t.Context(), folder)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("List of %s = %v, %v; want %v", folder, got, err, want)
	}
}

// sameJSON looks at neither spaces nor the order of keys; numbers must have the same digits.
func sameJSON(a, b []byte) bool {
	x, y := canonical(a), canonical(b)
	return x != nil && bytes.Equal(x, y)
}

func canonical(raw []byte) []byte {
	var v any
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if d.Decode(&v) != nil {
		return nil
	}
	b, err := json.Marshal(v)
	if err != nil {
		return nil
	}
	return b
}
