package proxy

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/sallyport/sallyport/internal/file"
)

// Files of the own authority. The first holds key and certificate together, so
// that there is never one without the other; the second is a copy for clients.
const (
	ownAuthority   = "authority.pem"
	ownCertificate = "ca.pem"
)

func (ca *CA) loadOwn(dir string) error {
	if err := file.MakeDir(dir); err != nil {
		return fmt.Errorf("the folder of the local CA: %w", err)
	}
	path := filepath.Join(dir, ownAuthority)
	data, err := file.ReadPrivate(path)
	if errors.Is(err, fs.ErrNotExist) {
		data, err = ca.makeOwn(dir, path)
	}
	if err != nil {
		return fmt.Errorf("the local CA: %w", err)
	}
	if err := ca.use(data, data); err != nil {
		return fmt.Errorf("the local CA %s: %w; %s", path, err, renewAdvice(dir))
	}
	if err := ca.checkConstraints(); err != nil {
		return fmt.Errorf("the local CA %s: %w; %s", path, err, renewAdvice(dir))
	}
	return ca.writeCopy(filepath.Join(dir, ownCertificate))
}

func renewAdvice(dir string) string {
	return "remove " + dir + " and start again to make a new one; every client must then trust the new ca.pem, since what a new key signs does not verify with the old certificate"
}

// makeOwn makes the authority, unless another process is quicker: the lock lets
// one of them make it and the others read that one.
func (ca *CA) makeOwn(dir, path string) ([]byte, error) {
	unlock, err := lockFolder(dir)
	if err != nil {
		return nil, err
	}
	defer unlock()
	data, err := file.ReadPrivate(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return data, err
	}
	if data, err = newAuthority(ca.permitted, ca.now()); err != nil {
		return nil, err
	}
	return data, file.Write(path, data, file.Private)
}

func lockFolder(dir string) (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR|syscall.O_NOFOLLOW, file.Private)
	if err != nil {
		return nil, err
	}
	for {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	return func() { _ = f.Close() }, nil // closing unlocks
}

// newAuthority is a root of its own with its key, both PEM.
func newAuthority(c hostConstraints, now time.Time) ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	id, err := keyIdentifier(&key.PublicKey)
	if err != nil {
		return nil, err
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	root := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{Organization: []string{"Sallyport"}, CommonName: "Sallyport local CA " + hex.EncodeToString(id[:4])},
		NotBefore:    now.Add(-backdated), NotAfter: now.Add(caLifetime),
		BasicConstraintsValid: true, IsCA: true, MaxPathLenZero: true,
		KeyUsage:     x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		SubjectKeyId: id,
	}
	c.constrain(root)
	der, err := x509.CreateCertificate(rand.Reader, root, root, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return append(encodeCertificate(der), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})...), nil
}

func encodeCertificate(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// newSerial is 128 random bits.
func newSerial() (*big.Int, error) {
	return rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 128))
}

// checkConstraints compares what the configuration asks for with what the
// authority was made with.
func (ca *CA) checkConstraints() error {
	want := new(x509.Certificate)
	ca.permitted.constrain(want)
	if !constraintsOf(want).equal(constraintsOf(ca.cert)) {
		return errors.New("it was made with other name constraints than [proxy.ca] permitted asks for")
	}
	return nil
}

func (ca *CA) writeCopy(path string) error {
	if have, err := file.ReadPrivate(path); err == nil && bytes.Equal(have, ca.pem) {
		return nil
	}
	return file.Write(path, ca.pem, file.Private)
}
