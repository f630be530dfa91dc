package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/file"
	"github.com/sallyport/sallyport/internal/secret"
)

const (
	// callTimeout bounds one call of the admin API; a check takes a minute and a
	// half at most.
	callTimeout = 2 * time.Minute
	// maxAnswer bounds what is read of an answer.
	maxAnswer = 64 << 20
)

// client speaks the admin API, whoever serves it.
type client struct {
	http  *http.Client
	base  string       // without a trailing slash
	token secret.Value // empty: the socket and this process ask for none
	close func() error

	callback http.Handler // of this process, for redirects of consent pages; nil: a daemon listens for them
}

// connect gives the API of the daemon at --admin, else of the one that holds the
// state directory, else of this process, which then opens the store itself.
// Whoever gets a client closes it.
func (c *cli) connect(ctx context.Context) (*client, error) {
	cl, err := c.daemon()
	if err != nil || cl != nil {
		return cl, err
	}
	own, closeStore, err := c.openLocal(ctx)
	if err != nil {
		return nil, err
	}
	cl = newClient("http://localhost", handlerTransport{own.Socket()}, secret.Value{}, closeStore)
	cl.callback = own.Callback()
	return cl, nil
}

// daemon gives the API of a running daemon; nil: none runs here and --admin
// names none.
func (c *cli) daemon() (*client, error) {
	if c.adminURL != "" {
		return c.remote()
	}
	if c.adminTokenFile != "" {
		return nil, usagef("--admin-token-file goes with --admin URL")
	}
	dir, err := c.stateDir()
	if err != nil {
		return nil, err
	}
	if up, err := running(dir); err != nil || !up {
		return nil, err
	}
	return newClient("http://localhost", socketTransport(filepath.Join(dir, "admin.sock")), secret.Value{}, nil), nil
}

// remote gives the API at --admin. Its address comes from the command line only,
// so that no file decides where the token goes.
func (c *cli) remote() (*client, error) {
	u, err := url.Parse(c.adminURL)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, usagef("--admin is not a URL like https://HOST:PORT")
	}
	var token secret.Value
	if c.adminTokenFile != "" {
		if token, err = c.adminToken(); err != nil {
			return nil, err
		}
		if u.Scheme == "http" && !loopback(u.Hostname()) {
			c.warn("the admin token goes to %s unencrypted", u.Host)
		}
	}
	return newClient(strings.TrimRight(u.String(), "/"), &http.Transport{}, token, nil), nil
}

func (c *cli) adminToken() (secret.Value, error) {
	b, readable, err := file.ReadOperator(c.adminTokenFile)
	if err != nil {
		return secret.Value{}, fmt.Errorf("--admin-token-file: %w", err)
	}
	if readable {
		c.warn("%s is readable by everybody; run chmod 600 on it", c.adminTokenFile)
	}
	token, err := headerToken(c.adminTokenFile, string(b))
	if err != nil {
		return secret.Value{}, fmt.Errorf("--admin-token-file: %w", err)
	}
	return token, nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func newClient(base string, rt http.RoundTripper, token secret.Value, closer func() error) *client {
	if closer == nil {
		closer = func() error { return nil }
	}
	return &client{
		http: &http.Client{
			Transport:     rt,
			Timeout:       callTimeout,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		base: base, token: token, close: closer,
	}
}

// socketTransport dials the admin socket, whatever the URL says. A daemon that
// has just started may not listen yet: it is given a moment.
func socketTransport(path string) http.RoundTripper {
	dial := func(ctx context.Context, _, _ string) (conn net.Conn, err error) {
		var d net.Dialer
		for range 20 {
			if conn, err = d.DialContext(ctx, "unix", path); err == nil || !sleep(ctx, 50*time.Millisecond) {
				break
			}
		}
		return conn, err
	}
	return &http.Transport{DialContext: dial}
}

// sleep waits; false if ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// get reads path into out.
func (cl *client) get(ctx context.Context, path string, query url.Values, out any) error {
	_, err := cl.call(ctx, http.MethodGet, path, query, nil, out)
	return err
}

// call sends body as JSON, if there is one, and reads the answer into out, if
// there is one; it gives the answer's status. Any status from 300 on is an
// error; the API's own is a *problem.
func (cl *client) call(ctx context.Context, method, path string, query url.Values, body, out any) (int, error) {
	status, answer, err := cl.exchange(ctx, method, path, query, body)
	switch {
	case err != nil:
		return 0, err
	case status >= 300:
		return status, newProblem(status, answer)
	case out == nil:
		return status, nil
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return status, fmt.Errorf("%s %s: the answer is not the admin API's: %w", method, path, err)
	}
	return status, nil
}

func (cl *client) exchange(ctx context.Context, method, path string, query url.Values, body any) (int, []byte, error) {
	r, err := cl.send(ctx, method, path, query, body)
	return r.status, r.body, err
}

// apiAnswer is what the admin API answered.
type apiAnswer struct {
	status int
	header http.Header
	body   []byte
}

func (cl *client) send(ctx context.Context, method, path string, query url.Values, body any) (apiAnswer, error) {
	req, err := cl.request(ctx, method, path, query, body)
	if err != nil {
		return apiAnswer{}, err
	}
	resp, err := cl.http.Do(req)
	if err != nil {
		return apiAnswer{}, cl.unreachable(ctx, err)
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return apiAnswer{}, cl.unreachable(ctx, err)
	}
	return apiAnswer{resp.StatusCode, resp.Header, answer}, nil
}

func (cl *client) request(ctx context.Context, method, path string, query url.Values, body any) (*http.Request, error) {
	var r io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		r = strings.NewReader(string(b))
	}
	target := cl.base + path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, target, r)
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if !cl.token.Empty() {
		req.Header.Set("Authorization", "Bearer "+reveal(cl.token))
	}
	return req, nil
}

// unreachable tells that no answer came. A url.Error's own text repeats the
// address of the socket's URL, which nobody knows.
func (cl *client) unreachable(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return errors.New("interrupted")
	}
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	if _, ok := cl.http.Transport.(handlerTransport); ok {
		return err
	}
	return try(fmt.Errorf("the daemon's admin API does not answer: %w", err), "look at the daemon's log", "sallyport healthcheck")
}

// problem is an error answer of the admin API.
type problem struct {
	fault.Problem
	body []byte // the whole answer, which may hold more
}

// Error implements error.
func (p *problem) Error() string {
	if p.Code == "" {
		return fmt.Sprintf("the admin API answered %d %s", p.Status, http.StatusText(p.Status))
	}
	s := fmt.Sprintf("%s (%s): %s", p.Title, p.Code, p.Detail)
	if p.RequestID != "" && p.Code == fault.Internal {
		s += " (request id " + p.RequestID + ")"
	}
	return s
}

// Is makes errors.Is(err, fault.InUse) true for a problem of that code.
func (p *problem) Is(target error) bool { return target == p.Code }

func newProblem(status int, body []byte) error {
	p := &problem{body: body}
	if json.Unmarshal(body, &p.Problem) != nil || p.Code == "" {
		p.Problem = fault.Problem{}
	}
	p.Status = status
	return p
}

// more reads members of a problem's answer besides those of every problem.
func (p *problem) more(out any) { _ = json.Unmarshal(p.body, out) } // what does not fit is left out
