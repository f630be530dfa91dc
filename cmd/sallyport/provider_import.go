package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/auth"
	"github.com/sallyport/sallyport/configs"
	"github.com/sallyport/sallyport/internal/credential"
)

func newProviderImport(c *cli) *cobra.Command {
	var file string
	o := configs.ImportOptions{Types: credentialType, Taken: fieldOfType}
	cmd := &cobra.Command{
		Use: "import --openapi FILE", Short: "Make a [[provider]] of an OpenAPI description, for the configuration", Args: cobra.NoArgs,
		Long: "Makes a [[provider]] of an OpenAPI 3 or Swagger 2 description, in JSON or YAML, and prints it: read it, then put it into sallyport.toml.\n" +
			"What was guessed, left out or needs a hand stands in it as comments and is told on standard error. Nothing is asked over the network.",
		Example: "  sallyport provider import --openapi crm.yaml >> sallyport.toml",
		RunE:    noArgs(func(context.Context) error { return c.providerImport(file, o) }),
	}
	flags := cmd.Flags()
	flags.StringVar(&file, "openapi", "", "`FILE` with the description; - for standard input")
	flags.StringVar(&o.Name, "name", "", "`NAME` of the provider (default: made from the title)")
	flags.StringVar(&o.Scheme, "scheme", "", "`NAME` of the security scheme (default: the one that the whole API asks for, else the first that can be done)")
	flags.StringVar(&o.URL, "url", "", "`URL` of the API (default: the first server with https)")
	return cmd
}

// fieldOfType reports whether credentials of some type have a field of that name.
func fieldOfType(name string) bool {
	return slices.Contains(credential.TokenFields, name) || slices.ContainsFunc(auth.Kinds(), func(k auth.Kind) bool {
		return slices.Contains(k.Fields(), name)
	})
}

func (c *cli) providerImport(file string, o configs.ImportOptions) error {
	if file == "" {
		return usagef("provider import needs --openapi FILE; - is standard input")
	}
	doc, err := c.readDescription(file)
	if err != nil {
		return err
	}
	made, err := configs.ImportOpenAPI(doc, o)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	for _, n := range made.Notes {
		c.note("%s", n)
	}
	if c.json {
		return c.printJSON(struct {
			Name  string   `json:"name"`
			TOML  string   `json:"toml"`
			Notes []string `json:"notes"`
		}{made.Name, string(made.TOML), append([]string{}, made.Notes...)})
	}
	_, err = c.stdout.Write(made.TOML)
	return err
}

// readDescription reads a file, or standard input, as far as one byte too many.
func (c *cli) readDescription(file string) ([]byte, error) {
	from := c.stdin
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, err
		}
		defer func() { _ = f.Close() }()
		from = f
	}
	doc, err := io.ReadAll(io.LimitReader(from, configs.MaxDescription+1))
	if err == nil && len(doc) == 0 {
		err = errors.New("is empty")
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return doc, nil
}
