package proxy

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"net/http"
	"strings"

	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
)

// Caller is the identity a runner authenticates with, and what it may do.
type Caller struct {
	Name        string
	Workspace   string
	Environment string
	TokenSHA256 [32]byte        // of its token; all zero: no token is accepted
	Limits      provider.Limits // of all its calls together
	Allow       []Allow         // none: everything in its workspace and environment
}

func (c *Caller) scope() scope { return scope{c.Workspace, c.Environment} }

// challenge is the Proxy-Authenticate of a 407 (RFC 9110 section 11.7.1).
const challenge = `Basic realm="sallyport", charset="UTF-8"`

// authenticate finds the caller of a request: the one that its listener is
// bound to, or the one that Proxy-Authorization names.
func (st *state) authenticate(r *http.Request) (*Caller, error) {
	if name := boundCaller(r.Context()); name != "" {
		return st.bound(name)
	}
	if st.Anonymous != "" {
		return st.bound(st.Anonymous)
	}
	return st.credentials(r.Header["Proxy-Authorization"])
}

func (st *state) bound(name string) (*Caller, error) {
	if c := st.callers[name]; c != nil {
		return c, nil
	}
	return nil, fault.New(fault.ProxyAuthRequired, "this listener is bound to a caller that does not exist", nil)
}

// still gives the tunnel's caller as it is now: a reload may have changed what it
// may do, or its token, or ended it.
func (st *state) still(p *passage) (*Caller, error) {
	c := st.callers[p.caller.Name]
	if c == nil || (p.token && c.TokenSHA256 != p.caller.TokenSHA256) {
		return nil, fault.New(fault.ProxyAuthRequired, "the caller of this tunnel does not exist any more, or has another token", nil)
	}
	return c, nil
}

// credentials reads Basic caller:token or Bearer token (RFC 7617, RFC 6750) and
// tells an absent field, a malformed one and a wrong token alike.
func (st *state) credentials(values []string) (*Caller, error) {
	if len(values) != 1 {
		return nil, fault.New(fault.ProxyAuthRequired, "", nil)
	}
	scheme, rest, _ := strings.Cut(values[0], " ")
	rest = strings.TrimLeft(rest, " ")
	switch {
	case strings.EqualFold(scheme, "Basic"):
		return st.basic(rest)
	case strings.EqualFold(scheme, "Bearer"):
		if c := st.tokens[sha256.Sum256([]byte(rest))]; len(c) == 1 && rest != "" {
			return c[0], nil
		}
	}
	return nil, fault.New(fault.ProxyAuthRequired, "", nil)
}

func (st *state) basic(encoded string) (*Caller, error) {
	raw, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return nil, fault.New(fault.ProxyAuthRequired, "", nil)
	}
	name, token, _ := strings.Cut(string(raw), ":")
	sum := sha256.Sum256([]byte(token))
	c := st.callers[name]
	if c == nil || token == "" || subtle.ConstantTimeCompare(sum[:], c.TokenSHA256[:]) != 1 {
		return nil, fault.New(fault.ProxyAuthRequired, "", nil)
	}
	return c, nil
}
