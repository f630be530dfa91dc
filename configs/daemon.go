package configs

import (
	"net"
	"net/netip"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/provider"
)

// daemon judges the tables of the daemon itself.
func (r *report) daemon(f *form) {
	r.proxy(&f.Proxy)
	r.ca(&f.Proxy.CA)
	r.admin(&f.Admin)
	r.listeners(f)
	r.store(&f.Store)
	if f.usesVault() {
		r.vault(f)
	}
	r.limits("limits", ownLimitsForm{f.Limits.Rate, f.Limits.Burst, f.Limits.Concurrency, f.Limits.MaxWait})
	if f.Retry.Max < f.Retry.Base {
		r.add("retry.max", "%s is shorter than retry.base, %s", formatDuration(f.Retry.Max), formatDuration(f.Retry.Base))
	}
	if b := f.Retry.Budget; !(b >= 0 && b <= 1) {
		r.add("retry.budget", "%v is out of range; use 0 to 1", b)
	}
	r.interval(f)
	r.notify(&f.Notify)
}

func (r *report) proxy(p *Proxy) {
	r.listen("proxy.listen", p.Listen)
	if !local(p.Listen) && p.Auth != "token" {
		r.add("proxy.auth", `%q is for loopback and Unix listeners, but proxy.listen is %s; use "token"`, p.Auth, p.Listen)
	}
	r.hostNames("proxy.hosts", p.Hosts)
	r.part("proxy.anonymous_caller", p.AnonymousCaller)
}

func (r *report) ca(ca *CA) {
	if (ca.CertFile == "") != (ca.KeyFile == "") {
		r.add("proxy.ca", "cert_file and key_file belong together; set both or none")
	}
	for i, s := range ca.Permitted {
		if _, _, err := permitted(s); err != nil {
			r.add(index("proxy.ca.permitted", i), "%q is not a domain or network: %v", s, err)
		}
	}
}

func (r *report) admin(a *Admin) {
	r.listen("admin.listen", a.Listen)
	if a.MetricsListen != "" {
		r.listen("admin.metrics_listen", a.MetricsListen)
	}
	r.hostNames("admin.hosts", a.Hosts)
	if a.PublicURL != "" {
		r.url("admin.public_url", a.PublicURL, true)
	}
}

// checkInterval is that of background checks with the embedded store, where nothing else is said.
const checkInterval = 6 * time.Hour

// interval of background checks. Without a word of it many daemons of one Vault leave them to somebody else.
func (f *form) interval() (time.Duration, error) {
	switch s := f.Checks.Interval; {
	case s == "" && f.Store.Backend == "vault", s == "0":
		return 0, nil
	case s == "":
		return checkInterval, nil
	default:
		return parseDuration(s)
	}
}

// soonest is the shortest interval of background checks that nobody is warned of.
const soonest = time.Minute

func (r *report) interval(f *form) {
	switch d, err := f.interval(); {
	case err != nil:
		r.add("checks.interval", "%s%v", quoted(f.Checks.Interval), err)
	case d > 0 && d < soonest:
		r.warnings = append(r.warnings, "checks.interval: "+formatDuration(d)+" is short; providers may lock an account that asks so often")
	}
}

// notify judges [notify]. What it sends names credentials and what is wrong with them.
func (r *report) notify(n *notifyForm) {
	switch {
	case n.URL == "" && n.SecretFile != "":
		r.add("notify.url", "is empty beside a secret_file; set the URL of the webhook")
	case n.URL != "" && n.SecretFile == "":
		r.add("notify.secret_file", "is empty; name the file with the key that signs what is sent")
	}
	if n.URL == "" {
		return
	}
	if strings.ContainsAny(n.URL, "{}") {
		r.add("notify.url", "has a brace; the URL of a webhook has no {field}")
	} else if u, err := checkURL(n.URL, true); err != nil {
		r.add("notify.url", "the value %v", err) // such URLs are often a secret
	} else if u.Scheme == "http" && !onLoopback(n.URL) {
		r.warnings = append(r.warnings, "notify.url: is http; what is sent is signed, but others on the way can read it")
	}
}

