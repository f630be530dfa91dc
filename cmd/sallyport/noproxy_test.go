package main

import "testing"

func TestCovers(t *testing.T) {
	for _, c := range []struct {
		entry, pattern string
		want           bool
	}{
		{"*", "api.github.com", true},
		{"github.com", "api.github.com", true},
		{".github.com", "api.github.com", true},
		{"*.github.com", "api.github.com", true},
		{"api.github.com", "api.github.com", true},
		{"API.GitHub.com", "api.github.com", true},
		{"com", "api.github.com", true},
		{"hub.com", "api.github.com", false},
		{"uploads.github.com", "api.github.com", false},
		{"api.github.com:443", "api.github.com", true},
		{"api.github.com:80", "api.github.com", true},
		{"api.github.com:8443", "api.github.com", false},
		{"crm.internal:8443", "crm.internal:8443", true},
		{"crm.internal:443", "crm.internal:8443", false},
		{"crm.internal", "crm.internal:8443", true},
		{"internal", "crm.internal:8443", true},
		{"10.0.0.0/8", "10.1.2.3", true},
		{"10.0.0.0/8", "10.1.2.3:8080", true},
		{"10.0.0.0/8", "11.1.2.3", false},
		{"10.0.0.0/8", "api.github.com", false},
		{"10.1.2.3", "10.1.2.3", true},
		{"::1", "[::1]:8080", true},
		{"slack.com", "*.slack.com", true},
		{"files.slack.com", "*.slack.com", true},
		{"lack.com", "*.slack.com", false},
		{"zendesk.com", "{subdomain}.zendesk.com", true},
		{"acme.zendesk.com", "{subdomain}.zendesk.com", true},
		{"example.com", "{subdomain}.zendesk.com", false},
		{"127.0.0.1:3129", "api.github.com", false},
		{"localhost", "api.github.com", false},
		{".", "api.github.com", false},
	} {
		if got := covers(c.entry, c.pattern); got != c.want {
			t.Errorf("NO_PROXY %s, host %s: got %v, want %v", c.entry, c.pattern, got, c.want)
		}
	}
}

func TestAuthority(t *testing.T) {
	for in, want := range map[string]string{
		"https://vault.example.com:8200": "vault.example.com:8200",
		"https://vault.example.com":      "vault.example.com:443",
		"http://127.0.0.1":               "127.0.0.1:80",
		"https://[::1]:8200":             "[::1]:8200",
		"":                               "",
		"unix:///run/vault.sock":         "",
	} {
		if got := authority(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}
