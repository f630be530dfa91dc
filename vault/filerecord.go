package vault

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/file"
)

// maxRecord bounds a record in bytes, far below what can be read back.
const maxRecord = 1 << 20

// sealedRecord is what a record's file holds under its seal. The reference stands
// inside too: a file that was moved in the place of another is not taken for it.
type sealedRecord struct {
	Credential string          `json:"credential"`
	Version    int             `json:"version"`
	Record     json.RawMessage `json:"record"`
}

var errForm = errors.New("holds no record; was it written by something else?")

// encode gives the record's JSON, or tells which of its fields cannot be stored.
func encode(c *credential.Credential) ([]byte, error) {
	b, err := credential.Encode(c)
	if err != nil {
		return nil, fault.New(fault.InvalidRequest, err.Error(), nil)
	}
	if len(b) > maxRecord {
		return nil, fault.New(fault.InvalidRequest, fmt.Sprintf("record %s has %d bytes; the most is %d", c.Ref, len(b), maxRecord), nil)
	}
	return b, nil
}

func (s *File) write(ref credential.Ref, version int, record []byte) error {
	plain, err := json.Marshal(sealedRecord{ref.String(), version, record})
	if err != nil {
		return err
	}
	data, err := s.sealer.Seal(plain)
	if err != nil {
		return err
	}
	return file.Write(s.path(ref), data, file.Private)
}

// read gives the record and the fields that had a newline trimmed. Its errors
// begin with the path and quote nothing of the content.
func (s *File) read(ref credential.Ref) (*credential.Credential, []string, error) {
	path := s.path(ref)
	data, err := file.ReadPrivate(path)
	if err != nil {
		return nil, nil, err
	}
	plain, err := s.sealer.Open(data)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	var r sealedRecord
	if json.Unmarshal(plain, &r) != nil || r.Version <= 0 {
		return nil, nil, fmt.Errorf("%s: %w", path, errForm)
	}
	if r.Credential != ref.String() {
		return nil, nil, fmt.Errorf("%s: holds the record of %q; was it moved?", path, r.Credential)
	}
	c, trimmed, err := credential.Decode(ref, r.Version, r.Record)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", path, errForm)
	}
	return c, trimmed, nil
}

func (s *File) folder(ref credential.Ref) string {
	return filepath.Join(s.dir, ref.Workspace, ref.Environment, ref.Provider)
}

func (s *File) path(ref credential.Ref) string { return filepath.Join(s.folder(ref), ref.Name+suffix) }