// limits of any limits table.
func (r *report) limits(key string, l ownLimitsForm) {
	seen := map[time.Duration]bool{}
	for i, rate := range l.Rate {
		if seen[rate.Window] {
			r.add(index(join(key, "rate"), i), "is the second rate of the same window; keep one")
		}
		seen[rate.Window] = true
	}
	if l.Burst > 0 && len(l.Rate) == 0 && key == "limits" {
		r.add(join(key, "burst"), "has no rate beside it")
	}
}

// listeners holds those that ask for no token to this machine, and all of them
// to addresses of their own.
func (r *report) listeners(f *form) {
	taken := map[string]string{}
	take := func(key, listen string) {
		if strings.HasSuffix(listen, ":0") || listen == "" {
			return
		}
		if other, ok := taken[listen]; ok {
			r.add(key, "%s is also the address of %s", listen, other)
			return
		}
		taken[listen] = key
	}
	take("proxy.listen", f.Proxy.Listen)
	for i, l := range f.Proxy.Listeners {
		key := index("proxy.listener", i)
		r.listen(join(key, "listen"), l.Listen)
		take(join(key, "listen"), l.Listen)
		if l.Listen != "" && !local(l.Listen) {
			r.add(join(key, "listen"), "%s can be reached from other machines; a listener that asks for no token must be loopback or unix:/PATH", l.Listen)
		}
		r.callerExists(join(key, "caller"), l.Caller, f.Callers)
	}
	if f.Proxy.Auth == "none" && credential.ValidPart(f.Proxy.AnonymousCaller) {
		r.callerExists("proxy.anonymous_caller", f.Proxy.AnonymousCaller, f.Callers)
	}
	take("admin.listen", f.Admin.Listen)
	take("admin.metrics_listen", f.Admin.MetricsListen)
}

// callerExists: without any [[caller]] there is one, default.
func (r *report) callerExists(key, name string, callers []callerForm) {
	names := []string{}
	for _, c := range callers {
		names = append(names, c.Name)
	}
	if len(callers) == 0 {
		names = []string{"default"}
	}
	for _, n := range names {
		if n == name {
			return
		}
	}
	r.add(key, "%q is not a caller; use %s", name, listWords(names))
}

// listen judges HOST:PORT or unix:/PATH.
func (r *report) listen(key, s string) {
	if socket, ok := strings.CutPrefix(s, "unix:"); ok {
		if !path.IsAbs(socket) {
			r.add(key, "%q names no absolute path; use unix:/PATH", s)
		}
		return
	}
	host, port, err := net.SplitHostPort(s)
	n, errPort := strconv.ParseUint(port, 10, 16)
	if err != nil || errPort != nil || strconv.FormatUint(n, 10) != port {
		r.add(key, `%q is not an address to listen on; use HOST:PORT or unix:/PATH`, s)
		return
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if _, err := provider.ParseAuthority(host, 1); host != "" && err != nil {
		r.add(key, `%q is not an address to listen on: %v`, s, err)
	}
}

// local reports whether only this machine reaches a listener.
func local(listen string) bool {
	if strings.HasPrefix(listen, "unix:") {
		return true
	}
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return false
	}
	addr, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || err == nil && addr.Unmap().IsLoopback()
}

func (r *report) hostNames(key string, hosts []string) {
	for i, h := range hosts {
		if _, err := provider.ParseAuthority(h, 443); err != nil {
			r.add(index(key, i), "%q is not a host name: %v", h, err)
		}
	}
}

// permitted reads a name constraint: a network, or a domain with all below it.
func permitted(s string) (netip.Prefix, string, error) {
	if a, err := netip.ParseAddr(s); err == nil {
		return netip.PrefixFrom(a, a.BitLen()), "", nil
	}
	if strings.Contains(s, "/") {
		p, err := netip.ParsePrefix(s)
		return p.Masked(), "", err
	}
	s = strings.TrimPrefix(strings.TrimPrefix(s, "*"), ".")
	a, err := provider.ParseAuthority(s, 1)
	return netip.Prefix{}, a.Host, err
}
