package e2e

import (
	"flag"
	"os"
	"runtime"
	"strconv"
	"testing"
)

// These tests wait most of their time: some more of them run at once than there are cores, unless -parallel says how many.
func TestMain(m *testing.M) {
	flag.Parse()
	if f := flag.Lookup("test.parallel"); f.Value.String() == f.DefValue {
		_ = f.Value.Set(strconv.Itoa(runtime.GOMAXPROCS(0) + 2))
	}
	os.Exit(m.Run())
}
