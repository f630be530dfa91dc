package main

import (
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"testing"
)

func TestTuneMemory(t *testing.T) {
	oldGC, oldLimit := debug.SetGCPercent(100), debug.SetMemoryLimit(-1)
	defer func() { debug.SetGCPercent(oldGC); debug.SetMemoryLimit(oldLimit) }()
	file := filepath.Join(t.TempDir(), "memory.max")
	for _, c := range []struct {
		content, gogc, gomemlimit string
		percent                   int
		limit                     int64
	}{
		{"max\n", "", "", gcPercent, oldLimit},
		{"104857600\n", "", "", gcPercent, 94371840},
		{"104857600\n", "50", "1GiB", 100, oldLimit},
	} {
		debug.SetGCPercent(100)
		debug.SetMemoryLimit(oldLimit)
		if err := os.WriteFile(file, []byte(c.content), 0o600); err != nil {
			t.Fatal(err)
		}
		tuneMemory(func(name string) string { return map[string]string{"GOGC": c.gogc, "GOMEMLIMIT": c.gomemlimit}[name] }, file)
		if got := debug.SetGCPercent(100); got != c.percent {
			t.Errorf("%+v: GC percent %d", c, got)
		}
		if got := debug.SetMemoryLimit(-1); got != c.limit {
			t.Errorf("%+v: limit %d", c, got)
		}
	}
}

func TestThreads(t *testing.T) {
	for cpus, want := range map[int]int{1: 1, 2: 1, 3: 2, 4: 2, 8: 4, 16: 8} {
		if got := threads(cpus); got != want {
			t.Errorf("%d CPUs: %d threads, want %d", cpus, got, want)
		}
	}
	old := runtime.GOMAXPROCS(0)
	defer runtime.GOMAXPROCS(old)
	tuneThreads(func(string) string { return "2" })
	if got := runtime.GOMAXPROCS(0); got != old {
		t.Errorf("GOMAXPROCS of the environment was overridden by %d", got)
	}
}
