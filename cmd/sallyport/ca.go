package main

import (
	"fmt"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/proxy"
)

func newCACommand(c *cli) *cobra.Command {
	var out string
	bundle := &cobra.Command{
		Use: "bundle --out DIR", Short: "Write ca.pem, bundle.pem (system roots and ours) and truststore.p12", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return c.caBundle(out) },
	}
	bundle.Flags().StringVar(&out, "out", "", "the `DIR` to write to; made if need be")
	return group("ca", "The local CA that signs for intercepted hosts: path, print, bundle",
		&cobra.Command{Use: "path", Short: "Path of its certificate", Args: cobra.NoArgs, RunE: func(*cobra.Command, []string) error { return c.caPath() }},
		&cobra.Command{Use: "print", Short: "Its certificate, as PEM", Args: cobra.NoArgs, RunE: func(*cobra.Command, []string) error { return c.caPrint() }},
		bundle,
	)
}

// ca loads the CA, and makes it if there is none; path is its certificate's.
func (c *cli) ca() (ca *proxy.CA, path string, err error) {
	cfg, err := c.loadConfig()
	if err != nil {
		return nil, "", err
	}
	stateDir, err := c.stateDir()
	if err != nil {
		return nil, "", err
	}
	ca, dir, err := loadCA(cfg, stateDir)
	if err != nil {
		return nil, "", err
	}
	for _, w := range caWarnings(ca) {
		c.warn("%s", w)
	}
	if path = cfg.Proxy.CA.CertFile; path == "" {
		path = filepath.Join(dir, "ca.pem")
	}
	return ca, path, nil
}

// caNotice is how long before its end the CA is warned about.
const caNotice = 14 * 24 * time.Hour

// caWarnings are what whoever runs the daemon should know of its CA.
func caWarnings(ca *proxy.CA) []string {
	warnings := ca.Warnings()
	if end := ca.NotAfter(); time.Until(end) < caNotice {
		warnings = append(warnings, "the local CA expires on "+end.UTC().Format("2006-01-02T15:04:05Z")+
			", and no runner trusts what it signed from then on: replace it, have every client trust the new one, and restart")
	}
	return warnings
}

func (c *cli) caPath() error {
	_, path, err := c.ca()
	if err != nil {
		return err
	}
	if c.json {
		return c.printJSON(map[string]string{"path": path})
	}
	fmt.Fprintln(c.stdout, path)
	return nil
}

func (c *cli) caPrint() error {
	ca, _, err := c.ca()
	if err != nil {
		return err
	}
	if c.json {
		return c.printJSON(map[string]string{"pem": string(ca.PEM()), "not_after": ca.NotAfter().UTC().Format("2006-01-02T15:04:05Z")})
	}
	_, err = c.stdout.Write(ca.PEM())
	return err
}

func (c *cli) caBundle(out string) error {
	if out == "" {
		return usagef("ca bundle needs --out DIR")
	}
	ca, _, err := c.ca()
	if err != nil {
		return err
	}
	if err := ca.Export(out); err != nil {
		return err
	}
	for _, name := range []string{"ca.pem", "bundle.pem", "truststore.p12"} {
		fmt.Fprintln(c.stdout, filepath.Join(out, name))
	}
	return nil
}
