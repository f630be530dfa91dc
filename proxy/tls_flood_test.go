package proxy

import (
	"bufio"
	"bytes"
	"context"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/internal/fault"
)

// RE-13: certificates that are laborious to look at are refused in short, and
// told of in short.
func TestLaboriousCertificates(t *testing.T) {
	trusted := newTestAuthority(t, "trusted", nil)
	for name, cert := range map[string]tls.Certificate{
		"10,000 names": trusted.issue(t, func(c *x509.Certificate) {
			c.DNSNames = nil
			for i := range 10_000 {
				c.DNSNames = append(c.DNSNames, fmt.Sprintf("a%d.example", i))
			}
		}),
		"RSA of 16384 bits": trusted.issueTo(t, newHugeKey(t, 16384), nil),
		"RSA of 8200 bits":  trusted.issueTo(t, newHugeKey(t, 8200), nil),
	} {
		port, got := countingTLS(t, &tls.Config{Certificates: []tls.Certificate{cert}})
		u := openUpstream(t, UpstreamOptions{Roots: poolOf(trusted.cert), Resolver: resolves("api.example", "127.0.0.1")})
		start := time.Now()
		_, err := send(t, u.Transport(nil, nil), "GET", "https://api.example:"+port+"/", nil)
		f := Classify(err)
		if codeOf(f) != fault.TLSCertificate || got.Load() != 0 || time.Since(start) > 5*time.Second {
			t.Errorf("RE-13 %s: %v after %v, %d bytes sent; want tls_certificate", name, f, time.Since(start), got.Load())
		}
		if len(f.Detail) > 1000 || len(f.Error()) > 8000 {
			t.Errorf("RE-13 %s: told in %d and %d bytes", name, len(f.Detail), len(f.Error()))
		}
	}
}

// hugeKey is an RSA key that nobody has: its signatures are of the right length.
type hugeKey struct{ rsa.PublicKey }

func newHugeKey(t *testing.T, bits int) *hugeKey {
	t.Helper()
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), uint(bits)))
	if err != nil {
		t.Fatal(err)
	}
	n.SetBit(n.SetBit(n, bits-1, 1), 0, 1)
	return &hugeKey{rsa.PublicKey{N: n, E: 65537}}
}

// Public implements crypto.Signer.
func (k *hugeKey) Public() crypto.PublicKey { return &k.PublicKey }

// Sign implements crypto.Signer.
func (k *hugeKey) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return make([]byte, k.Size()), nil
}

// RE-13: a handshake that an upstream does not finish is given up after ten seconds.
func TestUnfinishedHandshake(t *testing.T) {
	for name, slow := range map[string]string{"silent": "", "a byte a second": "\x16\x03\x03\x40\x00\x02\x00\x3f\xfc" + strings.Repeat("\x03", 30)} {
		synctest.Test(t, func(t *testing.T) {
			tr := newTransport(domainSettings{timeout: time.Minute})
			tr.DialContext = func(context.Context, string, string) (net.Conn, error) {
				near, far := net.Pipe()
				go func() { _, _ = io.Copy(io.Discard, far) }()
				go func() {
					for _, b := range []byte(slow) {
						time.Sleep(time.Second)
						if _, err := far.Write([]byte{b}); err != nil {
							return
						}
					}
				}()
				return near, nil
			}
			start := time.Now()
			_, err := send(t, tr, "GET", "https://api.example/", nil)
			if took := time.Since(start); codeOf(Classify(err)) != fault.Timeout || took != 10*time.Second {
				t.Errorf("RE-13 %s: %v after %v", name, err, took)
			}
			time.Sleep(2 * time.Second) // until the upstream has seen it
		})
	}
}

// RE-13: a peer that changes its keys again and again, or in one record, loses
// its connection; whoever waits for it is told.
func TestKeyUpdateFlood(t *testing.T) {
	r := newRig(t, echo)
	for name, flood := range map[string]func(*trafficKeys) []byte{
		"one after the other": func(k *trafficKeys) []byte {
			var all []byte
			for range 1000 {
				all = append(all, k.seal(keyUpdate)...)
				k.next()
			}
			return all
		},
		"many in one record": func(k *trafficKeys) []byte { return k.seal(bytes.Repeat(keyUpdate, 1000)) },
	} {
		w := r.dial()
		w.send("CONNECT %s HTTP/1.1\r\nHost: x\r\nProxy-Authorization: Basic %s\r\n\r\n", r.upstream.authority, auth64)
		w.answer("CONNECT")
		var log bytes.Buffer
		c := tls.Client(w.Conn, &tls.Config{RootCAs: r.roots, ServerName: "example.com", KeyLogWriter: &log})
		if err := c.Handshake(); err != nil {
			t.Fatal(err)
		}
		_, _ = w.Write(flood(newTrafficKeys(t, "CLIENT_TRAFFIC_SECRET_0", c, log.String())))
		_ = w.SetDeadline(time.Now().Add(5 * time.Second))
		if _, err := io.Copy(io.Discard, c.NetConn()); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("RE-13 a runner's, %s: the connection stays open", name)
		}
		_ = w.Close()
		if got := r.get(r.client(false), r.url("/")); got.StatusCode != 200 {
			t.Errorf("RE-13 a runner's, %s: the next one is answered %d", name, got.StatusCode)
		}
		floodingUpstream(t, name, flood)
	}
}

