package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
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

func (a *app) keepUses(ctx context.Context) error {
	for sleep(ctx, time.Minute) {
		a.saveUses()
	}
	return nil
}
