package testserver

import (
	"strings"
	"testing"
)

// A query is a real login: a wrong password is told apart.
func TestMariaDB(t *testing.T) {
	m := StartMariaDB(t)
	if out, err := m.Query(t, m.User, m.Password, "SELECT 6*7"); err != nil || out != "42" {
		t.Errorf("Query = %q, %v", out, err)
	}
	if _, err := m.Query(t, m.User, "wrong", "SELECT 1"); err == nil || !strings.Contains(err.Error(), "ERROR 1045") {
		t.Errorf("a login with a wrong password: %v", err)
	}
}
