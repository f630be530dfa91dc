package testserver

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os/exec"
	"testing"
	"time"
)

const (
	toxiproxyModule  = "github.com/Shopify/toxiproxy/v2"
	toxiproxyVersion = "2.5.0"
)

// Toxiproxy stands between clients and one TCP server and makes what passes slow, lost or cut.
type Toxiproxy struct {
	Addr string // host:port, to be called in place of the server's

	process *Process
	api     string // http://host:port
	client  *http.Client
}

// Toxic is one thing that goes wrong, as toxiproxy's documentation names it.
type Toxic struct {
	Type       string         `json:"type"`                 // latency, timeout, reset_peer, bandwidth, limit_data ...; no two of one type and stream
	Stream     string         `json:"stream,omitempty"`     // upstream: what the client sends; "": downstream, what the server answers
	Toxicity   *float64       `json:"toxicity,omitempty"`   // part of the connections that have it, 0 to 1; nil: all
	Attributes map[string]int `json:"attributes,omitempty"` // latency: latency, jitter; timeout and reset_peer: timeout, all ms; bandwidth: rate, KB/s; limit_data: bytes
}

// StartToxiproxy builds the real toxiproxy if no test did before and starts it in front of upstream, host:port. It ends
// with the test.
func StartToxiproxy(t testing.TB, upstream string) *Toxiproxy {
	t.Helper()
	bin, err := goInstall("toxiproxy", toxiproxyModule+"/cmd/server", toxiproxyVersion)
	if err != nil {
		t.Fatalf("toxiproxy does not build: %v", err)
	}
	p := &Toxiproxy{client: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: callLimit}}
	p.start(t, bin)
	var made struct {
		Listen string `json:"listen"`
	}
	p.call(t, http.MethodPost, "/proxies", map[string]any{
		"name": "it", "listen": "127.0.0.1:0", "upstream": upstream, "enabled": true,
	}, &made)
	p.Addr = made.Listen
	Took(t, "toxiproxy "+toxiproxyVersion)
	return p
}

func (p *Toxiproxy) start(t testing.TB, bin string) {
	t.Helper()
	for range 3 { // a free port may be taken by somebody before it listens
		addr := FreeAddr(t)
		host, port, _ := net.SplitHostPort(addr)
		p.process, p.api = Start(t, exec.Command(bin, "-host", host, "-port", port)), "http://"+addr
		if p.process.listening(t, addr) {
			return
		}
	}
	t.Fatalf("toxiproxy does not start; its output:\n%s", p.process.Log())
}

// Add has x go wrong from now on, on connections that stand too.
func (p *Toxiproxy) Add(t testing.TB, x Toxic) {
	t.Helper()
	p.call(t, http.MethodPost, "/proxies/it/toxics", x, nil)
}

// Remove ends a toxic of that type; stream as in Toxic.
func (p *Toxiproxy) Remove(t testing.TB, typ, stream string) {
	t.Helper()
	if stream == "" {
		stream = "downstream"
	}
	p.call(t, http.MethodDelete, "/proxies/it/toxics/"+typ+"_"+stream, nil, nil)
}

// Slow has each answer wait for d.
func (p *Toxiproxy) Slow(t testing.TB, d time.Duration) {
	t.Helper()
	p.Add(t, Toxic{Type: "latency", Attributes: map[string]int{"latency": int(d.Milliseconds())}})
}

// Lose has every answer get lost, while what is asked arrives; no connection ends by it.
func (p *Toxiproxy) Lose(t testing.TB) {
	t.Helper()
	p.Add(t, Toxic{Type: "timeout", Attributes: map[string]int{"timeout": 0}})
}

// Reset has connections end by RST after d, before an answer that comes later.
func (p *Toxiproxy) Reset(t testing.TB, d time.Duration) {
	t.Helper()
	p.Add(t, Toxic{Type: "reset_peer", Attributes: map[string]int{"timeout": int(d.Milliseconds())}})
}

// Throttle lets answers through at rate KB/s.
func (p *Toxiproxy) Throttle(t testing.TB, rate int) {
	t.Helper()
	p.Add(t, Toxic{Type: "bandwidth", Attributes: map[string]int{"rate": rate}})
}

// Down cuts all connections and refuses new ones.
func (p *Toxiproxy) Down(t testing.TB) {
	t.Helper()
	p.call(t, http.MethodPost, "/proxies/it", map[string]any{"enabled": false}, nil)
}

// Up takes connections again, and ends all toxics.
func (p *Toxiproxy) Up(t testing.TB) {
	t.Helper()
	p.call(t, http.MethodPost, "/reset", nil, nil)
}

// call makes one call of toxiproxy's own API; out may be nil.
func (p *Toxiproxy) call(t testing.TB, method, path string, in, out any) {
	t.Helper()
	body, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(context.WithoutCancel(t.Context()), method, p.api+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := p.client.Do(req)
	if err != nil {
		t.Fatalf("toxiproxy: %v", err)
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode/100 != 2 {
		t.Fatalf("toxiproxy: %s %s: status %d: %s %v", method, path, resp.StatusCode, answer, err)
	}
	if out != nil {
		if err := json.Unmarshal(answer, out); err != nil {
			t.Fatalf("toxiproxy: %s %s: %v", method, path, err)
		}
	}
}
