// Package bench measures the proxy beside others that do the same work.
package bench

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// target is one way through one proxy to the upstream.
type target struct {
	name    string
	pid     int         // whose CPU time counts
	address string      // to dial
	connect string      // sent first on a new connection, answered by 200; empty: nothing
	tls     *tls.Config // then TLS; nil: none
	request string      // sent again and again
	wrk     string      // program that sends it; empty: this one
}

// sample is what one round on one target gave.
type sample struct {
	requests int
	took     time.Duration
	cpu      time.Duration
	p50, p99 time.Duration
}

// load keeps conns connections busy for d, each with one request at a time.
func (t target) load(conns int, d time.Duration) (sample, error) {
	if t.wrk != "" {
		return t.byWrk(conns, d)
	}
	clients := make([]*client, conns)
	for i := range clients {
		c, err := t.dial()
		if err != nil {
			return sample{}, fmt.Errorf("%s: %w", t.name, err)
		}
		defer func() { _ = c.conn.Close() }()
		clients[i] = c
	}
	before, err := cpuTime(t.pid)
	if err != nil {
		return sample{}, err
	}
	start := time.Now()
	errs := make([]error, conns)
	var wg sync.WaitGroup
	for i, c := range clients {
		wg.Go(func() { errs[i] = c.run(start.Add(d)) })
	}
	wg.Wait()
	s := sample{took: time.Since(start)}
	after, err := cpuTime(t.pid)
	s.cpu = after - before
	var latency []time.Duration
	for _, c := range clients {
		latency = append(latency, c.latency...)
	}
	slices.Sort(latency)
	if s.requests = len(latency); s.requests > 0 {
		s.p50, s.p99 = latency[s.requests/2], latency[s.requests*99/100]
	}
	if err := errors.Join(append(errs, err)...); err != nil {
		return s, fmt.Errorf("%s: %w", t.name, err)
	}
	return s, nil
}

// client is one keep-alive connection. It reads answers as plainly as it can,
// so that the load takes little of the machine.
type client struct {
	conn    net.Conn
	r       *bufio.Reader
	request []byte
	latency []time.Duration
}

func (t target) dial() (*client, error) {
	conn, err := net.DialTimeout("tcp", t.address, 5*time.Second)
	if err != nil {
		return nil, err
	}
	c := &client{conn: conn, r: bufio.NewReader(conn), request: []byte(t.request)}
	if err := c.open(t); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return c, nil
}

// open makes the tunnel and the TLS session, and sends one request that is not measured.
func (c *client) open(t target) error {
	_ = c.conn.SetDeadline(time.Now().Add(10 * time.Second))
	if t.connect != "" {
		if _, err := io.WriteString(c.conn, t.connect); err != nil {
			return err
		}
		if err := c.answer(); err != nil {
			return err
		}
	}
	if t.tls != nil {
		c.conn = tls.Client(c.conn, t.tls)
		c.r.Reset(c.conn)
	}
	return c.once()
}

func (c *client) run(until time.Time) error {
	_ = c.conn.SetDeadline(until.Add(10 * time.Second))
	for {
		start := time.Now()
		if start.After(until) {
			return nil
		}
		if err := c.once(); err != nil {
			return err
		}
		c.latency = append(c.latency, time.Since(start))
	}
}

func (c *client) once() error {
	if _, err := c.conn.Write(c.request); err != nil {
		return err
	}
	return c.answer()
}

// answer reads one answer, which must be a 200 with a Content-Length or none.
func (c *client) answer() error {
	line, err := c.r.ReadSlice('\n')
	if err != nil {
		return err
	}
	if !bytes.Contains(line, []byte(" 200 ")) {
		return fmt.Errorf("answer %q", line)
	}
	length := 0
	for {
		line, err := c.r.ReadSlice('\n')
		if err != nil {
			return err
		}
		if len(line) <= 2 {
			break
		}
		name, value, _ := strings.Cut(string(line), ":")
		if strings.EqualFold(name, "Content-Length") {
			if length, err = strconv.Atoi(strings.TrimSpace(value)); err != nil {
				return err
			}
		}
	}
	_, err = c.r.Discard(length)
	return err
}
