package main

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/sallyport/sallyport/configs"
)

const (
	logPause = 50 * time.Millisecond // how long a line may wait for others
	logQueue = 4 << 20               // bytes that wait while the sink does not take them
)

// logWriter gathers log lines and writes them by themselves, so that no request
// waits for whoever reads them. Lines that no longer fit are dropped and counted.
type logWriter struct {
	out io.Writer

	mu      sync.Mutex
	waiting []byte
	spare   []byte
	dropped int
	wake    chan struct{}
	writing sync.Mutex
}

func newLogWriter(out io.Writer) *logWriter {
	return &logWriter{out: out, wake: make(chan struct{}, 1)}
}

// Write implements io.Writer; it takes whole lines.
func (w *logWriter) Write(line []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.waiting)+len(line) > logQueue {
		w.dropped++
		return len(line), nil
	}
	w.waiting = append(w.waiting, line...)
	select {
	case w.wake <- struct{}{}:
	default:
	}
	return len(line), nil
}

// Run writes what gathers until ctx ends, then what is left.
func (w *logWriter) Run(ctx context.Context) error {
	defer w.flush()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-w.wake:
			sleep(ctx, logPause)
			w.flush()
		}
	}
}

func (w *logWriter) flush() {
	w.writing.Lock()
	defer w.writing.Unlock()
	w.mu.Lock()
	lines, dropped := w.waiting, w.dropped
	w.waiting, w.spare, w.dropped = w.spare[:0], lines, 0
	w.mu.Unlock()
	if len(lines) > 0 {
		_, _ = w.out.Write(lines)
	}
	if dropped > 0 {
		slog.New(slog.NewTextHandler(w.out, nil)).Warn("log lines were dropped because nobody took them", "lines", dropped)
	}
}

// newLogger writes to w as the configuration says; level may be changed later.
func newLogger(w io.Writer, cfg *configs.Config, level *slog.LevelVar) *slog.Logger {
	setLevel(level, cfg)
	o := &slog.HandlerOptions{Level: level}
	if cfg.Log.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}

func setLevel(level *slog.LevelVar, cfg *configs.Config) {
	var l slog.Level
	_ = l.UnmarshalText([]byte(cfg.Log.Level)) // one of four words
	level.Set(l)
}
