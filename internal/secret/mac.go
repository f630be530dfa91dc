package secret

import (
	"crypto/hmac"
	"crypto/sha256"
)

// MAC is the HMAC-SHA256 of a message under the secret (RFC 2104).
func (v Value) MAC(message []byte) [sha256.Size]byte {
	m := hmac.New(sha256.New, []byte(v.Reveal()))
	m.Write(message)
	return [sha256.Size]byte(m.Sum(nil))
}
