package credential

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
	"unicode/utf8"
)

// archiveFormat is the number of the format that is written, and the highest that is read.
const archiveFormat = 1

// Bounds of an archive.
const (
	MaxArchive  = 256 << 20 // bytes in clear
	MaxArchived = 100_000   // records

	maxRecord = 1 << 20         // bytes of one record's JSON
	maxLine   = maxRecord + 512 // with its reference around it
)

// An archive is text: a header, a line for every record and a last line that
// tells that none is missing, each a JSON object. Every record's line names its
// kind by the member that holds the reference; there is one kind so far.
type (
	archiveHeader struct {
		Format  int       `json:"sallyport_export"`
		Created time.Time `json:"created"`
		Count   int       `json:"credentials"`
	}
	archiveRecord struct {
		Credential string          `json:"credential"`
		Record     json.RawMessage `json:"record"`
	}
	archiveEnd struct {
		Count int `json:"end"`
	}
)

// Archive is what ReadArchive found.
type Archive struct {
	Created time.Time
	Records []*Credential    // in the order of their lines, Version 0
	Trimmed map[Ref][]string // fields that lost a trailing newline; usually none
}

// ErrNewerArchive says that a later version has written the archive.
var ErrNewerArchive = errors.New("was written by a newer Sallyport")

// WriteArchive writes records as they lie in a store, in clear: w is what
// encrypts them. Versions and ends of leases are not written. Errors name the
// record and quote no value.
func WriteArchive(w io.Writer, created time.Time, records []*Credential) error {
	if len(records) > MaxArchived {
		return fmt.Errorf("%d records are too many; the most is %d", len(records), MaxArchived)
	}
	a := archiveWriter{w: w}
	a.line(archiveHeader{archiveFormat, created.UTC().Truncate(time.Second), len(records)})
	for _, c := range records {
		record, err := Encode(c)
		if err != nil {
			return err
		}
		if len(record) > maxRecord {
			return fmt.Errorf("record %s has %d bytes; the most is %d", c.Ref, len(record), maxRecord)
		}
		a.line(archiveRecord{c.Ref.String(), record})
	}
	a.line(archiveEnd{len(records)})
	return a.err
}

// archiveWriter writes lines until one fails.
type archiveWriter struct {
	w    io.Writer
	size int
	err  error
}

func (a *archiveWriter) line(v any) {
	if a.err != nil {
		return
	}
	b, err := json.Marshal(v)
	if err != nil { // what Encode gave is JSON; an error might quote it
		a.err = errors.New("a record is not JSON")
		return
	}
	if a.size += len(b) + 1; a.size > MaxArchive {
		a.err = fmt.Errorf("the records are larger than %d MiB together", MaxArchive>>20)
		return
	}
	_, a.err = a.w.Write(append(b, '\n'))
}

// ReadArchive reads what WriteArchive wrote: all of it, or nothing. It reads r
// to its end. Errors tell the line and quote no value.
func ReadArchive(r io.Reader) (*Archive, error) {
	a := newArchiveReader(r, MaxArchive)
	var h archiveHeader
	if err := a.decode(&h); err != nil {
		return nil, err
	}
	if h.Count < 0 || h.Count > MaxArchived {
		return nil, fmt.Errorf("line 1: tells of %d records; the most is %d", h.Count, MaxArchived)
	}
	out := &Archive{Created: h.Created, Trimmed: map[Ref][]string{}}
	seen := map[Ref]int{}
	for range h.Count {
		c, trimmed, err := a.record()
		if err != nil {
			return nil, err
		}
		if seen[c.Ref] != 0 {
			return nil, fmt.Errorf("line %d: is the second one of %s, after line %d", a.n, c.Ref, seen[c.Ref])
		}
		seen[c.Ref] = a.n
		if len(trimmed) > 0 {
			out.Trimmed[c.Ref] = trimmed
		}
		out.Records = append(out.Records, c)
	}
	return out, a.end(h.Count)
}

