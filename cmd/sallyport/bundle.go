package main

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"time"
)

// bundlePart is one file of a bundle.
type bundlePart struct {
	name, what string
	read       func(ctx context.Context) ([]byte, error) // what to tell of it where it fails holds no secret
}

// bundled is a bundle as it was written, as --json prints it.
type bundled struct {
	File    string        `json:"file"`
	Bytes   int           `json:"bytes"`
	Files   []bundledFile `json:"files"`
	Missing []missingFile `json:"missing"`

	head string // of README.txt
	at   time.Time
}

type bundledFile struct {
	Name  string `json:"name"`
	What  string `json:"what"`
	Bytes int    `json:"bytes"`

	data []byte
}

type missingFile struct {
	Name   string `json:"name"`
	Reason string `json:"reason"`
}

// bundle writes what support needs to know of a daemon to path, and nothing
// that is secret. What cannot be had is named in it.
func (c *cli) bundle(ctx context.Context, path string, requests url.Values) error {
	write, err := c.outlet(path, "bundle", func(head []byte) bool { return bytes.HasPrefix(head, []byte("PK\x03\x04")) })
	if err != nil {
		return err
	}
	parts, about, err := c.bundleParts(requests)
	if err != nil {
		return err
	}
	b := bundled{File: path, Files: []bundledFile{}, Missing: []missingFile{}, head: about, at: time.Now()}
	for _, p := range parts {
		b.add(ctx, p)
	}
	if ctx.Err() != nil {
		return errors.New("interrupted")
	}
	packed, err := b.pack()
	if err != nil {
		return err
	}
	if err := write(packed); err != nil {
		return err
	}
	b.Bytes = len(packed)
	return c.tellBundled(b)
}

// add reads one part, or notes why it cannot be had.
func (b *bundled) add(ctx context.Context, p bundlePart) {
	data, err := p.read(ctx)
	if err != nil {
		reason, _ := explained(err)
		b.Missing = append(b.Missing, missingFile{p.name, strings.ReplaceAll(clean(reason), "\n", "; ")})
		return
	}
	b.Files = append(b.Files, bundledFile{p.name, p.what, len(data), data})
}

// bundleParts are the files of a bundle, and of which daemon they are.
func (c *cli) bundleParts(requests url.Values) (parts []bundlePart, about string, err error) {
	from := source{}
	if from.daemon, err = c.daemon(); err != nil {
		return nil, "", err
	}
	switch {
	case from.daemon == nil:
		from.away, about = c.notRunning(), "No daemon was running."
	case c.adminURL != "":
		about = "Of the daemon at " + from.daemon.base + "."
	default:
		about = "Of the daemon that ran on the state directory of this command."
	}
	which := "the last requests, newest first: no query, header or body"
	if len(requests) > 0 {
		which += "; only those of " + requests.Encode()
	}
	return []bundlePart{
		{"requests.json", which, from.items(requestsPath, requests)},
		{"report.json", "the last report of each credential, its steps redacted", from.items("/api/v1/report", nil)},
		{"credentials.json", "the credentials: names of their fields, status, use", from.items("/api/v1/credentials", nil)},
		{"providers.json", "the providers", from.items("/api/v1/providers", nil)},
		{"callers.json", "the callers: names, workspaces, environments", from.items("/api/v1/callers", nil)},
		{"readyz.json", "whether the daemon is ready", from.text("/readyz")},
		{"metrics.txt", "the daemon's metrics", from.text("/metrics")},
		{"version.json", "what this command was built from, and its system", c.versionPart},
		{"config.toml", "the configuration as config show prints it here and now", c.configPart},
	}, about, nil
}

// source is the daemon that a bundle is made of.
type source struct {
	daemon *client
	away   error // why there is none
}

// items reads a list of the API, as an array.
func (s source) items(path string, query url.Values) func(context.Context) ([]byte, error) {
	return func(ctx context.Context) ([]byte, error) {
		if s.away != nil {
			return nil, s.away
		}
		all, err := list[json.RawMessage](ctx, s.daemon, path, query)
		if err != nil {
			return nil, err
		}
		var b bytes.Buffer
		err = writeJSON(&b, all)
		return b.Bytes(), err
	}
}

// text reads an answer as it is; health that is bad is an answer too.
func (s source) text(path string) func(context.Context) ([]byte, error) {
	return func(ctx context.Context) ([]byte, error) {
		if s.away != nil {
			return nil, s.away
		}
		status, body, err := s.daemon.exchange(ctx, http.MethodGet, path, nil, nil)
		if err == nil && status != http.StatusOK && status != http.StatusServiceUnavailable {
			err = newProblem(status, body)
		}
		return body, err
	}
}

func (c *cli) versionPart(context.Context) ([]byte, error) {
	var b bytes.Buffer
	err := writeJSON(&b, struct {
		buildInfo
		OS   string `json:"os"`
		Arch string `json:"arch"`
	}{readBuild(), runtime.GOOS, runtime.GOARCH})
	return b.Bytes(), err
}

// configPart is the configuration where it is that of the daemon. A fault of it
// may quote what stands there, so none is told.
func (c *cli) configPart(context.Context) ([]byte, error) {
	if c.adminURL != "" {
		return nil, errors.New("the daemon is a remote one: its configuration lies there")
	}
	cfg, err := c.loadConfig()
	if err != nil {
		return nil, errors.New("the configuration cannot be read: sallyport config check tells why")
	}
	var b bytes.Buffer
	err = cfg.WriteTOML(&b)
	return b.Bytes(), err
}

// pack makes the archive, README.txt first.
func (b *bundled) pack() ([]byte, error) {
	readme := b.readme()
	b.Files = append([]bundledFile{{"README.txt", "this text", len(readme), readme}}, b.Files...)
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	for _, f := range b.Files {
		h := &zip.FileHeader{Name: f.Name, Method: zip.Deflate, Modified: b.at}
		h.SetMode(0o600)
		w, err := z.CreateHeader(h)
		if err != nil {
			return nil, err
		}
		if _, err := w.Write(f.data); err != nil {
			return nil, err
		}
	}
	err := z.Close()
	return out.Bytes(), err
}

func (b *bundled) readme() []byte {
	var t bytes.Buffer
	fmt.Fprintf(&t, `What sallyport requests --bundle wrote on %s.
%s

No secret is in these files: no value of a credential's secret field, no token
of a caller or of the admin API, no query, header field or body of a request.
They do name callers, hosts, paths, accounts and what the configuration says:
read them before you hand them on. Lines of the log are not among them.

`, b.at.UTC().Format(time.RFC3339), clean(b.head))
	for _, f := range b.Files {
		fmt.Fprintf(&t, "%-18s%s\n", f.Name, f.What)
	}
	if len(b.Missing) > 0 {
		t.WriteString("\nMissing:\n\n")
	}
	for _, m := range b.Missing {
		fmt.Fprintf(&t, "%-18s%s\n", m.Name, m.Reason)
	}
	return t.Bytes()
}

// tellBundled tells what was written, and what is missing.
func (c *cli) tellBundled(b bundled) error {
	if c.json {
		return c.printJSON(b)
	}
	for _, m := range b.Missing {
		c.warn("%s is missing: %s", m.Name, m.Reason)
	}
	if b.File == "-" {
		c.note("wrote %d files", len(b.Files))
		return nil
	}
	t := c.table()
	for _, f := range b.Files {
		t.row(f.Name, f.What)
	}
	if err := t.flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(c.stdout, "wrote %s (%d KiB); no secret is in it, but read it before you hand it on\n", clean(b.File), (b.Bytes+1023)>>10)
	return err
}
