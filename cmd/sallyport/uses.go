package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/file"
	"github.com/sallyport/sallyport/proxy"
)

// Uses are kept in STATE_DIR/uses.json, so that a restart does not lift the
// protection of credentials in use.
func (a *app) usesPath() string { return filepath.Join(a.stateDir, "uses.json") }

func (a *app) restoreUses() {
	b, err := file.ReadPrivate(a.usesPath())
	if errors.Is(err, os.ErrNotExist) {
		return
	}
	var all map[string][]proxy.Use
	if err == nil {
		err = json.Unmarshal(b, &all)
	}
	if err != nil {
		a.log.Warn("uses of credentials before this start are not known", "error", err)
		return
	}
	a.proxy.RestoreUses(all)
}

func (a *app) saveUses() {
	b, err := json.Marshal(a.proxy.AllUses())
	if err == nil {
		err = file.Write(a.usesPath(), append(b, '\n'), file.Private)
	}
	if err != nil {
		a.log.Warn("uses of credentials are not saved", "error", err)
	}
}

// keepUses saves the uses each minute, and within seconds when a caller has used
// a credential for the first time: a daemon that is killed must not forget it.
func (a *app) keepUses(ctx context.Context) error {
	saved, at := users(a.proxy.AllUses()), time.Now()
	for sleep(ctx, 2*time.Second) {
		who := users(a.proxy.AllUses())
		if who == saved && time.Since(at) < time.Minute {
			continue
		}
		a.saveUses()
		saved, at = who, time.Now()
	}
	return nil
}

// users tells which callers have used which credentials.
func users(all map[string][]proxy.Use) string {
	var pairs []string
	for ref, uses := range all {
		for _, u := range uses {
			pairs = append(pairs, ref+" "+u.Caller)
		}
	}
	slices.Sort(pairs)
	return strings.Join(pairs, "\n")
}
