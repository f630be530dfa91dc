package testserver

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

func TestToxiproxy(t *testing.T) {
	var asked atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		_, _ = io.WriteString(w, strings.Repeat("x", 1000))
	}))
	defer server.Close()
	p := StartToxiproxy(t, server.Listener.Addr().String())
	client := &http.Client{Transport: &http.Transport{}, Timeout: time.Second}
	defer client.CloseIdleConnections()
	get := func() (time.Duration, error) {
		began := time.Now()
		resp, err := client.Get("http://" + p.Addr) //nolint:noctx // the client's time limit bounds it
		if err == nil {
			_, err = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
		}
		return time.Since(began), err
	}
	timedOut := func(err error) bool { e := net.Error(nil); return errors.As(err, &e) && e.Timeout() }
	for _, tc := range []struct {
		name    string
		before  func()
		check   func(took time.Duration, err error) bool
		arrives int64 // how many requests get through to the server
	}{
		{"healthy", func() {}, func(_ time.Duration, err error) bool { return err == nil }, 1},
		{"slow", func() { p.Slow(t, 300*time.Millisecond) }, func(took time.Duration, err error) bool { return err == nil && took >= 300*time.Millisecond }, 1},
		{"answers get lost", func() { p.Lose(t) }, func(_ time.Duration, err error) bool { return timedOut(err) }, 1},
		{"reset", func() { p.Reset(t, 0) }, func(_ time.Duration, err error) bool { return err != nil && !timedOut(err) }, 0},
		{"throttled", func() { p.Throttle(t, 0) }, func(_ time.Duration, err error) bool { return err != nil }, 1},
		{"down", func() { p.Down(t) }, func(_ time.Duration, err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }, 0},
		{"removed", func() { p.Slow(t, 5*time.Second); p.Remove(t, "latency", "") }, func(_ time.Duration, err error) bool { return err == nil }, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			client.CloseIdleConnections()
			p.Up(t)
			tc.before()
			asked.Store(0)
			took, err := get()
			if !tc.check(took, err) {
				t.Errorf("%v after %v", err, took)
			}
			if n := asked.Load(); n < tc.arrives {
				t.Errorf("%d requests arrived, want %d", n, tc.arrives)
			}
		})
	}
}
