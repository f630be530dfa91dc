package testserver

import (
	_ "embed" // the server's source
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

//go:embed ftp.py
var ftpServer []byte

// FTPTLS says how an FTP server takes TLS.
type FTPTLS string

// The ways.
const (
	FTPPlain    FTPTLS = "none"
	FTPExplicit FTPTLS = "explicit" // by AUTH TLS (RFC 4217)
	FTPRequired FTPTLS = "required" // likewise, and nobody logs in without
	FTPImplicit FTPTLS = "implicit" // from the first byte on
)

// FTPOptions say how to start an FTP server.
type FTPOptions struct {
	TLS         FTPTLS // "": FTPPlain
	Cert        string // PEM file with certificate and key, of TLS
	Connections int    // of one address at once; 0: any
}

// FTP is a running FTP server, Python's pyftpdlib, with one user.
type FTP struct {
	*Process
	Addr, User, Password string // 127.0.0.1:PORT
}

// StartFTP runs a fresh FTP server on a free loopback port over an empty folder. It ends with the test, at the latest
// with the test's process.
func StartFTP(tb testing.TB, o FTPOptions) *FTP {
	tb.Helper()
	python := Python(tb, "pyftpdlib, OpenSSL")
	dir := tb.TempDir()
	script := filepath.Join(dir, "ftp.py")
	write(tb, script, ftpServer)
	if o.TLS == "" {
		o.TLS = FTPPlain
	}
	f := &FTP{User: "app", Password: "p4ss w0rd'\"\\=@:/?#%ä"}
	for range 3 { // a free port may be taken by somebody before it listens
		f.Addr = FreeAddr(tb)
		_, port, _ := net.SplitHostPort(f.Addr)
		cmd := exec.Command(python, script, port, string(o.TLS), o.Cert, strconv.Itoa(o.Connections))
		cmd.Dir = dir
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "PYTHONUTF8=1", "FTP_USER=" + f.User, "FTP_PASSWORD=" + f.Password}
		if _, err := cmd.StdinPipe(); err != nil { // the server ends when this closes, with this process
			tb.Fatal(err)
		}
		if f.Process = Start(tb, cmd); f.listening(tb, f.Addr) {
			version, _ := exec.Command(python, "-c", "import pyftpdlib; print(pyftpdlib.__ver__)").Output()
			Took(tb, "pyftpdlib "+strings.TrimSpace(string(version)))
			return f
		}
	}
	tb.Fatalf("the FTP server does not start; its output:\n%s", f.Log())
	return nil
}
