package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const events = `{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestA","Output":"=== RUN   TestA\n"}
{"Action":"output","Package":"p","Test":"TestA","Output":"    a_test.go:1: fine\n"}
{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestS","Output":"=== RUN   TestS\n"}
{"Action":"output","Package":"p","Test":"TestS","Output":"    a_test.go:9: no java here\n"}
{"Action":"output","Package":"p","Test":"TestS","Output":"--- SKIP: TestS (0.00s)\n"}
{"Action":"skip","Package":"p","Test":"TestS"}
{"Action":"output","Package":"p","Output":"PASS\n"}
{"Action":"output","Package":"p","Output":"ok  \tp\t0.1s\n"}
{"Action":"pass","Package":"p"}
`

const failing = `{"Action":"output","Package":"q","Test":"TestB","Output":"    b_test.go:2: broken\n"}
{"Action":"fail","Package":"q","Test":"TestB"}
{"Action":"output","Package":"q","Test":"TestC","Output":"panic: no end\n"}
{"Action":"output","Package":"q","Output":"FAIL\tq\t0.1s\n"}
{"Action":"fail","Package":"q"}
{"ImportPath":"r","Action":"build-output","Output":"r.go:1: undefined\n"}
`

func TestReport(t *testing.T) {
	for _, tc := range []struct {
		name, events, real string
		ok                 bool
		tells, hides       []string
	}{
		{"all well", events, "curl 8: p.TestA\ncurl 8: p.TestB/a:_b\nVault 1: p.TestA\nwire only, teleport: p.TestA\n", true,
			[]string{"on the wire only:\n  teleport, in 1 tests", "ok  \tp\t0.1s", "skipped: p TestS: a_test.go:9: no java here", "curl 8, in 2 tests", "all 1 tests passed, 1 skipped"}, []string{"fine", "PASS"}},
		{"a failure", events + failing, "curl 8: p.TestA\nVault 1: p.TestA\n", false,
			[]string{"b_test.go:2: broken", "panic: no end", "FAIL\tq", "r.go:1: undefined", "FAILED: 2"}, []string{"all 1"}},
		{"a missing one", events, "curl 8: p.TestA\n", false, []string{"FAILED: Vault took no part"}, []string{"all 1"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			real, required := filepath.Join(dir, "real"), filepath.Join(dir, "required")
			for path, text := range map[string]string{real: tc.real, required: "curl\nVault\n"} {
				if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			var out bytes.Buffer
			ok, err := run(strings.NewReader(tc.events), &out, real, required)
			if err != nil || ok != tc.ok {
				t.Errorf("ok %v, %v, want %v", ok, err, tc.ok)
			}
			for _, want := range tc.tells {
				if !strings.Contains(out.String(), want) {
					t.Errorf("does not tell %q:\n%s", want, out.String())
				}
			}
			for _, not := range tc.hides {
				if strings.Contains(out.String(), not) {
					t.Errorf("tells %q:\n%s", not, out.String())
				}
			}
		})
	}
}
