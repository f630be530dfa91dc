package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/admin"
	"github.com/sallyport/sallyport/configs"
)

func newConfigCommand(c *cli) *cobra.Command {
	return group("config", "The configuration: check, reference, show",
		&cobra.Command{
			Use: "check", Short: "Find every fault of the configuration", Args: cobra.NoArgs,
			RunE: noArgs(func(context.Context) error { return c.configCheck() }),
		},
		&cobra.Command{
			Use: "reference", Short: "Every key with its default, as a file to begin with", Args: cobra.NoArgs,
			RunE: noArgs(func(context.Context) error {
				_, err := c.stdout.Write(configs.Reference())
				return err
			}),
		},
		&cobra.Command{
			Use: "show", Short: "The configuration as it counts: defaults, file and environment; never a secret", Args: cobra.NoArgs,
			RunE: noArgs(func(context.Context) error { return c.configShow() }),
		},
	)
}

// configVerdict is what config check found.
type configVerdict struct {
	Path     string        `json:"path"`   // empty: built-in defaults
	Faults   []admin.Fault `json:"faults"` // as the API's reload tells them
	Warnings []string      `json:"warnings"`
}

func (c *cli) configCheck() error {
	cfg, err := c.loadWhole()
	var faults configs.Faults
	switch {
	case c.json && errors.As(err, &faults):
		if err := c.printJSON(configVerdict{configs.Find(c.configPath, c.getenv), apiFaults(faults), []string{}}); err != nil {
			return err
		}
		return &failure{code: 1}
	case err != nil:
		return err
	case c.json:
		return c.printJSON(configVerdict{cfg.Path, apiFaults(nil), append([]string{}, cfg.Warnings...)})
	}
	for _, w := range cfg.Warnings {
		c.warn("%s", w)
	}
	from := cfg.Path
	if from == "" {
		from = "built-in defaults (no configuration file)"
	}
	fmt.Fprintf(c.stdout, "ok: %s\n", clean(from))
	return nil
}

func apiFaults(faults configs.Faults) []admin.Fault {
	list := []admin.Fault{} // prints as [], not null
	for _, f := range faults {
		list = append(list, admin.Fault{Line: f.Line, Key: f.Key, Detail: f.Detail})
	}
	return list
}

func (c *cli) configShow() error {
	cfg, err := c.loadConfig()
	if err != nil {
		return err
	}
	write := cfg.WriteTOML
	if c.json {
		write = cfg.WriteJSON
	}
	var b bytes.Buffer // nothing half-written
	if err := write(&b); err != nil {
		return err
	}
	_, err = c.stdout.Write(b.Bytes())
	return err
}