func floodingUpstream(t *testing.T, name string, flood func(*trafficKeys) []byte) {
	trusted := newTestAuthority(t, "trusted", nil)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		raw, err := ln.Accept()
		if err != nil {
			return
		}
		defer raw.Close()
		_ = raw.SetDeadline(time.Now().Add(20 * time.Second))
		var log bytes.Buffer
		c := tls.Server(raw, &tls.Config{Certificates: []tls.Certificate{trusted.issue(t, nil)}, KeyLogWriter: &log, SessionTicketsDisabled: true})
		if _, err := http.ReadRequest(bufio.NewReader(c)); err != nil {
			return
		}
		_, _ = raw.Write(flood(newTrafficKeys(t, "SERVER_TRAFFIC_SECRET_0", c, log.String())))
		_, _ = io.Copy(io.Discard, raw)
	}()
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	u := openUpstream(t, UpstreamOptions{Roots: poolOf(trusted.cert), Resolver: resolves("api.example", "127.0.0.1"), Timeout: 15 * time.Second})
	start := time.Now()
	_, err = send(t, u.Transport(nil, nil), "GET", "https://api.example:"+port+"/", nil)
	if f := Classify(err); f == nil || time.Since(start) > 5*time.Second {
		t.Errorf("RE-13 an upstream's, %s: %v after %v", name, err, time.Since(start))
	}
}

// keyUpdate asks the peer to change its keys too (RFC 8446 section 4.6.3).
var keyUpdate = []byte{24, 0, 0, 1, 1}

// trafficKeys seal records of one direction of TLS 1.3 by hand.
type trafficKeys struct {
	t        *testing.T
	secret   []byte
	sequence uint64
}

// newTrafficKeys takes the secret from what the connection logged of its keys.
func newTrafficKeys(t *testing.T, label string, c *tls.Conn, log string) *trafficKeys {
	if s := c.ConnectionState(); s.Version != tls.VersionTLS13 || s.CipherSuite != tls.TLS_AES_128_GCM_SHA256 {
		t.Errorf("the connection speaks %s with %s", tls.VersionName(s.Version), tls.CipherSuiteName(s.CipherSuite))
	}
	for line := range strings.Lines(log) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == label {
			secret, _ := hex.DecodeString(f[2])
			return &trafficKeys{t: t, secret: secret}
		}
	}
	t.Errorf("no %s in %q", label, log)
	return &trafficKeys{t: t, secret: make([]byte, sha256.Size)}
}

// expand is HKDF-Expand-Label with an empty context (RFC 8446 section 7.1).
func (k *trafficKeys) expand(label string, size int) []byte {
	info := binary.BigEndian.AppendUint16(nil, uint16(size))
	info = append(append(info, byte(len("tls13 ")+len(label))), "tls13 "+label...)
	out, err := hkdf.Expand(sha256.New, k.secret, string(append(info, 0)), size)
	if err != nil {
		k.t.Error(err)
	}
	return out
}

// next changes the keys.
func (k *trafficKeys) next() { k.secret, k.sequence = k.expand("traffic upd", sha256.Size), 0 }

// seal gives a record of handshake messages.
func (k *trafficKeys) seal(messages []byte) []byte {
	block, err := aes.NewCipher(k.expand("key", 16))
	if err != nil {
		k.t.Error(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		k.t.Error(err)
	}
	nonce := k.expand("iv", aead.NonceSize())
	for i, b := range binary.BigEndian.AppendUint64(nil, k.sequence) {
		nonce[4+i] ^= b
	}
	k.sequence++
	plain := append(bytes.Clone(messages), 22)
	head := binary.BigEndian.AppendUint16([]byte{23, 3, 3}, uint16(len(plain)+aead.Overhead()))
	return aead.Seal(head, nonce, plain, head)
}
