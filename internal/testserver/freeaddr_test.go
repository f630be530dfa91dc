package testserver

import (
	"fmt"
	"net"
	"testing"
)

func TestFreeAddr(t *testing.T) {
	given := map[string]bool{}
	for range 500 {
		addr := FreeAddr(t)
		if given[addr] || claimable(addr) {
			t.Fatalf("%s may be given twice", addr)
		}
		given[addr] = true
		ln, err := net.Listen("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		_ = ln.Close()
	}
	back := 0
	for i := range 5 { // somebody else may be given one of them at once
		var addr string
		t.Run(fmt.Sprint("a test that ends ", i), func(t *testing.T) { addr = FreeAddr(t) })
		if claimable(addr) {
			back++
		}
	}
	if back == 0 {
		t.Error("ports are not given back with their test")
	}
}

func claimable(addr string) bool {
	claim, err := net.ListenPacket("udp", addr)
	if err != nil {
		return false
	}
	_ = claim.Close()
	return true
}
