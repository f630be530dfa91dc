package testserver

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Nginx is a running nginx.
type Nginx struct {
	*Process
	Dir  string
	Addr map[string]string // by the name in the configuration
}

const nginxFrame = `daemon off; master_process off; worker_processes 1; pid {dir}/nginx.pid; error_log stderr warn;
events { worker_connections 4096; }
http {
access_log off; keepalive_requests 100000000; keepalive_timeout 300s;
client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy; fastcgi_temp_path {dir}/fastcgi;
uwsgi_temp_path {dir}/uwsgi; scgi_temp_path {dir}/scgi;
{http}
}
`

// StartNginx runs nginx with http as the inside of its http block. {NAME} of each
// name becomes a free loopback address, {dir} the server's folder.
func StartNginx(tb testing.TB, http string, names ...string) *Nginx {
	tb.Helper()
	bin := Find(tb, "nginx")
	n := &Nginx{Dir: tb.TempDir()}
	for range 3 { // a free port may be taken by somebody before nginx listens
		n.Addr = map[string]string{}
		conf := strings.ReplaceAll(nginxFrame, "{http}", http)
		for _, name := range names {
			n.Addr[name] = FreeAddr(tb)
			conf = strings.ReplaceAll(conf, "{"+name+"}", n.Addr[name])
		}
		path := filepath.Join(n.Dir, "nginx.conf")
		write(tb, path, []byte(strings.ReplaceAll(conf, "{dir}", n.Dir)))
		cmd := exec.Command(bin, "-p", n.Dir, "-c", path)
		cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
		n.Process = Start(tb, cmd)
		if n.listening(tb, n.Addr[names[len(names)-1]]) {
			Took(tb, "nginx "+Version(bin, "-v"))
			return n
		}
	}
	tb.Fatalf("nginx does not start; its output:\n%s", n.Log())
	return nil
}
