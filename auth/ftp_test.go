package auth

import (
	"errors"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
)

func TestFTPOf(t *testing.T) {
	p := &provider.Provider{Name: "ftp", Type: "basic_url", Protocol: provider.FTP}
	for _, tc := range []struct{ url, user, password, want string }{
		{"ftp://files.example", "app", "s3cret", "files.example:21 explicit"},
		{"ftps://files.example/", "app", "s3cret", "files.example:990 implicit"},
		{"ftp://Files.Example:2121", "app", "s3cret", "files.example:2121 explicit"},
		{"ftp://[2001:DB8::1]", "app", "s3cret", "[2001:db8::1]:21 explicit"},
		{"", "app", "s3cret", "field url"},
		{"https://files.example", "app", "s3cret", "field url is not ftp://"},
		{"sftp://files.example", "app", "s3cret", "field url is not ftp://"},
		{"files.example", "app", "s3cret", "field url is not ftp://"},
		{"ftp:files.example", "app", "s3cret", "field url is not ftp://"},
		{"ftp://", "app", "s3cret", "field url is not ftp://"},
		{"ftp://u:s3cret@files.example", "app", "s3cret", "field url has more"},
		{"ftp://files.example/folder", "app", "s3cret", "field url has more"},
		{"ftp://files.example?x", "app", "s3cret", "field url has more"},
		{"ftp://files.example#x", "app", "s3cret", "field url has more"},
		{"ftp://files.example:0", "app", "s3cret", "field url has no valid host"},
		{"ftp://a,b", "app", "s3cret", "field url has no valid host"},
		{"ftp://files.example", "", "s3cret", "field username is missing"},
		{"ftp://files.example", "app", "", "field password is missing"},
		{"ftp://files.example", "app\r\nDELE x", "s3cret", "field username has a control character"},
		{"ftp://files.example", "app", "s3cret\r\nDELE x", "field password has a control character"},
	} {
		c := record("basic_url", "url", tc.url, "username", tc.user, "password", tc.password)
		f, err := FTPOf(p, c)
		got := f.At.String() + map[bool]string{true: " implicit", false: " explicit"}[f.Implicit]
		if strings.HasPrefix(tc.want, "field ") {
			if !errors.Is(err, fault.FieldMissing) || !strings.Contains(fault.From(err).Detail, tc.want) || strings.Contains(err.Error(), "s3c") {
				t.Errorf("%q: %v, want %s", tc.url, err, tc.want)
			}
			if err := Validate(p, c); !errors.Is(err, fault.InvalidRequest) {
				t.Errorf("%q: Validate: %v", tc.url, err)
			}
			continue
		}
		var user, password string
		if f.Fill(&user, &password); err != nil || got != tc.want || user != tc.user || password != tc.password {
			t.Errorf("%q: %s %s, %v; want %s", tc.url, got, user, err, tc.want)
		}
		if err := Validate(p, c); err != nil {
			t.Errorf("%q: Validate: %v", tc.url, err)
		}
	}
}

// Nothing is ever injected of a login over FTP.
func TestFTPIsNotInjected(t *testing.T) {
	p := &provider.Provider{Name: "ftp", Type: "basic_url", Protocol: provider.FTP}
	for _, url := range []string{"ftp://files.example", "https://files.example"} {
		c := record("basic_url", "url", url, "username", "app", "password", "s3cret")
		i, err := Mint(t.Context(), Material{Credential: c, Provider: p})
		if i != nil || !errors.Is(err, fault.InvalidRequest) {
			t.Errorf("%s: %v, %v", url, i, err)
		}
	}
}
