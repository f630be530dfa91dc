package admin_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// The API over real connections: one connection serves several requests, and
// the body's time limit ends with the body.
func TestOverTheWire(t *testing.T) {
	b := newBench(t)
	s := httptest.NewServer(b.TCP())
	defer s.Close()
	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	r := bufio.NewReader(conn)
	for i, c := range []struct {
		request string
		status  int
	}{
		{"GET /livez HTTP/1.1\r\nHost: evil.com\r\n\r\n", 421},
		{"PUT " + one + " HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + token + "\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n1d\r\n{\"fields\":{\"token\":\"good\"}}  \r\n0\r\n\r\n", 201},
		{"GET " + one + " HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + token + "\r\n\r\n", 200},
		{"GET http://evil.com/livez HTTP/1.1\r\nHost: localhost\r\n\r\n", 421},
		{"GET /api/v1/../../livez HTTP/1.1\r\nHost: localhost\r\n\r\n", 404},
		{"HEAD /livez HTTP/1.1\r\nHost: localhost\r\n\r\n", 200},
		{"DELETE " + one + " HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + token + "\r\n\r\n", 204},
		{"GET /livez HTTP/1.0\r\n\r\n", 421},
	} {
		if _, err := io.WriteString(conn, c.request); err != nil {
			t.Fatal(err)
		}
		method, _, _ := strings.Cut(c.request, " ")
		resp, err := http.ReadResponse(r, &http.Request{Method: method})
		if err != nil {
			t.Fatalf("request %d: %v", i, err)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != c.status {
			t.Errorf("%s: %d %s %v, want %d", strings.SplitN(c.request, "\r\n", 2)[0], resp.StatusCode, body, err, c.status)
		}
	}
}

func TestBodyThatBreaksOff(t *testing.T) {
	b := newBench(t)
	s := httptest.NewServer(b.TCP())
	defer s.Close()
	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "PUT %s HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"fields\":{\"token\":\"good\"}}", one, token)
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || resp.StatusCode != http.StatusBadRequest {
		t.Errorf("%v, %v; want 400", resp, err)
	}
	if _, err := b.store.Get(t.Context(), ref); err == nil {
		t.Error("half a body was stored")
	}
}
