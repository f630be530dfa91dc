package main

import (
	"testing"

	"github.com/sallyport/sallyport/internal/credential"
)

// What others keep in a record that is overwritten stays; what is ours is the archive's.
func TestImportKeepsFieldsOfOthers(t *testing.T) {
	ref := credential.Ref{Workspace: "acme", Environment: "production", Provider: "crm", Name: "main"}
	read := func(data string) *credential.Credential {
		c, _, err := credential.Decode(ref, 1, []byte(data))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	there := read(`{"provider":"crm","type":"basic","username":"old","password":"old","access_token":"t","owner":"team-a","port":5432,"tags":["a"],"note":""}`)
	got := adopt(read(`{"provider":"crm","type":"api_key","api_key":"new","port":"1"}`), there)
	want := read(`{"provider":"crm","type":"api_key","api_key":"new","port":"1","owner":"team-a","tags":["a"],"note":""}`)
	if !got.Equal(want) {
		t.Errorf("fields %q, want %q", got.Names(), want.Names())
	}
}
