package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/spf13/cobra"
)

func newHealthcheckCommand(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "healthcheck",
		Short: "Ask the running daemon whether it is ready",
		Args:  cobra.NoArgs,
		RunE:  noArgs(c.healthcheck),
	}
}

func (c *cli) healthcheck(ctx context.Context) error {
	cl, err := c.daemon()
	if err != nil {
		return err
	}
	if cl == nil {
		return c.notRunning()
	}
	status, body, err := cl.exchange(ctx, http.MethodGet, "/readyz", nil, nil)
	if err != nil {
		return err
	}
	var ready struct {
		Status   string   `json:"status"`
		Degraded []string `json:"degraded,omitempty"`
	}
	if json.Unmarshal(body, &ready) != nil || ready.Status == "" {
		return fmt.Errorf("/readyz answered %d %s", status, http.StatusText(status))
	}
	if status != http.StatusOK {
		return fmt.Errorf("the daemon is not ready: %s", ready.Status)
	}
	if c.json {
		return c.printJSON(ready)
	}
	line := ready.Status
	if len(ready.Degraded) > 0 {
		line += ": " + strings.Join(ready.Degraded, ", ")
	}
	fmt.Fprintln(c.stdout, clean(line))
	return nil
}

// notRunning is the error of what needs a daemon.
func (c *cli) notRunning() error {
	dir, err := c.stateDir()
	if err != nil {
		return err
	}
	return try(errors.New("no daemon runs on the state directory "+dir),
		"start it with: sallyport serve", "give --state-dir DIR if it runs on another")
}
