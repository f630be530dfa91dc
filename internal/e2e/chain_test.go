package e2e

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/testserver"
)

// behind runs a daemon at addr whose upstream proxy is the daemon at next; empty: it
// dials itself. It asks for no token, so that others can be chained to it.
func behind(t *testing.T, providers, addr, next string) *testserver.Daemon {
	t.Helper()
	config := open + "auth = \"none\"\n"
	if next != "" {
		config += "upstream_proxy = \"http://" + next + "\"\n"
	}
	return testserver.Sallyport(t, config+providers, "SALLYPORT_PROXY_LISTEN="+addr)
}

// toldBy gives how many requests the daemons have told of.
func toldBy(daemons ...*testserver.Daemon) (n int) {
	time.Sleep(150 * time.Millisecond) // the log is written behind the requests
	for _, d := range daemons {
		n += strings.Count(d.Log(), " msg=request ")
	}
	return n
}

// SS-05: a chain of daemons that leads back to one of them ends there, whichever
// form the request has; one that leads out works, and no upstream learns of it.
func TestChainsOfDaemons(t *testing.T) {
	t.Parallel()
	w := prepareWorld(t)
	providers := strings.TrimPrefix(w.frame(""), "\n")
	first, second, third := testserver.FreeAddr(t), testserver.FreeAddr(t), testserver.FreeAddr(t)
	w.Daemon = behind(t, providers, first, second)
	middle, last := behind(t, "", second, third), behind(t, "", third, "")
	w.Put(t, "default/production/api/default", "bearer", map[string]string{"token": apiToken})
	w.Put(t, "default/production/plain/default", "api_key", map[string]string{"api_key": plainKey})
	ways := map[string]func() *answer{
		"intercepted": func() *answer { return w.inside(t).send(t, get("/x", w.api.Addr, "")) },
		"again":       func() *answer { return w.inside(t).send(t, get("/x", w.api.Addr, "")) },
		"absolute": func() *answer {
			return w.raw(t).send(t, get("http://"+w.plain.Addr+"/x", w.plain.Addr, "X-Own: 1\r\n"))
		},
		"absolute POST": func() *answer {
			return w.raw(t).send(t, post("http://"+w.plain.Addr+"/x", w.plain.Addr, "X-Own: 1\r\n"))
		},
		"unmatched http": func() *answer { return w.raw(t).send(t, get("http://unmatched.example/x", "unmatched.example", "")) },
		"raw tunnel": func() *answer {
			return w.raw(t).send(t, "CONNECT "+w.other.Addr+" HTTP/1.1\r\nHost: "+w.other.Addr+"\r\n\r\n")
		},
	}
	for what, ask := range ways {
		if what != "unmatched http" {
			ask().status(t, "SS-05: a chain of three: "+what, http.StatusOK)
		}
	}
	for _, g := range append(w.api.Take(), w.plain.Take()...) {
		for _, field := range []string{"Proxy-Hops", "Via", "Forwarded", "X-Forwarded-For", "Connection", "Proxy-Connection"} {
			if v := g.Header.Values(field); len(v) > 0 {
				t.Errorf("SS-05: the upstream learns of the chain by %s: %q", field, v)
			}
		}
		if len(g.Header.Values("Authorization"))+len(g.Header.Values("X-Api-Key")) != 1 {
			t.Errorf("SS-05: %s %s left without its credential", g.Method, g.Target)
		}
	}
	if toldBy(middle) == 0 || toldBy(last) == 0 {
		t.Error("SS-05: the chain was not used")
	}
	last.Stop()
	last = behind(t, "", third, first) // and round again
	for what, ask := range ways {
		before := toldBy(w.Daemon, middle, last)
		a := ask()
		a.status(t, "SS-05: round: "+what, http.StatusLoopDetected)
		if a != nil && !strings.Contains(a.Body, string(fault.LoopDetected)) {
			t.Errorf("SS-05: round: %s: %s", what, a.Body)
		}
		if n := toldBy(w.Daemon, middle, last) - before; n > 6 {
			t.Errorf("SS-05: round: %s: %d requests for one", what, n)
		}
	}
	w.api.Nothing(t, "SS-05: round")
	w.plain.Nothing(t, "SS-05: round")
	w.other.Nothing(t, "SS-05: round")
	forged := "Proxy-Hops: " + strings.Repeat("0123456789abcdef, ", 17) + "x\r\n"
	w.raw(t).send(t, get("http://"+w.plain.Addr+"/x", w.plain.Addr, forged)).is(t, "SS-05: more daemons than any chain has", fault.LoopDetected)
}
