package auth

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
	"github.com/sallyport/sallyport/internal/secret"
)

func TestDatabaseOf(t *testing.T) {
	p := &provider.Provider{Name: "db", Type: "database"}
	valid := map[string]string{"driver": "postgres", "host": "db.example", "database": "shop", "username": "app", "password": "s3cret"}
	for _, tc := range []struct {
		name   string
		fields []string // over the valid ones; an empty value takes one away
		want   string   // DRIVER://HOST:PORT/NAME SSLMODE, or what the fault says
	}{
		{"the driver's own port", nil, "postgres://db.example:5432/shop verify-full"},
		{"MySQL's", []string{"driver", "mysql"}, "mysql://db.example:3306/shop verify-full"},
		{"MariaDB's", []string{"driver", "mariadb"}, "mariadb://db.example:3306/shop verify-full"},
		{"another port", []string{"port", "6543"}, "postgres://db.example:6543/shop verify-full"},
		{"an address", []string{"host", "10.0.0.5"}, "postgres://10.0.0.5:5432/shop verify-full"},
		{"IPv6", []string{"host", "2001:DB8::1"}, "postgres://[2001:db8::1]:5432/shop verify-full"},
		{"IPv6 in brackets", []string{"host", "[2001:db8::1]", "port", "1"}, "postgres://[2001:db8::1]:1/shop verify-full"},
		{"this machine", []string{"host", "localhost"}, "postgres://localhost:5432/shop prefer"},
		{"an address of this machine", []string{"host", "127.0.0.2"}, "postgres://127.0.0.2:5432/shop prefer"},
		{"verify-full on this machine", []string{"host", "::1", "sslmode", "verify-full"}, "postgres://[::1]:5432/shop verify-full"},
		{"a mode", []string{"sslmode", "disable"}, "postgres://db.example:5432/shop disable"},
		{"the last port", []string{"port", "65535"}, "postgres://db.example:65535/shop verify-full"},
		{"no host", []string{"host", ""}, "field host is missing"},
		{"no driver", []string{"driver", ""}, "field driver is missing"},
		{"no password", []string{"password", ""}, "field password is missing"},
		{"no database", []string{"database", ""}, "field database is missing"},
		{"another driver", []string{"driver", "oracle"}, "field driver is none of postgres, mysql, mariadb"},
		{"another mode", []string{"sslmode", "allow"}, "field sslmode is none of disable, prefer, require, verify-ca, verify-full"},
		{"port 0", []string{"port", "0"}, "field port is not a number from 1 to 65535"},
		{"port 65536", []string{"port", "65536"}, "field port is not a number"},
		{"a port with a sign", []string{"port", "+1"}, "field port is not a number"},
		{"a port with a zero before", []string{"port", "05432"}, "field port is not a number"},
		{"a port in words", []string{"port", "postgres"}, "field port is not a number"},
		{"a port with the host", []string{"host", "db.example:5432"}, "field host has a port"},
		{"a port with IPv6", []string{"host", "[::1]:5432"}, "field host has a port"},
		{"a socket", []string{"host", "/var/run/postgresql"}, "field host is neither"},
		{"several hosts", []string{"host", "a.example,b.example"}, "field host is neither"},
		{"a user in the host", []string{"host", "u@db.example"}, "field host is neither"},
		{"a zone", []string{"host", "fe80::1%eth0"}, "field host is neither"},
		{"a control character in the name", []string{"database", "shop\x00x"}, "field database has a control character"},
		{"a control character in the user", []string{"username", "a\nb"}, "field username has a control character"},
		{"a control character in the password", []string{"password", "s3c\x00ret"}, "field password has a control character"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := record("database")
			fields := map[string]string{}
			for k, v := range valid {
				fields[k] = v
			}
			for i := 0; i < len(tc.fields); i += 2 {
				fields[tc.fields[i]] = tc.fields[i+1]
			}
			for k, v := range fields {
				c.Set(k, secret.New(v))
			}
			d, err := DatabaseOf(p, c)
			got := d.Driver + "://" + d.At.String() + "/" + d.Name + " " + d.SSLMode
			if strings.HasPrefix(tc.want, "field ") {
				if !errors.Is(err, fault.FieldMissing) || !strings.Contains(fault.From(err).Detail, tc.want) || strings.Contains(err.Error(), "s3c") {
					t.Errorf("got %v, want %q", err, tc.want)
				}
				if err := Validate(p, c); !errors.Is(err, fault.InvalidRequest) {
					t.Errorf("Validate: %v", err)
				}
				return
			}
			if err != nil || got != tc.want {
				t.Errorf("got %s, %v; want %s", got, err, tc.want)
			}
			if err := Validate(p, c); err != nil {
				t.Errorf("Validate: %v", err)
			}
			var user, password string
			if d.Fill(&user, &password); user != "app" || password != "s3cret" {
				t.Errorf("Fill gives %q, %q", user, password)
			}
		})
	}
}

// No request carries the login of a database, and none is sent without.
func TestDatabaseIsForNoRequest(t *testing.T) {
	c := record("database", "driver", "mysql", "host", "db.example", "database", "shop", "username", "app", "password", "s3cret")
	i, err := Mint(t.Context(), Material{Credential: c, Provider: &provider.Provider{Name: "db", Type: "database"}, Client: http.DefaultClient})
	if i != nil || !errors.Is(err, fault.InvalidRequest) || !strings.Contains(fault.From(err).Detail, "goes on no HTTP request") {
		t.Errorf("Mint = %v, %v", i, err)
	}
}
