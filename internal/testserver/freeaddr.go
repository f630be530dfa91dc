package testserver

import (
	"fmt"
	"math/rand/v2"
	"net"
	"testing"
)

// Ports that no system gives to those who ask for any one, neither to listen nor to call from: nobody comes by one of
// them while a server is not yet, or not now, listening on it.
const (
	firstPort = 20_000
	lastPort  = 32_000
)

// FreeAddr gives a loopback address on which nothing listens now. No other call gives it, in this process or another,
// until the test ends.
func FreeAddr(tb testing.TB) string {
	tb.Helper()
	for range 1000 {
		addr := fmt.Sprintf("127.0.0.1:%d", firstPort+rand.IntN(lastPort-firstPort))
		claim, err := net.ListenPacket("udp", addr) // it goes with its process at the latest
		if err != nil {
			continue
		}
		ln, err := net.Listen("tcp", addr)
		if err != nil {
			_ = claim.Close()
			continue
		}
		_ = ln.Close()
		tb.Cleanup(func() { _ = claim.Close() })
		return addr
	}
	tb.Fatalf("no port of %d to %d is free", firstPort, lastPort)
	return ""
}
