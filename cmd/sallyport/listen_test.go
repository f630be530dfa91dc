package main

import (
	"strings"
	"testing"
)

// What is opened is what was asked for: all of IPv4 is not all of IPv6.
func TestListenFamily(t *testing.T) {
	for address, want := range map[string]string{"0.0.0.0:0": "0.0.0.0:", "127.0.0.1:0": "127.0.0.1:"} {
		ln, err := listen("proxy.listen", address)
		if err != nil {
			t.Fatal(err)
		}
		if got := shown(ln); !strings.HasPrefix(got, want) {
			t.Errorf("%s listens on %s", address, got)
		}
		if err := ln.Close(); err != nil {
			t.Error(err)
		}
	}
}
