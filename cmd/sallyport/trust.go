package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/sallyport/sallyport/configs"
	"github.com/sallyport/sallyport/internal/file"
	"github.com/sallyport/sallyport/proxy"
)

// loadCA gives the local CA, which is made if there is none, and its folder.
func loadCA(cfg *configs.Config, stateDir string) (*proxy.CA, string, error) {
	dir := filepath.Join(stateDir, "ca")
	if err := file.MakeBase(stateDir); err != nil {
		return nil, "", fmt.Errorf("state directory: %w", err)
	}
	if err := file.MakeDir(dir); err != nil {
		return nil, "", err
	}
	o := cfg.Proxy.CA
	ca, err := proxy.LoadCA(proxy.CAOptions{Dir: dir, CertFile: o.CertFile, KeyFile: o.KeyFile, Permitted: o.Permitted})
	return ca, dir, err
}

// trustFiles writes what clients read to trust the local CA.
func (c *cli) trustFiles(cfg *configs.Config, stateDir string, r *runner) error {
	ca, dir, err := loadCA(cfg, stateDir)
	if err != nil {
		return err
	}
	r.bundle, r.truststore = filepath.Join(dir, "bundle.pem"), filepath.Join(dir, "truststore.p12")
	r.wgetrc = filepath.Join(dir, "wgetrc")
	for path, content := range map[string]func() ([]byte, error){
		r.bundle: ca.Bundle, r.truststore: ca.Truststore, r.wgetrc: func() ([]byte, error) { return c.wgetrc(r.wgetrc, r.bundle) },
	} {
		b, err := content()
		if err != nil {
			return err
		}
		if err := file.Write(path, b, file.Private); err != nil {
			return err
		}
	}
	return nil
}

// wgetrc gives the settings for wget, which takes its authorities from there
// only: the user's own lines, and ours behind them. path is where they will be.
func (c *cli) wgetrc(path, bundle string) ([]byte, error) {
	lines, err := c.userWgetrc(path)
	return []byte(lines + "ca_certificate = " + bundle + "\n"), err
}

// userWgetrc gives what wget would read, with a newline at its end.
func (c *cli) userWgetrc(ours string) (string, error) {
	path := c.getenv("WGETRC")
	if path == "" || path == ours { // ours: run inside of run
		path = under(c.getenv("HOME"), ".wgetrc")
	}
	if path == "" {
		return "", nil
	}
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("the user's wgetrc: %w", err)
	}
	s := string(b)
	if s != "" && !strings.HasSuffix(s, "\n") {
		s += "\n"
	}
	return s, nil
}

// addOption appends an option to a list that is separated by spaces, once.
func addOption(list, option string) string {
	if strings.Contains(" "+list+" ", " "+option+" ") {
		return list
	}
	return strings.TrimSpace(list + " " + option)
}
