package e2e

import (
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/testserver"
)

// babbler is a server that says one thing to whoever connects, and leaves.
func babbler(t *testing.T, says string) (addr string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(conn, says)
			_ = conn.Close()
		}
	}()
	return ln.Addr().String()
}

// A server whose answer no parser was made for ends one check, by hand and in the background, and not the daemon.
func TestHostileServerEndsACheck(t *testing.T) {
	t.Parallel()
	host, port, _ := net.SplitHostPort(babbler(t, "\x01\x00\x00\x00\xff"))
	d := testserver.Sallyport(t, open+`
[checks]
interval = "1s"
[[provider]]
name = "mysql"
`)
	const ref = "default/production/mysql/default"
	status, body := d.Call(t, http.MethodPut, "/api/v1/credentials/"+ref, map[string]any{"type": "database", "fields": map[string]string{
		"driver": "mysql", "host": host, "port": port, "username": "app", "password": canary, "database": "shop", "sslmode": "disable",
	}})
	if status != http.StatusCreated || !strings.Contains(body, `"status":"unknown"`) || !strings.Contains(body, `"code":"internal"`) {
		t.Fatalf("PUT: %d %s", status, body)
	}
	w := &world{Daemon: d}
	eventually(t, "the background checked it too", 30*time.Second, func() bool {
		n, err := strconv.Atoi(w.metric(t, "sallyport_panics_total"))
		return err == nil && n >= 2
	})
	if log := d.Log(); !strings.Contains(log, "panic while checking a credential") || strings.Contains(log, canary) {
		t.Errorf("the log holds the password, or nothing of the panic:\n%s", log)
	}
}
