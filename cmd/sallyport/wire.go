package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/sallyport/sallyport/internal/secret"
)

// reveal gives a secret's string where a command hands it on: to the admin API,
// or into the environment of the program that run starts.
func reveal(v secret.Value) string {
	return v.Reveal() //nolint:forbidigo // the one place of this package where a secret leaves
}

// revealed gives fields as the admin API reads them; nil stands for null, which
// removes a field.
func revealed(fields map[string]*secret.Value) map[string]*string {
	m := make(map[string]*string, len(fields))
	for name, v := range fields {
		m[name] = nil
		if v != nil {
			s := reveal(*v)
			m[name] = &s
		}
	}
	return m
}

// handlerTransport answers requests with a handler of this process.
type handlerTransport struct{ handler http.Handler }

// RoundTrip implements http.RoundTripper.
func (t handlerTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	r := req.Clone(req.Context())
	r.RequestURI = r.URL.RequestURI()
	r.Host = r.URL.Host
	r.RemoteAddr = "@" // as of a Unix socket
	if r.Body == nil {
		r.Body = http.NoBody
	}
	w := &answer{header: http.Header{}}
	err := t.serve(w, r)
	_ = r.Body.Close()
	if err == nil {
		err = req.Context().Err() // as a connection would
	}
	if err != nil {
		return nil, err
	}
	return w.response(req), nil
}

// serve runs the handler; what it panics with becomes an error.
func (t handlerTransport) serve(w http.ResponseWriter, r *http.Request) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%s %s: %v", r.Method, r.URL.Path, p)
		}
	}()
	t.handler.ServeHTTP(w, r)
	return nil
}

// answer is an http.ResponseWriter that keeps what is written, up to maxAnswer.
type answer struct {
	header http.Header
	status int // 0: not written yet
	body   bytes.Buffer
}

// Header implements http.ResponseWriter.
func (a *answer) Header() http.Header { return a.header }

// WriteHeader implements http.ResponseWriter.
func (a *answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
}

// Write implements http.ResponseWriter.
func (a *answer) Write(p []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	if a.body.Len()+len(p) > maxAnswer {
		return 0, errors.New("the answer is too long")
	}
	return a.body.Write(p)
}

func (a *answer) response(req *http.Request) *http.Response {
	a.WriteHeader(http.StatusOK)
	return &http.Response{
		StatusCode: a.status, Status: http.StatusText(a.status),
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: a.header, Body: io.NopCloser(&a.body), ContentLength: int64(a.body.Len()), Request: req,
	}
}
