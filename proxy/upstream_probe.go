package proxy

import (
	"net"
	"syscall"
)

// quietProbe makes a function that tells whether a connection is open and has
// nothing to be read. A connection that cannot be asked is never reused.
func quietProbe(c net.Conn) func() bool {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return func() bool { return false }
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return func() bool { return false }
	}
	var quiet bool
	var b [1]byte
	look := func(fd uintptr) {
		_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		quiet = err == syscall.EAGAIN || err == syscall.EWOULDBLOCK //nolint:errorlint // a bare errno
	}
	return func() bool {
		quiet = false
		return raw.Control(look) == nil && quiet
	}
}
