package checker

import (
	"testing"
)

// A server's own words, as a step shows them, steer no terminal.
func TestReplySteersNoTerminal(t *testing.T) {
	talk := ftpTalk{"": "220 hello\r\n", "USER": "331 password?\r\n", "PASS": "530 no\x1b]0;pwned\a\u009b\u202e\r\n"}
	r := checkFTP(t, "ftp", talk.serve)
	if len(r.Steps) == 0 {
		t.Fatal("no step")
	}
	if x := r.Steps[len(r.Steps)-1].ResponseExcerpt; x != "530 no ]0;pwned   " {
		t.Errorf("excerpt %q", x)
	}
}
