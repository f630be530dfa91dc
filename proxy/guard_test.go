package proxy

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
)

// answers is a Resolver that gives a name's answers in turn, the last one for ever.
type answers struct {
	mu    sync.Mutex
	names map[string][][]string
}

func (a *answers) LookupNetIP(ctx context.Context, _, host string) ([]netip.Addr, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	turns, ok := a.names[host]
	if !ok {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	if len(turns) > 1 {
		a.names[host] = turns[1:]
	}
	if turns[0] == nil { // silence
		<-ctx.Done()
		return nil, ctx.Err()
	}
	var addrs []netip.Addr
	for _, s := range turns[0] {
		addrs = append(addrs, netip.MustParseAddr(s))
	}
	return addrs, nil
}

func resolves(host string, addrs ...string) *answers {
	return &answers{names: map[string][][]string{host: {addrs}}}
}

// dialled notes what a dialer was asked to dial and gives one end of a pipe.
type dialled struct {
	mu   sync.Mutex
	to   []string
	fail map[string]error // by address
	slow map[string]time.Duration
}

func (d *dialled) dial(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	d.mu.Lock()
	d.to = append(d.to, to.Addr().String())
	fail, slow := d.fail[to.Addr().String()], d.slow[to.Addr().String()]
	d.mu.Unlock()
	select {
	case <-time.After(slow):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if fail != nil {
		return nil, fail
	}
	near, far := net.Pipe()
	return pipeConn{near, far, to}, nil
}

// pipeConn knows where it leads, and closes both ends.
type pipeConn struct {
	net.Conn
	far net.Conn
	to  netip.AddrPort
}

func (c pipeConn) Close() error {
	_ = c.far.Close()
	return c.Conn.Close()
}

func guarded(r Resolver, g dialGuard) (*guardedDialer, *dialled) {
	d := new(dialled)
	if g.local == nil {
		g.local = func() []netip.Addr { return []netip.Addr{netip.MustParseAddr("203.0.112.9")} }
	}
	return &guardedDialer{guard: &g, resolver: r, dial: d.dial}, d
}

// connectTo dials HOST:443 and gives where it came out, or the fault.
func connectTo(d *guardedDialer, host string) (string, *fault.Fault) {
	conn, err := d.connect(context.Background(), provider.Authority{Host: host, Port: 443})
	if err != nil {
		return "", Classify(err)
	}
	defer conn.Close()
	to, _ := conn.(pipeConn)
	return to.to.Addr().String(), nil
}

func TestAddressesRefused(t *testing.T) {
	for _, host := range []string{
		"127.0.0.1", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "0", "0.0.0.0", "::", "::1", "127.255.255.254",
		"::ffff:127.0.0.1", "::ffff:7f00:1", "::127.0.0.1", "::ffff:0:7f00:1", "64:ff9b::7f00:1", "64:ff9b:1::7f00:1", "64:ff9b::808:808",
		"2002:7f00:1::", "2002:808:808::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "192.88.99.1",
		"169.254.169.254", "0xa9fea9fe", "fd00:ec2::254", "fd20:ce::254", "168.63.129.16", "100.100.100.200", "169.254.1.1", "fe80::1", "fec0::1",
		"100.64.0.1", "100.127.255.255", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.0.1", "fc00::1", "fdff::1",
		"224.0.0.1", "239.255.255.255", "ff02::1", "255.255.255.255", "240.0.0.1", "0.1.2.3",
		"192.0.0.1", "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "2001:db8::1", "100::1", "2001:2::1", "3fff::1", "5f00::1",
	} {
		d, seen := guarded(resolves(host), dialGuard{})
		_, f := connectTo(d, host)
		if f == nil || f.Code != fault.PrivateAddress || len(seen.to) > 0 {
			t.Errorf("SS-01: %s: %v, dialled %q; want private_address", host, f, seen.to)
		}
		if addr, err := netip.ParseAddr(host); err == nil { // SS-03: the same behind a name
			d, seen := guarded(resolves("evil.example", addr.String()), dialGuard{})
			if _, f := connectTo(d, "evil.example"); f == nil || f.Code != fault.PrivateAddress || len(seen.to) > 0 {
				t.Errorf("SS-03: a name for %s: %v, dialled %q", host, f, seen.to)
			}
		}
	}
}

func TestAddressesAllowed(t *testing.T) {
	for _, host := range []string{"1.1.1.1", "8.8.8.8", "172.32.0.1", "100.128.0.1", "192.1.0.1", "2606:4700::1111", "2a00::1", "0x08080808"} {
		d, _ := guarded(resolves(host), dialGuard{})
		if _, f := connectTo(d, host); f != nil {
			t.Errorf("SS-01: %s is public, but %v", host, f)
		}
	}
	for host, network := range map[string]string{
		"127.0.0.1": "127.0.0.0/8", "127.1": "127.0.0.1/32", "::ffff:10.0.0.1": "10.0.0.0/8", "fd00::1": "fc00::/7", "169.254.169.254": "169.254.169.254/32",
	} {
		d, _ := guarded(resolves(host), dialGuard{allow: []netip.Prefix{netip.MustParsePrefix(network)}})
		if _, f := connectTo(d, host); f != nil {
			t.Errorf("%s with allow_networks %s: %v", host, network, f)
		}
		d, _ = guarded(resolves(host), dialGuard{allow: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}})
		if _, f := connectTo(d, host); f == nil {
			t.Errorf("%s is open through another network", host)
		}
	}
}

func TestRebinding(t *testing.T) {
	const host, public, private = "rebind.example", "93.184.216.34", "127.0.0.1"
	turns := &answers{names: map[string][][]string{host: {{public}, {private}}}}
	d, seen := guarded(turns, dialGuard{})
	if to, f := connectTo(d, host); f != nil || to != public {
		t.Errorf("SS-02: the first answer: %q, %v", to, f)
	}
	if _, f := connectTo(d, host); f == nil || f.Code != fault.PrivateAddress {
		t.Errorf("SS-02: the second answer: %v", f)
	}
	if slices.Contains(seen.to, private) || len(seen.to) != 1 {
		t.Errorf("SS-02: dialled %q: each address that was checked, once", seen.to)
	}

	for name, addrs := range map[string][]string{
		"A public, AAAA private":  {"::1", public},
		"one private in the set":  {"10.0.0.1", public, "192.168.0.1", "169.254.169.254"},
		"mapped private in front": {"::ffff:127.0.0.1", public},
	} {
		d, seen := guarded(resolves(host, addrs...), dialGuard{})
		if to, f := connectTo(d, host); f != nil || to != public || len(seen.to) != 1 {
			t.Errorf("SS-02: %s: reached %q over %q, %v", name, to, seen.to, f)
		}
	}
}

func TestManyAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var addrs []string
		a := netip.MustParseAddr("93.184.216.1")
		for range 100 {
			addrs = append(addrs, a.String())
			a = a.Next()
		}
		d, seen := guarded(resolves("many.example", addrs...), dialGuard{})
		seen.fail = map[string]error{}
		for _, a := range addrs {
			seen.fail[a] = errors.New("refused")
		}
		if _, f := connectTo(d, "many.example"); f == nil || len(seen.to) > maxCandidates {
			t.Errorf("SS-02: of 100 answers %d were dialled (%v)", len(seen.to), f)
		}
	})
}

