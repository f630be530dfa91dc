package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/sallyport/sallyport/configs"
	"github.com/sallyport/sallyport/internal/file"
)

// listeners are the daemon's open doors.
type listeners struct {
	proxy   net.Listener
	bound   []boundDoor // [[proxy.listener]]
	admin   net.Listener
	socket  net.Listener
	metrics net.Listener // nil: none
}

type boundDoor struct {
	net.Listener
	caller string
}

// openListeners opens all of them or none.
func openListeners(cfg *configs.Config, stateDir string) (l *listeners, err error) {
	l = &listeners{}
	defer func() {
		if err != nil {
			l.close()
		}
	}()
	if l.proxy, err = listen("proxy.listen", cfg.Proxy.Listen); err != nil {
		return l, err
	}
	for i, b := range cfg.Proxy.Listeners {
		ln, err := listen(fmt.Sprintf("proxy.listener[%d].listen", i), b.Listen)
		if err != nil {
			return l, err
		}
		l.bound = append(l.bound, boundDoor{ln, b.Caller})
	}
	if l.admin, err = listen("admin.listen", cfg.Admin.Listen); err != nil {
		return l, err
	}
	if cfg.Admin.MetricsListen != "" {
		if l.metrics, err = listen("admin.metrics_listen", cfg.Admin.MetricsListen); err != nil {
			return l, err
		}
	}
	l.socket, err = listenUnix(filepath.Join(stateDir, "admin.sock"), file.Private)
	return l, err
}

func listen(key, address string) (net.Listener, error) {
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		ln, err := listenUnix(path, 0o660)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
		return ln, nil
	}
	ln, err := net.Listen(family(address), address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, try(fmt.Errorf("%s: %s is taken by another program", key, address), "stop it, or set "+key+" to another port; port 0 takes a free one")
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	return ln, nil
}

// family keeps 0.0.0.0 to IPv4, where net.Listen would take IPv6 as well.
func family(address string) string {
	if a, err := netip.ParseAddrPort(address); err == nil && a.Addr().Is4() {
		return "tcp4"
	}
	return "tcp"
}

// listenUnix opens a socket. One that a dead process left is replaced; one that
// answers is not.
func listenUnix(path string, mode os.FileMode) (net.Listener, error) {
	if c, err := net.DialTimeout("unix", path, time.Second); err == nil {
		_ = c.Close()
		return nil, fmt.Errorf("%s is taken by another program", path)
	}
	if info, err := os.Lstat(path); err == nil {
		if info.Mode().Type() != os.ModeSocket {
			return nil, fmt.Errorf("%s is there and is not a socket", path)
		}
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	}
	old := syscall.Umask(0o777 &^ int(mode))
	ln, err := net.Listen("unix", path)
	syscall.Umask(old)
	if errors.Is(err, syscall.EINVAL) && len(path) > 100 {
		return nil, fmt.Errorf("%s: the path of a Unix socket can have about 100 bytes; use a shorter state directory", path)
	}
	return ln, err
}

func (l *listeners) all() []net.Listener {
	out := []net.Listener{l.proxy, l.admin, l.socket, l.metrics}
	for _, b := range l.bound {
		out = append(out, b.Listener)
	}
	return out
}

func (l *listeners) close() {
	for _, ln := range l.all() {
		if ln != nil {
			_ = ln.Close()
		}
	}
}

// addresses of the TCP listeners: the daemon never dials them.
func (l *listeners) addresses() []netip.AddrPort {
	var out []netip.AddrPort
	for _, ln := range l.all() {
		if ln == nil {
			continue
		}
		if a, ok := ln.Addr().(*net.TCPAddr); ok {
			out = append(out, a.AddrPort())
		}
	}
	return out
}

// shown is an address as the configuration writes it.
func shown(ln net.Listener) string {
	if ln.Addr().Network() == "unix" {
		return "unix:" + ln.Addr().String()
	}
	return ln.Addr().String()
}

// announce writes STATE_DIR/addresses.json.
func (l *listeners) announce(stateDir string) error {
	b, err := json.Marshal(listening{Proxy: shown(l.proxy), Admin: shown(l.admin)})
	if err != nil {
		return err
	}
	return file.Write(filepath.Join(stateDir, "addresses.json"), append(b, '\n'), file.Private)
}
