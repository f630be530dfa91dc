package auth

import (
	"context"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
	"github.com/sallyport/sallyport/internal/secret"
)

// DatabaseType is the credential type of a database's login.
const DatabaseType = "database"

// Database is a login as its record says it.
type Database struct {
	Driver  string             // postgres, mysql or mariadb
	At      provider.Authority // the server's host and port
	Name    string             // of the database
	SSLMode string             // disable, prefer, require, verify-ca or verify-full

	username, password secret.Value
}

// databasePorts are the drivers and the ports that their servers listen on.
var databasePorts = map[string]int{"postgres": 5432, "mysql": 3306, "mariadb": 3306}

var (
	databaseDrivers = []string{"postgres", "mysql", "mariadb"}
	sslModes        = []string{"disable", "prefer", "require", "verify-ca", "verify-full"} // as libpq has them
)

// DatabaseOf reads a record of type database. Without a port it is the driver's
// own; without an sslmode it is verify-full, and on this machine prefer. Errors
// are *fault.Fault, field_missing, that name the field and never its value.
func DatabaseOf(p *provider.Provider, c *credential.Credential) (Database, error) {
	if _, err := kindFor(p, c); err != nil {
		return Database{}, err
	}
	return databaseOf(c)
}

func databaseOf(c *credential.Credential) (Database, error) {
	for _, name := range []string{"driver", "host", "port", "database", "sslmode", "username", "password"} {
		if wrong := fitText(c.Field(name).Reveal()); wrong != "" {
			return Database{}, unfit("field %s %s", name, wrong)
		}
	}
	d := Database{
		Driver: c.Text("driver"), Name: c.Text("database"), SSLMode: c.Text("sslmode"),
		username: c.Field("username"), password: c.Field("password"),
	}
	if !slices.Contains(databaseDrivers, d.Driver) {
		return Database{}, unfit("field driver is none of %s", strings.Join(databaseDrivers, ", "))
	}
	var err error
	if d.At, err = databaseServer(c.Text("host"), c.Text("port"), databasePorts[d.Driver]); err != nil {
		return Database{}, err
	}
	switch {
	case d.SSLMode != "" && !slices.Contains(sslModes, d.SSLMode):
		return Database{}, unfit("field sslmode is none of %s", strings.Join(sslModes, ", "))
	case d.SSLMode == "" && provider.Loopback(d.At.Host):
		d.SSLMode = "prefer"
	case d.SSLMode == "":
		d.SSLMode = "verify-full"
	}
	return d, nil
}

// databaseServer reads a host, a name or an address, IPv6 with or without
// brackets, and a port.
func databaseServer(host, port string, defaultPort int) (provider.Authority, error) {
	if addr, err := netip.ParseAddr(host); err == nil && addr.Is6() {
		host = "[" + host + "]"
	}
	a, err := provider.ParseAuthority(host, defaultPort)
	switch {
	case err != nil:
		return a, unfit("field host is neither a host name nor an address")
	case strings.Contains(host, ":") && !strings.HasSuffix(host, "]"):
		return a, unfit("field host has a port, which belongs into the field port")
	case port == "":
		return a, nil
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 || port[0] == '0' {
		return a, unfit("field port is not a number from 1 to 65535")
	}
	a.Port = int(n)
	return a, nil
}

// Fill puts the user's name and password where a driver takes them from.
func (d Database) Fill(username, password *string) {
	*username, *password = d.username.Reveal(), d.password.Reveal()
}

// databases completes the kind of a login that no HTTP request carries: it is
// checked, and given to nobody.
func databases(k Kind) Kind {
	k.plan = func(m Material) error {
		_, err := databaseOf(m.Credential)
		return err
	}
	k.Mint = func(_ context.Context, m Material) (*Injector, error) {
		if err := k.plan(m); err != nil {
			return nil, err
		}
		return nil, fault.New(fault.InvalidRequest, "the credential is the login of a database, which goes on no HTTP request", nil)
	}
	return k
}
