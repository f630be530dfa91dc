package auth

import (
	"net/url"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
	"github.com/sallyport/sallyport/internal/secret"
)

// FTP is the login of an FTP server as its record says it.
type FTP struct {
	At       provider.Authority // the server's host and port
	Implicit bool               // TLS from the first byte on: ftps://

	username, password secret.Value
}

// FTPOf reads a record of a provider whose servers speak FTP: its url is
// ftp://HOST[:PORT], port 21 without one, or ftps://HOST[:PORT], port 990. Errors
// are *fault.Fault, field_missing, that name the field and never its value.
func FTPOf(p *provider.Provider, c *credential.Credential) (FTP, error) {
	if _, err := kindFor(p, c); err != nil {
		return FTP{}, err
	}
	for _, name := range []string{"username", "password"} {
		if c.Field(name).Empty() {
			return FTP{}, unfit("field %s is missing", name)
		}
		if wrong := fitText(c.Field(name).Reveal()); wrong != "" {
			return FTP{}, unfit("field %s %s", name, wrong)
		}
	}
	f := FTP{username: c.Field("username"), password: c.Field("password")}
	err := f.server(c.Text("url"))
	return f, err
}

var ftpPorts = map[string]int{"ftp": 21, "ftps": 990}

// server reads the url of a record.
func (f *FTP) server(raw string) error {
	u, err := url.Parse(raw)
	if err != nil || ftpPorts[u.Scheme] == 0 || u.Host == "" {
		return unfit("field url is not ftp://HOST[:PORT] or ftps://HOST[:PORT]")
	}
	if u.User != nil || u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" {
		return unfit("field url has more than a host and a port")
	}
	f.Implicit = u.Scheme == "ftps"
	if f.At, err = provider.ParseAuthority(u.Host, ftpPorts[u.Scheme]); err != nil {
		return unfit("field url has no valid host")
	}
	return nil
}

// Fill puts the user's name and password where the client takes them from.
func (f FTP) Fill(username, password *string) {
	*username, *password = f.username.Reveal(), f.password.Reveal()
}

// errNotHTTP is of a provider whose logins are checked, and given to nobody.
var errNotHTTP = fault.New(fault.InvalidRequest, "the provider's servers speak FTP, and its credentials go on no HTTP request", nil)
