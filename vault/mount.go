package vault

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
)

var (
	errNotKV  = errors.New("vault.mount: is no KV secrets engine")
	errAnswer = errors.New("the answer is not what Vault sends")
)

// mountsPath, before a logical path, tells the engine that it belongs to.
const mountsPath = "sys/internal/ui/mounts/"

// mount is where a secrets engine is mounted.
type mount struct {
	path string // without slashes around it
	kv   int    // version of the KV engine; 0: another engine, which issues secrets for a time
}

// at gives the API path of a KV secret or folder. kind is what version 2 puts between: data or metadata.
func (m mount) at(kind, name string) string {
	if m.kv == 2 {
		return m.path + "/" + kind + "/" + name
	}
	return m.path + "/" + name
}

// kv gives our own mount, asked for once where the configuration does not tell its version.
func (v *Vault) kv(ctx context.Context) (mount, error) {
	if m := v.own.Load(); m != nil {
		return *m, nil
	}
	var m mount
	err := v.do(ctx, opMounts, mountsPath+v.o.Mount, func(ctx context.Context, c *api.Client) (err error) {
		m, err = askMount(ctx, c, v.o.Mount)
		return err
	})
	if err != nil {
		return m, err
	}
	return m, v.settle(m)
}

// settle takes m for our own mount.
func (v *Vault) settle(m mount) error {
	switch {
	case strings.HasPrefix(v.o.Mount, m.path+"/"):
		return fault.New(fault.Internal, "", fmt.Errorf("%w: %s; the engine is at %s, and the rest belongs into vault.prefix", errNotKV, v.o.Mount, m.path))
	case m.kv == 0:
		return fault.New(fault.Internal, "", fmt.Errorf("%w: %s", errNotKV, v.o.Mount))
	}
	v.own.Store(&mount{v.o.Mount, m.kv})
	return nil
}

// fits holds a version that the configuration tells against what Vault says of the mount, before the first write: a
// version 1 mount would take what is meant for version 2, and keep it where nobody looks. Where Vault does not say, the
// configuration is believed.
func (v *Vault) fits(ctx context.Context, m mount) error {
	if v.o.KVVersion == 0 || v.fit.Load() {
		return nil
	}
	var found mount
	err := v.do(ctx, opMounts, mountsPath+v.o.Mount, func(ctx context.Context, c *api.Client) (err error) {
		found, err = askMount(ctx, c, v.o.Mount)
		return err
	})
	switch {
	case err != nil || found.path != m.path || found.kv == m.kv:
		v.fit.Store(err == nil)
		return nil
	}
	return fault.New(fault.Internal, fmt.Sprintf("vault.kv_version is %d, but the mount %s is of version %d", m.kv, m.path, found.kv), errNotKV)
}

// askMount finds the secrets engine that a logical path belongs to. Vault tells it whoever may use anything there.
func askMount(ctx context.Context, c *api.Client, path string) (mount, error) {
	var out struct {
		Data struct {
			Path    string `json:"path"`
			Type    string `json:"type"`
			Options struct {
				Version string `json:"version"`
			} `json:"options"`
		} `json:"data"`
	}
	if err := read(ctx, c, mountsPath+path, nil, &out); err != nil {
		return mount{}, err
	}
	m := mount{path: strings.Trim(out.Data.Path, "/")}
	if out.Data.Type == "kv" || out.Data.Type == "generic" {
		m.kv = 1
		if out.Data.Options.Version == "2" {
			m.kv = 2
		}
	}
	if m.path == "" {
		return m, errAnswer
	}
	return m, nil
}

// record is a KV secret as it lies in Vault.
type record struct {
	data      json.RawMessage // nil: there is nothing to be read
	version   int             // in version 1, which has none, a sum of the content; 0: never written
	deleted   time.Time       // zero: not deleted
	destroyed bool
}

// gone reports whether nothing can be read: never written, deleted or destroyed.
func (r *record) gone() bool { return r.data == nil }

// notFound says why there is nothing to be read.
func (r *record) notFound(ref credential.Ref) error {
	return fault.New(fault.CredentialNotFound, ref.String()+r.fate(), nil)
}

// fate tells what became of a record that is gone, "" if it never was.
func (r *record) fate() string {
	switch {
	case r.destroyed:
		return fmt.Sprintf(": version %d was destroyed", r.version)
	case r.version > 0:
		return fmt.Sprintf(": version %d was deleted at %s; vault kv undelete brings it back", r.version, r.deleted.UTC().Format(time.RFC3339))
	}
	return ""
}

// readAt gives the secret of that name in a KV mount, with its version even if it is gone.
func (v *Vault) readAt(ctx context.Context, m mount, name string) (*record, error) {
	var r record
	path := m.at("data", name)
	err := v.do(ctx, opRead, path, func(ctx context.Context, c *api.Client) error {
		var out struct {
			Data json.RawMessage `json:"data"`
		}
		err := read(ctx, c, path, nil, &out)
		if err != nil && status(err) != http.StatusNotFound {
			return err
		}
		r = record{}
		if m.kv == 2 {
			return r.decode2(out.Data, err == nil)
		}
		return r.decode1(out.Data, err == nil)
	})
	return &r, err
}

// decode2 reads the answer of KV version 2; a deleted version is told in the body of a 404.
func (r *record) decode2(answer json.RawMessage, found bool) error {
	var out struct {
		Data     json.RawMessage `json:"data"`
		Metadata struct {
			Version      int    `json:"version"`
			DeletionTime string `json:"deletion_time"` // RFC 3339; empty: none
			Destroyed    bool   `json:"destroyed"`
		} `json:"metadata"`
	}
	if len(answer) > 0 && json.Unmarshal(answer, &out) != nil || found && out.Metadata.Version == 0 {
		return errAnswer
	}
	if len(out.Data) > 0 && string(out.Data) != "null" {
		r.data = out.Data
	}
	r.version, r.destroyed = out.Metadata.Version, out.Metadata.Destroyed
	r.deleted, _ = time.Parse(time.RFC3339Nano, out.Metadata.DeletionTime)
	return nil
}

// decode1 reads the answer of KV version 1.
func (r *record) decode1(answer json.RawMessage, found bool) error {
	if !found {
		return nil
	}
	if len(answer) == 0 || string(answer) == "null" {
		return errAnswer
	}
	r.data, r.version = answer, versionOf(answer)
	return nil
}

// versionOf sums up a content that has no version of its own. It is never 0, and exact in JSON's numbers too.
func versionOf(data []byte) int {
	sum := sha256.Sum256(data)
	return int(binary.BigEndian.Uint64(sum[:])>>16) | 1
}

// listAt gives the keys of one folder of a KV mount; one that does not exist has none.
func (v *Vault) listAt(ctx context.Context, m mount, folder string) ([]string, error) {
	var out struct {
		Data struct {
			Keys []string `json:"keys"`
		} `json:"data"`
	}
	path := m.at("metadata", folder)
	err := v.do(ctx, opList, path, func(ctx context.Context, c *api.Client) error {
		err := read(ctx, c, path, url.Values{"list": {"true"}}, &out)
		if status(err) == http.StatusNotFound {
			return nil
		}
		return err
	})
	return out.Data.Keys, err
}
