package proxy

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"slices"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/sync/singleflight"
	"golang.org/x/time/rate"
)

const (
	caLifetime   = 10 * 365 * 24 * time.Hour
	leafLifetime = 72 * time.Hour
	backdated    = time.Hour // clocks of runners differ from ours
	maxLeaves    = 1_024
	signsPerSec  = 200
	signPatience = 2 * time.Second
)

// CAOptions say which authority signs for intercepted hosts.
type CAOptions struct {
	Dir       string           // of the own authority, made there on first use
	CertFile  string           // of the operator, with KeyFile; empty: the own one
	KeyFile   string           // ECDSA or RSA, PEM
	Permitted []string         // name constraints: domains with all below them, addresses, networks; none: every host
	Now       func() time.Time // nil: time.Now
}

// CA signs a leaf for each intercepted host. It is safe for concurrent use.
type CA struct {
	cert      *x509.Certificate
	chain     [][]byte // what a leaf is sent with: the operator's intermediates
	pem       []byte
	key       crypto.Signer
	permitted hostConstraints // asked for, beside the certificate's own
	warnings  []string
	now       func() time.Time

	leafKey *ecdsa.PrivateKey // of this process, never written
	leafID  []byte            // its subject key identifier
	leaves  *lru.Cache[string, *leaf]
	signing singleflight.Group
	pace    *rate.Limiter
}

// LoadCA loads the operator's authority, or the own one in Dir, which it makes
// (with Dir) if there is none. Errors say what to do.
func LoadCA(o CAOptions) (*CA, error) {
	permitted, err := parsePermitted(o.Permitted)
	if err != nil {
		return nil, err
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	ca := &CA{now: o.Now, permitted: permitted, pace: rate.NewLimiter(signsPerSec, signsPerSec)}
	if o.CertFile != "" || o.KeyFile != "" {
		err = ca.loadOperator(o.CertFile, o.KeyFile)
	} else {
		err = ca.loadOwn(o.Dir)
	}
	if err != nil {
		return nil, err
	}
	return ca, ca.makeLeafKey()
}

func (ca *CA) makeLeafKey() (err error) {
	if ca.leafKey, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return fmt.Errorf("make a key for intercepted hosts: %w", err)
	}
	if ca.leafID, err = keyIdentifier(&ca.leafKey.PublicKey); err != nil {
		return err
	}
	ca.leaves, err = lru.New[string, *leaf](maxLeaves)
	return err
}

// PEM is the authority's certificate, and behind it those of the operator's file.
func (ca *CA) PEM() []byte { return bytes.Clone(ca.pem) }

// NotAfter is when the authority expires, and every leaf with it.
func (ca *CA) NotAfter() time.Time { return ca.cert.NotAfter }

// Warnings are for the start log: a key file that the world may read.
func (ca *CA) Warnings() []string { return slices.Clone(ca.warnings) }

// Covers reports whether the authority may sign for host: a canonical name, an
// address, or a pattern *.NAME. Without name constraints it may for every host.
func (ca *CA) Covers(host string) bool {
	return ca.permitted.cover(host) && constraintsOf(ca.cert).cover(host)
}

// keyIdentifier is a subject key identifier (RFC 7093 section 2, method 4).
func keyIdentifier(key crypto.PublicKey) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(der)
	return sum[:20], nil
}
