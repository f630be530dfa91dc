package main

import (
	"bytes"
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// stuck is a pipe that nobody reads until it is opened.
type stuck struct {
	open chan struct{}
	mu   sync.Mutex
	got  bytes.Buffer
}

func (s *stuck) Write(p []byte) (int, error) {
	<-s.open
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.got.Write(p)
}

// FM-24: while nobody takes the log, whoever writes to it does not wait, what is
// kept has a bound, and the lines that were dropped are counted and told.
func TestLogThatNobodyTakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &stuck{open: make(chan struct{})}
		w := newLogWriter(out)
		ctx, end := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); _ = w.Run(ctx) }()
		line := []byte(strings.Repeat("x", 1023) + "\n")
		start := time.Now()
		const lines = 3 * logQueue / 1024
		for i := range lines {
			if i == 10 {
				time.Sleep(time.Second) // the first lines are on their way now
			}
			if n, err := w.Write(line); n != len(line) || err != nil {
				t.Fatalf("FM-24: line %d: %d, %v", i, n, err)
			}
		}
		if waited := time.Since(start); waited > time.Second {
			t.Errorf("FM-24: the writer waited %v", waited-time.Second)
		}
		w.mu.Lock()
		if len(w.waiting) > logQueue || w.dropped != lines-10-logQueue/1024 {
			t.Errorf("FM-24: %d bytes wait, %d lines were dropped", len(w.waiting), w.dropped)
		}
		w.mu.Unlock()
		close(out.open)
		end()
		<-done
		if got := strings.Count(out.got.String(), string(line)); got != 10+logQueue/1024 {
			t.Errorf("FM-24: %d lines were written", got)
		}
		if !strings.Contains(out.got.String(), "lines=8182") {
			t.Error("FM-24: nobody is told how many lines were dropped")
		}
		if _, err := w.Write(line); err != nil || w.dropped != 0 {
			t.Errorf("FM-24: afterwards: %v, %d lines are dropped", err, w.dropped)
		}
	})
}