func TestOwnListeners(t *testing.T) {
	open := dialGuard{allow: everyAddress}
	port := func(s string) netip.AddrPort { return netip.AddrPortFrom(netip.MustParseAddr(s), 443) }
	for _, tt := range []struct {
		listener, host string
		want           fault.Code
	}{
		{"127.0.0.1", "127.0.0.1", fault.LoopDetected},
		{"127.0.0.1", "::ffff:127.0.0.1", fault.LoopDetected},
		{"127.0.0.1", "127.1", fault.LoopDetected},
		{"127.0.0.1", "0.0.0.0", fault.LoopDetected},
		{"127.0.0.1", "::", fault.LoopDetected},
		{"127.0.0.1", "localhost", fault.LoopDetected},
		{"127.0.0.1", "127.0.0.2", ""},
		{"::1", "::1", fault.LoopDetected},
		{"0.0.0.0", "127.0.0.2", fault.LoopDetected},
		{"0.0.0.0", "203.0.112.9", fault.LoopDetected}, // an address of this machine
		{"::", "127.0.0.1", fault.LoopDetected},
		{"::", "203.0.112.9", fault.LoopDetected},
		{"::", "myself.example", fault.LoopDetected},
		{"::", "203.0.112.10", ""},
		{"203.0.112.9", "myself.example", fault.LoopDetected},
		{"203.0.112.9", "127.0.0.1", ""},
	} {
		open.own = func() []netip.AddrPort { return []netip.AddrPort{port(tt.listener)} }
		r := &answers{names: map[string][][]string{"localhost": {{"127.0.0.1"}}, "myself.example": {{"203.0.112.9"}}}}
		d, seen := guarded(r, open)
		_, f := connectTo(d, tt.host)
		if got := codeOf(f); got != tt.want || (f != nil && len(seen.to) > 0) {
			t.Errorf("SS-04: listener %s, host %s: %q, want %q; dialled %q", tt.listener, tt.host, got, tt.want, seen.to)
		}
		open.own = func() []netip.AddrPort {
			return []netip.AddrPort{netip.AddrPortFrom(netip.MustParseAddr(tt.listener), 444)}
		}
		d, _ = guarded(r, open)
		if _, f := connectTo(d, tt.host); f != nil {
			t.Errorf("another port is refused, too: %v", f)
		}
	}
}

