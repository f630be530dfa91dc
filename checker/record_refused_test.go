package checker

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/fault"
)

// closing is a request's body that notes its end.
type closing struct {
	*strings.Reader
	closed bool
}

// Close implements io.Closer.
func (c *closing) Close() error {
	c.closed = true
	return nil
}

// A request whose turn does not come is not sent, and its body is closed all the same, as an http.RoundTripper must.
func TestRefusedTurnClosesTheBody(t *testing.T) {
	r := &recorder{now: time.Now, pace: func(context.Context) (func(), error) { return nil, fault.New(fault.RateLimited, "", nil) }}
	body := &closing{Reader: strings.NewReader("x")}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://api.example.com/", body)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := r.RoundTrip(req)
	if resp != nil || !errors.Is(err, fault.RateLimited) || !body.closed {
		t.Errorf("%v, body closed: %t; want rate_limited and a closed body", err, body.closed)
	}
}
