package proxy

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/sallyport/sallyport/auth"
	"github.com/sallyport/sallyport/internal/credential"
)

// Whose a token is, and what that caller may use; whatever the listeners ask for.
func TestIdentify(t *testing.T) {
	r := newRig(t, echo, func(r *rig) {
		r.config.Callers = []Caller{
			{Name: "narrow", Workspace: "acme", Environment: "production", TokenSHA256: sha256.Sum256([]byte("t-narrow")), Allow: []Allow{{Credentials: []string{"api/main"}}}},
			{Name: "wide", Workspace: "acme", Environment: "production", TokenSHA256: sha256.Sum256([]byte("t-wide"))},
			{Name: "other", Workspace: "zoo", Environment: "staging", TokenSHA256: sha256.Sum256([]byte("t-shared"))},
			{Name: "another", Workspace: "zoo", Environment: "staging", TokenSHA256: sha256.Sum256([]byte("t-shared"))},
			{Name: "without", Workspace: "acme", Environment: "production"},
		}
		r.config.Anonymous = "wide"
	})
	basic := func(pair string) string { return "Basic " + base64.StdEncoding.EncodeToString([]byte(pair)) }
	for _, c := range []struct {
		values []string
		want   string // caller; empty: none
	}{
		{[]string{"Bearer t-narrow"}, "narrow"},
		{[]string{basic("wide:t-wide")}, "wide"},
		{[]string{basic("another:t-shared")}, "another"},
		{[]string{"Bearer t-shared"}, ""}, // whose of the two?
		{[]string{basic("wide:t-narrow")}, ""},
		{[]string{basic("without:")}, ""},
		{[]string{"Bearer "}, ""},
		{[]string{"Bearer t-wide", "Bearer t-wide"}, ""},
		{nil, ""},
	} {
		got, ok := r.srv.Identify(c.values)
		if got.Name != c.want || ok != (c.want != "") {
			t.Errorf("%q is %q, %v; want %q", c.values, got.Name, ok, c.want)
		}
	}
	narrow, _ := r.srv.Identify([]string{"Bearer t-narrow"})
	for ref, want := range map[string][2]bool{ // may narrow use it, does anybody want it
		"acme/production/api/main": {true, true}, "acme/production/api/second": {false, true},
		"acme/staging/api/main": {false, false}, "zoo/staging/api/main": {false, true},
	} {
		if got := [2]bool{narrow.MayUse(mustRef(ref)), r.srv.Wanted(mustRef(ref))}; got != want {
			t.Errorf("%s: %v, want %v", ref, got, want)
		}
	}
	want := []credential.Ref{{Workspace: "acme", Environment: "production"}, {Workspace: "zoo", Environment: "staging"}}
	if got := r.srv.Folders(); !slices.Equal(got, want) {
		t.Errorf("folders %v", got)
	}
}

// Only what is in use has a status; a token that was got beside it is served at once.
func TestStatuses(t *testing.T) {
	r := newRig(t, echo)
	if got := r.srv.Statuses(); len(got) != 0 {
		t.Errorf("before any use: %v", got)
	}
	if got := r.get(r.client(false), r.url("/x")); got.StatusCode != http.StatusOK {
		t.Fatalf("status %d", got.StatusCode)
	}
	all := r.srv.Statuses()
	if len(all) != 1 {
		t.Fatalf("after one use: %v", all)
	}
	for ref, st := range all {
		if st.LastError != nil || st.Version == 0 {
			t.Errorf("%s: %+v", ref, st)
		}
		r.srv.Renewed(credential.Ref{Workspace: "no", Environment: "such", Provider: "api", Name: "one"}, auth.Obtained{})
		if got := r.srv.Statuses(); len(got) != 1 || time.Since(got[ref].LastRefresh) < time.Hour {
			t.Errorf("%v", got)
		}
	}
}
