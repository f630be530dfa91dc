package proxy

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net/http"

	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
)

// meaning asks what an answer says about the credential. The first bytes of a
// body that is looked at stay to be read.
func (x *exchange) meaning(resp *http.Response) provider.Meaning {
	var peek []byte
	if x.provider.Peeks(resp) && resp.Body != nil && resp.StatusCode != http.StatusSwitchingProtocols {
		peek = peekBody(resp)
	}
	m := x.provider.Meaning(resp, peek)
	x.told = m.Code()
	return m
}

func peekBody(resp *http.Response) []byte {
	buf := make([]byte, provider.PeekSize)
	n, err := io.ReadFull(resp.Body, buf)
	rest := io.Reader(resp.Body)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		rest = failing{err}
	}
	resp.Body = &peeked{io.MultiReader(bytes.NewReader(buf[:n]), rest), resp.Body}
	return buf[:n]
}

// failing gives the error that ended a peek when the reader comes to it.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

type peeked struct {
	io.Reader
	io.Closer
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
