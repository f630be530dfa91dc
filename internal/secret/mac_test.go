package secret_test

import (
	"encoding/hex"
	"testing"

	"github.com/sallyport/sallyport/internal/secret"
)

// RFC 4231 section 4.3.
func TestMAC(t *testing.T) {
	got := secret.New("Jefe").MAC([]byte("what do ya want for nothing?"))
	if want := "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"; hex.EncodeToString(got[:]) != want {
		t.Errorf("MAC = %x, want %s", got, want)
	}
}
