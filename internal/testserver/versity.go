package testserver

import (
	"net"
	"os"
	"os/exec"
	"testing"
)

const versityVersion = "1.8.0"

// Versity is versitygw, an S3 server that refuses wrong signatures.
type Versity struct {
	*Process
	Addr              string // localhost:PORT
	Region            string
	AccessKey, Secret string
}

// StartVersity builds the real versitygw if no test did before and starts it over an empty folder. cert, a PEM file with
// certificate and key, is for TLS; "": it speaks plain HTTP. It ends with the test.
func StartVersity(t testing.TB, cert string) *Versity {
	t.Helper()
	bin, err := goInstall("versitygw", "github.com/versity/versitygw/cmd/versitygw", versityVersion)
	if err != nil {
		t.Fatalf("versitygw does not build: %v", err)
	}
	v := &Versity{Region: "eu-west-1", AccessKey: "AKIATESTSERVER", Secret: "testserver/secret+key"}
	for range 3 { // a free port may be taken by somebody before it listens
		addr := FreeAddr(t)
		args := []string{"--port", addr, "--region", v.Region, "--quiet"}
		if cert != "" {
			args = append(args, "--cert", cert, "--key", cert)
		}
		cmd := exec.Command(bin, append(args, "posix", t.TempDir())...)
		cmd.Dir = t.TempDir()
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + cmd.Dir, "ROOT_ACCESS_KEY=" + v.AccessKey, "ROOT_SECRET_KEY=" + v.Secret}
		if v.Process = Start(t, cmd); v.listening(t, addr) {
			_, port, _ := net.SplitHostPort(addr)
			v.Addr = "localhost:" + port
			Took(t, "versitygw "+versityVersion)
			return v
		}
	}
	t.Fatalf("versitygw does not start; its output:\n%s", v.Log())
	return nil
}
