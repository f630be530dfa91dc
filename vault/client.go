package vault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/hashicorp/vault/api"
)

// newClient gives vault/api without what it does unasked: it holds no token, follows no redirect, tries nothing twice,
// uses no proxy, logs nothing and takes nothing from the VAULT_ variables of the environment.
func newClient(o VaultOptions, t *transport) (*api.Client, error) {
	address := o.Address
	if t.socket != "" {
		address = "http://localhost" // a name for the Host field; the transport dials the socket
	}
	c, err := api.NewClient(&api.Config{
		Address: address,
		HttpClient: &http.Client{
			Transport:     t,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		CheckRetry:       func(context.Context, *http.Response, error) (bool, error) { return false, nil },
		DisableRedirects: true,
	})
	if err != nil {
		return nil, environmentError()
	}
	c.ClearToken()
	c.SetHeaders(http.Header{api.RequestHeaderName: {"true"}}) // what a Vault Agent asks for against request forgery
	c.SetWrappingLookupFunc(func(string, string) string { return "" })
	return c.WithNamespace(o.Namespace), nil
}

// environmentError stands for NewClient's only failure: it reads the environment's VAULT_ variables before it is told
// not to use them, and gives up on one that is malformed. Its own error may quote the value.
func environmentError() error {
	var names []string
	for _, kv := range os.Environ() {
		if name, _, _ := strings.Cut(kv, "="); strings.HasPrefix(name, "VAULT_") {
			names = append(names, name)
		}
	}
	return fmt.Errorf("vault: a VAULT_ variable of the environment is malformed; correct or unset it: %s", strings.Join(names, " "))
}

// statusError is an answer outside 2xx. Its text is not kept: who answers may echo what we sent.
type statusError struct{ code int }

func (e *statusError) Error() string {
	return fmt.Sprintf("status %d %s", e.code, http.StatusText(e.code))
}

// status gives the status of err's answer, 0 if there was none.
func status(err error) int {
	if e := (*statusError)(nil); errors.As(err, &e) {
		return e.code
	}
	return 0
}

// read makes a GET request. The answer is decoded into out even if its status makes it an error.
func read(ctx context.Context, c *api.Client, path string, query url.Values, out any) error {
	resp, err := c.Logical().ReadRawWithDataWithContext(ctx, path, query)
	return decode(resp, err, out)
}

// write makes a PUT request with the JSON object in; out may be nil.
func write(ctx context.Context, c *api.Client, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return errors.New("what is to be sent is not JSON")
	}
	resp, err := c.Logical().WriteRawWithContext(ctx, path, body)
	return decode(resp, err, out)
}

// remove makes a DELETE request.
func remove(ctx context.Context, c *api.Client, path string) error {
	_, err := c.Logical().DeleteWithContext(ctx, path)
	if e := (*api.ResponseError)(nil); errors.As(err, &e) {
		return &statusError{e.StatusCode}
	}
	return withoutURL(err)
}

// decode gives the answer's JSON in out. Its errors hold nothing of the answer.
func decode(resp *api.Response, err error, out any) error {
	if resp == nil {
		return withoutURL(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if out != nil && err == nil {
		if json.Unmarshal(body, out) != nil {
			err = errors.New("the answer is not what Vault sends")
		}
	}
	if resp.StatusCode/100 != 2 {
		return &statusError{resp.StatusCode}
	}
	return err
}

// withoutURL drops the method and URL that net/http puts before an error; the caller tells the path itself.
func withoutURL(err error) error {
	if e := (*url.Error)(nil); errors.As(err, &e) {
		return e.Err
	}
	return err
}