// archiveReader reads line by line.
type archiveReader struct {
	lines *bufio.Scanner
	left  *io.LimitedReader
	most  int // bytes
	n     int // lines read
}

func newArchiveReader(r io.Reader, most int) *archiveReader {
	left := &io.LimitedReader{R: r, N: int64(most) + 1}
	lines := bufio.NewScanner(left)
	lines.Buffer(nil, maxLine)
	return &archiveReader{lines: lines, left: left, most: most}
}

// next gives a line, io.EOF behind the last one. It stands until the next call.
func (a *archiveReader) next() ([]byte, error) {
	more := a.lines.Scan()
	err := a.lines.Err()
	switch {
	case a.left.N <= 0:
		return nil, fmt.Errorf("is larger than %d MiB", a.most>>20)
	case errors.Is(err, bufio.ErrTooLong):
		return nil, fmt.Errorf("line %d: is longer than %d MiB", a.n+1, maxLine>>20)
	case err != nil:
		return nil, err
	case !more:
		return nil, io.EOF
	}
	a.n++
	if !utf8.Valid(a.lines.Bytes()) { // encoding/json would replace what is not
		return nil, fmt.Errorf("line %d: is not UTF-8 text", a.n)
	}
	return a.lines.Bytes(), nil
}

var errCut = errors.New("ends before its last line: a part of it is missing")

// decode reads the header. The format is judged first: a newer one may look
// otherwise.
func (a *archiveReader) decode(h *archiveHeader) error {
	line, err := a.next()
	if err == io.EOF {
		return errCut
	}
	if err != nil {
		return err
	}
	var f struct {
		Format int `json:"sallyport_export"`
	}
	if json.Unmarshal(line, &f) != nil || f.Format < 1 {
		return errors.New("line 1: holds no Sallyport export")
	}
	if f.Format > archiveFormat {
		return fmt.Errorf("%w: its format is %d, this version reads %d at most", ErrNewerArchive, f.Format, archiveFormat)
	}
	if strict(line, h) != nil {
		return errors.New("line 1: is no header of this format")
	}
	return nil
}

// record reads the line of one record.
func (a *archiveReader) record() (*Credential, []string, error) {
	line, err := a.next()
	if err == io.EOF {
		return nil, nil, errCut
	}
	if err != nil {
		return nil, nil, err
	}
	var r archiveRecord
	if strict(line, &r) != nil || r.Credential == "" || r.Record == nil {
		return nil, nil, fmt.Errorf("line %d: is no record that this version knows", a.n)
	}
	ref, err := ParseRef(r.Credential)
	if err != nil || ref.String() != r.Credential {
		return nil, nil, fmt.Errorf("line %d: its credential is no reference WORKSPACE/ENVIRONMENT/PROVIDER/NAME", a.n)
	}
	if len(r.Record) > maxRecord {
		return nil, nil, fmt.Errorf("line %d: record %s has %d bytes; the most is %d", a.n, ref, len(r.Record), maxRecord)
	}
	c, trimmed, err := Decode(ref, 0, r.Record)
	if err != nil {
		return nil, nil, fmt.Errorf("line %d: %w", a.n, err)
	}
	return c, trimmed, nil
}

// end wants the last line and nothing behind it.
func (a *archiveReader) end(count int) error {
	line, err := a.next()
	if err == io.EOF {
		return errCut
	}
	if err != nil {
		return err
	}
	e := archiveEnd{-1}
	if strict(line, &e) != nil || e.Count < 0 {
		return fmt.Errorf("line %d: holds more than the %d records that the header tells of", a.n, count)
	}
	if e.Count != count {
		return fmt.Errorf("line %d: tells of %d records, the header of %d", a.n, e.Count, count)
	}
	if _, err := a.next(); err != io.EOF {
		return fmt.Errorf("line %d: stands behind the last one", a.n)
	}
	return nil
}

// strict decodes one JSON object that has no other members.
func strict(line []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("more than one value")
	}
	return nil
}