func codeOf(f *fault.Fault) fault.Code {
	if f == nil {
		return ""
	}
	return f.Code
}

func TestVaultRefused(t *testing.T) {
	names := func() *answers {
		return &answers{names: map[string][][]string{
			"vault.corp": {{"10.0.0.5"}}, "other.corp": {{"10.0.0.5"}}, "else.corp": {{"10.0.0.6"}}, "localhost": {{"127.0.0.1"}},
		}}
	}
	for _, tt := range []struct {
		vault, host string
		owned       bool
		want        fault.Code
	}{
		{"vault.corp:443", "vault.corp", false, fault.PrivateAddress},
		{"vault.corp:443", "other.corp", false, fault.PrivateAddress},
		{"vault.corp:443", "10.0.0.5", false, fault.PrivateAddress},
		{"vault.corp:443", "else.corp", false, ""},
		{"vault.corp:443", "vault.corp", true, ""},
		{"vault.corp:8200", "other.corp", false, ""},
		{"127.0.0.1:443", "localhost", false, fault.PrivateAddress},
		{"127.0.0.1:443", "127.1", false, fault.PrivateAddress},
		{"127.0.0.1:443", "0.0.0.0", false, fault.PrivateAddress},
		{"127.0.0.1:443", "::1", false, fault.PrivateAddress},
		{"127.0.0.1:443", "203.0.112.9", false, fault.PrivateAddress}, // an address of this machine
		{"[::1]:443", "::1", false, fault.PrivateAddress},
		{"gone.corp:443", "else.corp", false, ""},
		{"", "vault.corp", false, ""},
	} {
		d, seen := guarded(names(), dialGuard{allow: everyAddress, vault: newVaultAddress(tt.vault, func() bool { return tt.owned }, names())})
		_, f := connectTo(d, tt.host)
		if got := codeOf(f); got != tt.want || (f != nil && len(seen.to) > 0) {
			t.Errorf("Vault at %q (owned %v), host %s: %q, want %q", tt.vault, tt.owned, tt.host, got, tt.want)
		}
	}
}

func TestVaultMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &answers{names: map[string][][]string{"vault.corp": {{"10.0.0.5"}, {"10.0.0.6"}}}}
		v := newVaultAddress("vault.corp:8200", nil, r)
		at := func(s string) bool {
			return v.at(t.Context(), netip.MustParseAddrPort(s), func(netip.Addr) bool { return false })
		}
		if !at("10.0.0.5:8200") || at("10.0.0.6:8200") {
			t.Error("the first address is not Vault's")
		}
		time.Sleep(time.Minute)
		if at("10.0.0.5:8200") || !at("10.0.0.6:8200") {
			t.Error("the second address is not Vault's")
		}
		delete(r.names, "vault.corp")
		time.Sleep(time.Minute)
		if !at("10.0.0.6:8200") {
			t.Error("without an answer the last known address is forgotten")
		}
	})
}

