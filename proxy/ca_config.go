package proxy

import (
	"crypto/rand"
	"crypto/tls"
	"slices"
	"sync"
	"time"
)

// Session tickets: a key is used for so long, and read for as long again.
const ticketsRotate = 12 * time.Hour

// Config is the TLS side of intercepted tunnels, one for all of them. host says
// for which host a handshake is, from the connection and the server name, and
// refuses it with an error; it is asked on every handshake, resumed ones too.
//
// Sessions are resumed even where a server clones the configuration for each
// connection: the ticket keys belong to the one behind it.
func (ca *CA) Config(host func(*tls.ClientHelloInfo) (string, error)) *tls.Config {
	shared := &tls.Config{
		MinVersion:       tls.VersionTLS12,
		NextProtos:       []string{"h2", "http/1.1"},
		CurvePreferences: []tls.CurveID{tls.X25519, tls.CurveP256},
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			name, err := host(hello)
			if err != nil {
				return nil, err
			}
			return ca.Leaf(name)
		},
	}
	tickets := &ticketKeys{now: ca.now}
	outer := shared.Clone()
	outer.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if _, err := host(hello); err != nil {
			return nil, err
		}
		tickets.refresh(shared)
		return shared, nil
	}
	return outer
}

// ticketKeys rotates the session ticket keys of one configuration.
type ticketKeys struct {
	now func() time.Time

	mu   sync.Mutex
	keys [][32]byte // newest first
	made time.Time
}

// refresh sets new keys when the newest is too old; the one before stays readable.
func (t *ticketKeys) refresh(c *tls.Config) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.keys) > 0 && t.now().Sub(t.made) < ticketsRotate {
		return
	}
	var key [32]byte
	_, _ = rand.Read(key[:]) // never fails
	t.keys = slices.Insert(t.keys, 0, key)
	t.keys = t.keys[:min(len(t.keys), 2)]
	t.made = t.now()
	c.SetSessionTicketKeys(t.keys)
}
