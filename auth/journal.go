package auth

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"crypto/rand"

	"github.com/sallyport/sallyport/internal/file"
	"github.com/sallyport/sallyport/internal/seal"
)

// entry is one spending of a refresh token: the intent, and then the answer as
// it came, until the store has what it gave.
type entry struct {
	V          int       `json:"v"`
	Credential string    `json:"credential"`
	ID         string    `json:"id"`      // of the claim
	Token      string    `json:"token"`   // fingerprint of the refresh token
	Version    int       `json:"version"` // of the record, as it was claimed
	At         time.Time `json:"at"`
	Reply      *reply    `json:"reply,omitempty"`   // nil: none has come yet
	Refused    bool      `json:"refused,omitempty"` // the server refused the refresh token for good
}

// Journal keeps on this machine's disk, sealed, which refresh token is about to
// be spent and what was answered. One process at a time has it open.
type Journal struct {
	dir    string
	sealer seal.Sealer
	log    *slog.Logger
	owner  string // names the state directory
	lock   *os.File

	mu      sync.Mutex
	entries map[string]*entry // by claim; nil: not read yet
	damaged map[string]bool   // claims whose entries cannot be read
	broken  bool              // the last write failed, or the reading
}

const entrySuffix = ".age"

// OpenJournal opens the journal in dir, or makes it. It fails where another
// process has it open. What it holds is read when it is first needed: its key may
// lie in Vault.
func OpenJournal(dir string, s seal.Sealer, log *slog.Logger) (*Journal, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	j := &Journal{dir: dir, sealer: s, log: log}
	if err := file.MakeDir(dir); err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(dir, ".lock"), os.O_CREATE|os.O_RDWR|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("journal: %s is in use by another process: %w", dir, err), lock.Close())
	}
	j.lock = lock
	if j.owner, err = journalOwner(filepath.Join(dir, "owner")); err != nil {
		return nil, errors.Join(fmt.Errorf("journal: %w", err), lock.Close())
	}
	return j, nil
}

func journalOwner(path string) (string, error) {
	data, err := file.ReadPrivate(path)
	if errors.Is(err, fs.ErrNotExist) {
		data = []byte(rand.Text() + "\n")
		err = file.Create(path, data, file.Private)
	}
	owner := strings.TrimSpace(string(data))
	if err == nil && owner == "" {
		err = fmt.Errorf("%s: is empty; remove it, and it is written again", path)
	}
	return owner, err
}

// Close lets another process open the journal.
func (j *Journal) Close() error { return j.lock.Close() }

// read loads what earlier processes left, once.
func (j *Journal) read() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.entries != nil {
		return nil
	}
	names, err := os.ReadDir(j.dir)
	if err != nil {
		j.broken = true
		return fmt.Errorf("journal: %w", err)
	}
	entries, damaged := map[string]*entry{}, map[string]bool{}
	for _, n := range names {
		if file.Temporary(n.Name()) {
			_ = os.Remove(filepath.Join(j.dir, n.Name())) // half-written: what it replaces is whole
			continue
		}
		if !strings.HasSuffix(n.Name(), entrySuffix) {
			continue
		}
		e, err := j.readEntry(n.Name())
		switch {
		case errors.Is(err, seal.ErrDamaged), errors.Is(err, seal.ErrOtherKey), errors.Is(err, errEntry):
			j.log.Error("an entry of the journal cannot be read; it stays where it is", "file", filepath.Join(j.dir, n.Name()), "error", err)
			damaged[strings.TrimSuffix(n.Name(), entrySuffix)] = true
		case err != nil:
			j.broken = true
			return fmt.Errorf("journal: %w", err)
		default:
			entries[e.ID] = e
		}
	}
	j.entries, j.damaged, j.broken = entries, damaged, false
	return nil
}

var errEntry = errors.New("holds no journal entry of this version")

func (j *Journal) readEntry(name string) (*entry, error) {
	sealed, err := file.ReadPrivate(filepath.Join(j.dir, name))
	if err != nil {
		return nil, err
	}
	plain, err := j.sealer.Open(sealed)
	if err != nil {
		return nil, err
	}
	var e entry
	if json.Unmarshal(plain, &e) != nil || e.V != 1 || e.ID+entrySuffix != name {
		return nil, errEntry
	}
	return &e, nil
}

// put writes an entry, as a whole and down to the disk.
func (j *Journal) put(e entry) error {
	e.V = 1
	plain, err := json.Marshal(e)
	if err != nil {
		return err
	}
	sealed, err := j.sealer.Seal(plain)
	if err == nil {
		err = file.Write(j.path(e.ID), sealed, file.Private)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if (err != nil) != j.broken {
		j.broken = err != nil
		if err != nil {
			j.log.Error("the journal cannot be written", "dir", j.dir, "error", err)
		} else {
			j.log.Info("the journal can be written again")
		}
	}
	if err == nil {
		j.entries[e.ID] = &e
	}
	return err
}

// drop removes an entry: the store has what it gave, or it gave nothing.
func (j *Journal) drop(id string) {
	j.mu.Lock()
	_, ok := j.entries[id]
	delete(j.entries, id)
	j.mu.Unlock()
	if !ok {
		return
	}
	err := os.Remove(j.path(id))
	if err == nil {
		err = file.SyncDir(j.dir)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // it is found out of date at the next start
		j.log.Warn("an entry of the journal was not removed", "error", err)
	}
}

func (j *Journal) path(id string) string { return filepath.Join(j.dir, id+entrySuffix) }

// get gives the entry of a claim; nil: there is none. Of one that cannot be read
// only that it is there is known.
func (j *Journal) get(id string) *entry {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.damaged[id] {
		return &entry{ID: id}
	}
	return j.entries[id]
}

// moot reports whether what an entry is about is over: the record has gone on, to
// another refresh token. A record that is older than the entry was read from a
// copy that lags.
func (e *entry) moot(version int, token string) bool { return version > e.Version && token != e.Token }

// prune drops the entries of a credential that are moot.
func (j *Journal) prune(credential string, version int, token string) {
	for _, e := range j.all() {
		if e.Credential == credential && e.moot(version, token) {
			j.drop(e.ID)
		}
	}
}

// settled gives the entry that tells what became of a refresh token; nil: none does.
func (j *Journal) settled(credential, token string) *entry {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, e := range j.entries {
		if e.Credential == credential && e.Token == token && (e.Reply != nil || e.Refused) {
			return e
		}
	}
	return nil
}

func (j *Journal) all() []*entry {
	j.mu.Lock()
	defer j.mu.Unlock()
	var list []*entry
	for _, e := range j.entries {
		list = append(list, e)
	}
	return list
}

// state for the metrics: whether the last write worked, and how many are open.
func (j *Journal) state() (available bool, open int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return !j.broken, len(j.entries)
}
