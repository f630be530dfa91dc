package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
)

// gcPercent trades memory for CPU: what the daemon holds is small, so a heap of
// five times that is too. GOGC in the environment overrides it.
const gcPercent = 400

// tuneMemory sets the collector's pace, and the limit that a container sets as
// the one to collect harder before. GOMEMLIMIT overrides that.
func tuneMemory(getenv func(string) string, limitFile string) {
	if getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	if limit := containerLimit(limitFile); limit > 0 && getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(limit / 10 * 9)
	}
}

// tuneThreads leaves half of the CPUs to the worker beside the sidecar. Threads
// that hand small requests to each other cost more than they bring: on two CPUs
// one thread serves as many requests for three quarters of the CPU time.
// GOMAXPROCS overrides it.
func tuneThreads(getenv func(string) string) {
	if getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(threads(runtime.GOMAXPROCS(0)))
	}
}

// threads of a machine or container with that many CPUs.
func threads(cpus int) int { return max((cpus+1)/2, 1) }

// cgroupLimit is where a container reads its own limit (cgroup v2).
const cgroupLimit = "/sys/fs/cgroup/memory.max"

// containerLimit gives bytes; 0: there is no limit.
func containerLimit(path string) int64 {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	if err != nil { // "max"
		return 0
	}
	return n
}
