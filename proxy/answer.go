package proxy

import (
	"bytes"
	"crypto/tls"
	"io"
	"net/http"
	"strings"

	"github.com/sallyport/sallyport/auth"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
)

// meaning asks what an answer says about the credential. The first bytes of a
// body that is looked at stay to be read.
func (x *exchange) meaning(resp *http.Response) provider.Meaning {
	var first []byte
	if x.provider.Peeks(resp) && resp.Body != nil && resp.StatusCode != http.StatusSwitchingProtocols {
		first = peekBody(resp, resp.ContentLength < 0 || x.offer != nil)
	}
	m := x.provider.Meaning(resp, first)
	x.told = m.Code()
	return m
}

// hopFields are for the connection that they come over, or for us as a proxy (RFC
// 9110 sections 7.6.1 and 11.7). ReverseProxy knows all but one, and removes them
// from final answers only.
var hopFields = []string{
	"Connection", "Keep-Alive", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade",
	"Proxy-Authenticate", "Proxy-Authentication-Info", "Proxy-Authorization",
}

// dropHops removes from a header what ends at us.
func dropHops(h http.Header) {
	for _, v := range h["Connection"] {
		for name := range strings.SplitSeq(v, ",") {
			h.Del(strings.TrimSpace(name))
		}
	}
	for _, name := range hopFields {
		delete(h, name)
	}
}

// tell adds to an upstream's answer what can be told about it, and takes our
// own secret out of the places where a server repeats a URL.
func (x *exchange) tell(resp *http.Response) {
	delete(resp.Header, "Proxy-Authentication-Info")
	if resp.StatusCode == http.StatusSwitchingProtocols {
		to := resp.Header["Upgrade"]
		dropHops(resp.Header)
		resp.Header["Connection"], resp.Header["Upgrade"] = []string{"Upgrade"}, to
	}
	if x.told != "" {
		resp.Header.Add("Proxy-Status", fault.ReceivedStatus(resp.StatusCode, x.told))
	}
	if x.injector == nil {
		return
	}
	for _, name := range []string{"Location", "Content-Location", "Link", "Refresh"} {
		for i, v := range resp.Header[name] {
			resp.Header[name][i] = x.injector.RedactURL(v)
		}
	}
}

func (x *exchange) certificate() *tls.Certificate {
	if x.injector == nil {
		return nil
	}
	return x.injector.Certificate
}

// holdBody puts the request's body in memory for a credential that goes into it
// or signs it. One that is larger than replay_limit streams where that will do.
func (x *exchange) holdBody(out *http.Request, need auth.BodyNeed) error {
	may := need == auth.BodyIfSmall
	if x.body == nil || may && out.ContentLength > x.st.ReplayLimit {
		return nil
	}
	data, err := io.ReadAll(io.LimitReader(out.Body, x.st.ReplayLimit+1))
	switch {
	case err != nil:
		return x.blame(out.Context(), err)
	case int64(len(data)) <= x.st.ReplayLimit && x.body.again():
		auth.HoldBody(out, data)
		out.Trailer = nil
		return nil
	case may:
		out.Body = &begunBody{bytes.NewReader(data), out.Body}
		return nil
	case int64(len(data)) > x.st.ReplayLimit:
		return fault.New(fault.InvalidRequest, "the credential goes into the body or signs it, and the body is larger than replay_limit", nil)
	}
	return fault.New(fault.Overloaded, "the memory for request bodies is used up", nil)
}

// begunBody is a body whose first bytes were read.
type begunBody struct {
	first *bytes.Reader
	io.ReadCloser
}

// Read implements io.Reader.
func (b *begunBody) Read(p []byte) (int, error) {
	if b.first.Len() > 0 {
		return b.first.Read(p)
	}
	return b.ReadCloser.Read(p)
}
