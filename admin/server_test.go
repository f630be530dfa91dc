package admin_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/fault"
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

// A long list is sent in parts: the whole of it, in order, or visibly not the whole.
func TestLongList(t *testing.T) {
	const n = 1000
	b := newBench(t)
	var want []string
	for i := range n {
		ref := fmt.Sprintf("acme/production/api/n%04d", i)
		b.store.Add(ref, "bearer", "token", canary)
		want = append(want, ref)
	}
	srv := httptest.NewServer(b.TCP())
	defer srv.Close()
	list := func() ([]string, string, error) {
		t.Helper()
		req, err := http.NewRequest(http.MethodGet, srv.URL+"/api/v1/credentials?limit=900", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
		resp, err := srv.Client().Do(req)
		if err != nil {
			return nil, "", err
		}
		defer resp.Body.Close()
		var out struct {
			Items []struct{ Workspace, Environment, Provider, Name string }
			Next  string
		}
		err = json.NewDecoder(resp.Body).Decode(&out)
		var got []string
		for _, c := range out.Items {
			got = append(got, strings.Join([]string{c.Workspace, c.Environment, c.Provider, c.Name}, "/"))
		}
		return got, out.Next, err
	}
	got, next, err := list()
	if err != nil || !slices.Equal(got, want[:900]) || next != want[899] {
		t.Errorf("%d items, next %q, %v; want the first 900 in order", len(got), next, err)
	}
	b.store.FailAfter(600, fault.New(fault.VaultUnreachable, "", nil))
	if got, next, err := list(); err == nil {
		t.Errorf("a list that the store cut has %d items, next %q, and no error", len(got), next)
	}
}