func TestHappyEyeballs(t *testing.T) {
	const v6, v4, v4b = "2606:4700::1", "93.184.216.34", "93.184.216.35"
	down := errors.New("down")
	for name, tt := range map[string]struct {
		addrs []string
		fail  map[string]error
		slow  map[string]time.Duration
		want  string
		took  time.Duration
	}{
		"the first answers":         {addrs: []string{v6, v4}, want: v6},
		"the first fails":           {addrs: []string{v6, v4}, fail: map[string]error{v6: down}, want: v4},
		"the first hangs":           {addrs: []string{v6, v4}, slow: map[string]time.Duration{v6: time.Hour}, want: v4, took: dialStagger},
		"the first is a bit slow":   {addrs: []string{v6, v4}, slow: map[string]time.Duration{v6: 200 * time.Millisecond}, want: v6, took: 200 * time.Millisecond},
		"families take turns":       {addrs: []string{v4, v4b, v6}, slow: map[string]time.Duration{v4: time.Hour, v4b: time.Hour}, want: v6, took: dialStagger},
		"all fail":                  {addrs: []string{v6, v4}, fail: map[string]error{v6: down, v4: errors.New("other")}},
		"all hang":                  {addrs: []string{v6, v4, v4b}, slow: map[string]time.Duration{v6: time.Hour, v4: time.Hour, v4b: time.Hour}, took: dialTimeout},
		"the slow one wins at last": {addrs: []string{v6, v4}, slow: map[string]time.Duration{v6: time.Second}, fail: map[string]error{v4: down}, want: v6, took: time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, seen := guarded(resolves("h.example", tt.addrs...), dialGuard{})
				seen.fail, seen.slow = tt.fail, tt.slow
				start := time.Now()
				to, f := connectTo(d, "h.example")
				if to != tt.want || time.Since(start) != tt.took {
					t.Errorf("reached %q after %v (%v), want %q after %v", to, time.Since(start), f, tt.want, tt.took)
				}
				if tt.want == "" && f == nil {
					t.Error("no fault")
				}
			})
		})
	}
}

func TestResolverTrouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		silent := &answers{names: map[string][][]string{"slow.example": {nil}, "empty.example": {{}}}}
		for host, took := range map[string]time.Duration{"slow.example": 5 * time.Second, "gone.example": 0, "empty.example": 0} {
			d, _ := guarded(silent, dialGuard{})
			start := time.Now()
			_, f := connectTo(d, host)
			if codeOf(f) != fault.DNSFailure || time.Since(start) != took {
				t.Errorf("FM-11: %s: %v after %v, want dns_failure after %v", host, f, time.Since(start), took)
			}
		}
		d, _ := guarded(silent, dialGuard{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := d.connect(ctx, provider.Authority{Host: "slow.example", Port: 443}); codeOf(Classify(err)) != fault.Timeout {
			t.Errorf("a caller's own deadline: %v", err)
		}
	})
}

// One of our own listeners is a loop, whatever else would refuse it.
func TestLoopBeforePolicy(t *testing.T) {
	r := newRig(t, echo, func(r *rig) {
		r.config.TunnelPorts, r.config.Deny = []int{443}, true
		r.config.Upstream.guard.own = func() []netip.AddrPort { return []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:3128")} }
		r.config.Upstream.guard.local = machineAddresses
	})
	for _, a := range []string{"127.0.0.1:3128", "localhost:3128", "0.0.0.0:3128", "2130706433:3128", "[::ffff:7f00:1]:3128", "127.0.0.1:3129"} {
		code := fault.LoopDetected
		if a == "127.0.0.1:3129" {
			code = fault.NoRoute
		}
		w := r.dial()
		w.send("CONNECT %s HTTP/1.1\r\nHost: x\r\nProxy-Authorization: Basic %s\r\n\r\n", a, auth64)
		wantFault(t, "SS-04 CONNECT "+a, w.answer("GET"), code)
		w = r.dial()
		w.send("GET http://%s/ HTTP/1.1\r\nHost: x\r\nProxy-Authorization: Basic %s\r\n\r\n", a, auth64)
		wantFault(t, "SS-04 GET "+a, w.answer("GET"), code)
	}
}
