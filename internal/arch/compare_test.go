package arch

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// presented are the names under which code holds a token that somebody has shown.
var presented = regexp.MustCompile(`(?i)^(.*token|rest|password|authorization|have|sum)$`)

// LK-18: what somebody shows to get in is compared by its SHA-256 in constant time,
// or found by that; == would tell by its time how much of it is right.
func TestTokensAreComparedInConstantTime(t *testing.T) {
	for file, want := range map[string]string{"admin/guard.go": "subtle.ConstantTimeCompare(want[:], have[:])", "proxy/caller.go": "subtle.ConstantTimeCompare(sum[:], c.TokenSHA256[:])"} {
		if b, err := os.ReadFile(filepath.Join("../..", file)); err != nil || !strings.Contains(string(b), want) {
			t.Errorf("LK-18: %s does not compare by %s (%v)", file, want, err)
		}
	}
	for _, room := range []string{"admin", "proxy"} {
		files, err := filepath.Glob(filepath.Join("../..", room, "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %d files, %v", room, len(files), err)
		}
		for _, path := range files {
			if !strings.HasSuffix(path, "_test.go") {
				comparesPlainly(t, path)
			}
		}
	}
}

func comparesPlainly(t *testing.T, path string) {
	t.Helper()
	set := token.NewFileSet()
	f, err := parser.ParseFile(set, path, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(f, func(n ast.Node) bool {
		b, ok := n.(*ast.BinaryExpr)
		if ok && (b.Op == token.EQL || b.Op == token.NEQ) && (secretName(b.X) && !literal(b.Y) || secretName(b.Y) && !literal(b.X)) {
			t.Errorf("LK-18: %s compares a token with %s", set.Position(b.Pos()), b.Op)
		}
		return true
	})
}

func secretName(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.Ident:
		return presented.MatchString(e.Name)
	case *ast.SelectorExpr:
		return presented.MatchString(e.Sel.Name)
	}
	return false
}

// literal reports whether e is a constant of the source, or nil.
func literal(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.BasicLit:
		return true
	case *ast.Ident:
		return e.Name == "nil" || e.Name == "true" || e.Name == "false"
	}
	return false
}
