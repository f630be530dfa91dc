package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/term"

	"github.com/sallyport/sallyport/checker"
	"github.com/sallyport/sallyport/internal/file"
)

// maxLinks is how many links in a row Linux follows.
const maxLinks = 40

func (c *cli) writeReports(reports []*checker.Report, in checkFlags) error {
	var b bytes.Buffer
	if err := encodeReports(&b, reports, in, in.output == "" && isTerminal(c.stdout)); err != nil {
		return err
	}
	if in.output == "" || in.output == "-" {
		_, err := c.stdout.Write(b.Bytes())
		return err
	}
	return writeOutput(in.output, b.Bytes())
}

func encodeReports(w io.Writer, reports []*checker.Report, in checkFlags, tty bool) error {
	switch {
	case in.format == "csv":
		return checker.WriteCSV(w, reports)
	case in.format == "json":
		if reports == nil {
			reports = []*checker.Report{}
		}
		return writeJSON(w, reports)
	case in.history:
		return checker.WriteHistory(w, reports, tty)
	default:
		return checker.WriteTable(w, reports, tty)
	}
}

// writeOutput replaces a file whole, which keeps its mode, also where a link leads
// to it; what is no file, like a pipe, is written to.
func writeOutput(path string, data []byte) error {
	mode := file.Private
	info, err := os.Stat(path)
	switch {
	case err == nil && !info.Mode().IsRegular():
		return os.WriteFile(path, data, 0)
	case err == nil:
		mode = info.Mode().Perm()
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if err := file.Write(linked(path), data, mode); err != nil { // it names a temporary file
		return fmt.Errorf("%s: %w", path, cmp.Or(errors.Unwrap(err), err))
	}
	return nil
}

// linked follows links, also to a file that is not there yet.
func linked(path string) string {
	for range maxLinks {
		to, err := os.Readlink(path)
		if err != nil {
			return path
		}
		if !filepath.IsAbs(to) {
			to = filepath.Dir(path) + "/" + to // not joined, as .. is that of where a folder leads
		}
		path = to
	}
	return path
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
