package proxy

import (
	"bytes"
	"crypto/tls"
	"io"
	"net/http"

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

// tell adds to an upstream's answer what can be told about it, and takes our
// own secret out of the places where a server repeats a URL.
func (x *exchange) tell(resp *http.Response) {
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

// wholeBody puts the request's body in memory for a credential that goes into it.
func (x *exchange) wholeBody(out *http.Request) error {
	if x.body == nil {
		return nil
	}
	data, err := io.ReadAll(io.LimitReader(out.Body, x.st.ReplayLimit+1))
	if err != nil {
		return x.blame(out.Context(), err)
	}
	if int64(len(data)) > x.st.ReplayLimit {
		return fault.New(fault.InvalidRequest, "the credential goes into the body, and the body is larger than replay_limit", nil)
	}
	if !x.body.again() {
		return fault.New(fault.Overloaded, "the memory for request bodies is used up", nil)
	}
	out.Body = io.NopCloser(bytes.NewReader(data))
	out.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }
	out.ContentLength = int64(len(data))
	out.Trailer = nil
	return nil
}
