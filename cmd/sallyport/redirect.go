package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// awaitRedirect listens on loopback for the redirect of a consent page, in the
// place of a daemon, until stop is called: at the port of [admin] listen, which
// is the one that was registered if any was, else at any port.
func (c *cli) awaitRedirect(cl *client) (stop func(), err error) {
	cfg, err := c.loadConfig()
	if err != nil {
		return nil, err
	}
	_, port, err := net.SplitHostPort(cfg.Admin.Listen)
	if err != nil {
		port = "0"
	}
	ln, err := net.Listen("tcp4", "127.0.0.1:"+port)
	if errors.Is(err, syscall.EADDRINUSE) || errors.Is(err, syscall.EACCES) {
		ln, err = net.Listen("tcp4", "127.0.0.1:0")
	}
	if err != nil {
		return nil, fmt.Errorf("no address for the redirect: %w", err)
	}
	s := &http.Server{
		Handler: cl.callback, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 10 * time.Second, MaxHeaderBytes: 64 << 10,
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug),
	}
	c.redirect = "http://" + ln.Addr().String() + callbackPath
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(ln) }()
	return func() {
		time.Sleep(redirectRest) // the browser is about to read the page
		_ = s.Close()
		<-done
		c.redirect = ""
	}, nil
}

// redirectRest is how long the page of the redirect has to reach the browser.
const redirectRest = 100 * time.Millisecond

// openBrowser asks the desktop to open an address; false: there is none.
func (c *cli) openBrowser(address string) bool {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
		return false
	}
	if c.getenv("DISPLAY") == "" && c.getenv("WAYLAND_DISPLAY") == "" {
		return false
	}
	program := c.inPath("xdg-open")
	if program == "" {
		return false
	}
	cmd := exec.Command(program, u.String())
	cmd.Env = c.environ
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // Ctrl-C here is not for the browser
	if cmd.Start() != nil {
		return false
	}
	go func() { _ = cmd.Wait() }()
	return true
}

// inPath finds a program in the environment's $PATH; empty: it is not there.
func (c *cli) inPath(program string) string {
	for _, dir := range strings.Split(c.getenv("PATH"), ":") {
		if !filepath.IsAbs(dir) {
			continue
		}
		if path, err := exec.LookPath(filepath.Join(dir, program)); err == nil {
			return path
		}
	}
	return ""
}
