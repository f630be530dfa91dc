package checker

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/sallyport/sallyport/internal/file"
)

// Times of saving: what changes nobody's status waits for the first, what must not
// be forgotten for the second at most.
const (
	saveEvery = time.Minute
	saveSoon  = 2 * time.Second
)

// kept is how a History is kept over restarts.
type kept struct {
	saving sync.Mutex    // held by the one who writes the file
	soon   chan struct{} // something is to be saved soon
	failed bool          // the last time; guarded by saving

	// Guarded by History.mu.
	path           string // empty: nothing is kept
	log            *slog.Logger
	changes, saved uint64 // so many, of which so many are in the file
}

func newKept() kept { return kept{soon: make(chan struct{}, 1)} }

// changed takes note that the file is behind. The lock is held.
func (h *History) changed(soon bool) {
	if h.kept.changes++; soon {
		poke(h.kept.soon)
	}
}

// Restore reads what the file at path holds of an earlier History, and has Save write
// it: the last report and the last failure of each credential, without their steps,
// and which ones background checks leave alone. A file that cannot be read is told
// in the log and counts as empty. It is called before anything else is.
func (h *History) Restore(path string, log *slog.Logger) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.kept.path, h.kept.log = path, log
	b, err := file.ReadPrivate(path)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	var last, failures []*Report
	if err == nil {
		last, failures, h.cools, err = decode(b, time.Now())
	}
	if err != nil {
		h.cools = map[string]cooling{}
		log.Warn("reports of checks before this start are not known", "error", err)
		return
	}
	h.take(last, failures)
}

// take takes restored reports.
func (h *History) take(last, failures []*Report) {
	h.unmet = map[string]bool{}
	for ref := range h.cools {
		h.unmet[ref] = true
	}
	for _, r := range failures {
		h.failures.put(r)
		h.push(&h.failedSo, r)
		h.unmet[r.Credential] = true
	}
	for _, r := range last {
		h.last.put(r)
		h.push(&h.earlier, r)
		h.unmet[r.Credential] = true
		if r.Status != OK {
			h.failures.put(r)
			h.push(&h.failedSo, r)
		}
	}
}

// Run saves what changes until ctx ends: within seconds what is bad or was not known
// before, the rest once a minute.
func (h *History) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		t := time.NewTimer(saveEvery)
		select {
		case <-ctx.Done():
		case <-h.kept.soon:
		case <-t.C:
		}
		t.Stop()
		h.Save()
		rest(ctx, saveSoon)
	}
	h.Save()
	return nil
}

// Save writes the file, if it is behind. Failures are told in the log, once.
func (h *History) Save() {
	h.kept.saving.Lock()
	defer h.kept.saving.Unlock()
	h.mu.Lock()
	path, log, changes := h.kept.path, h.kept.log, h.kept.changes
	if path == "" || changes == h.kept.saved {
		h.mu.Unlock()
		return
	}
	last, failures, cools := slices.Collect(maps.Values(h.last.m)), h.olderFailures(), maps.Clone(h.cools)
	h.mu.Unlock()
	b, err := encode(last, failures, cools)
	if err == nil {
		err = file.Write(path, b, file.Private)
	}
	if err != nil && !h.kept.failed {
		log.Warn("reports of checks are not kept over a restart", "error", err)
	}
	if h.kept.failed = err != nil; err != nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.kept.saved = changes
}

// olderFailures gives the failures that are not the last reports.
func (h *History) olderFailures() []*Report {
	var all []*Report
	for ref, r := range h.failures.m {
		if h.last.m[ref] != r {
			all = append(all, r)
		}
	}
	return all
}
