package testserver

import (
	"strings"
	"testing"
)

// A query is a real login: a wrong password is told apart.
func TestPostgres(t *testing.T) {
	p := StartPostgres(t)
	if out, err := p.Query(t, p.User, p.Password, "select 6*7"); err != nil || out != "42" {
		t.Errorf("Query = %q, %v", out, err)
	}
	if _, err := p.Query(t, p.User, "wrong", "select 1"); err == nil || !strings.Contains(err.Error(), "password authentication failed") {
		t.Errorf("a login with a wrong password: %v", err)
	}
	if users := p.Users(t); len(users) != 0 {
		t.Errorf("a fresh server has users of an engine: %v", users)
	}
}
