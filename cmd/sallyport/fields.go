package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/file"
	"github.com/sallyport/sallyport/internal/secret"
)

// maxInput bounds the JSON that is read from standard input.
const maxInput = 1 << 20

// elsewhere says how a secret is given.
const elsewhere = "give it at the prompt, with --from-file FILE.json or --from-env %s=VARIABLE, or as a JSON object on standard input"

// recordFlags are the flags of credential add and edit.
type recordFlags struct {
	typ, description, fromFile string
	fields, fromEnv, unset     []string
	force                      bool

	described func() bool // --description was given, maybe empty
}

func (in *recordFlags) register(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&in.typ, "type", "", "credential `TYPE` (default the provider's)")
	f.StringVar(&in.description, "description", "", "`TEXT` that says what it is for")
	f.StringArrayVar(&in.fields, "field", nil, "a field that is no secret, as `F=V` (repeatable)")
	f.StringVar(&in.fromFile, "from-file", "", "read fields from the JSON object in `FILE`; - for standard input")
	f.StringArrayVar(&in.fromEnv, "from-env", nil, "read a field from an environment variable, as `F=VAR` (repeatable)")
	f.BoolVar(&in.force, "force", false, "store it even if its check fails, and replace one that is there")
	in.described = func() bool { return f.Changed("description") }
}

// input is a record as the command line, a file and the environment give it,
// before anybody is asked.
type input struct {
	record
	provider string   // as a file names it; empty: not said
	plain    []string // fields that stood on the command line
}

// given reads what the flags say. Reading comes first: what cannot be read needs
// no daemon.
func (c *cli) given(in *recordFlags) (*input, error) {
	r := &input{record: record{fields: map[string]*secret.Value{}}}
	for _, read := range []func(*recordFlags, *input) error{c.readFile, c.readEnv, c.readPlain} {
		if err := read(in, r); err != nil {
			return nil, err
		}
	}
	for _, name := range in.unset {
		if r.fields[name] != nil {
			return nil, usagef("field %s is both set and unset", name)
		}
		r.fields[name] = nil
	}
	if in.typ != "" {
		r.typ = in.typ
	}
	if in.described() {
		r.description = &in.description
	}
	return r, nil
}

func (c *cli) readFile(in *recordFlags, r *input) error {
	switch in.fromFile {
	case "":
		return nil
	case "-":
		return c.readStdin(r)
	}
	data, readable, err := file.ReadOperator(in.fromFile)
	if err != nil {
		return fmt.Errorf("--from-file: %w", err)
	}
	if readable {
		c.warn("%s is readable by everybody; run chmod 600 on it", in.fromFile)
	}
	return c.readObject(in.fromFile, data, r)
}

// readStdin reads fields from standard input, where nothing at all is no field.
func (c *cli) readStdin(r *input) error {
	data, err := io.ReadAll(io.LimitReader(c.stdin, maxInput+1))
	if err != nil {
		return fmt.Errorf("standard input: %w", err)
	}
	if len(data) > maxInput {
		return fmt.Errorf("standard input is larger than %d MiB", maxInput>>20)
	}
	if len(bytes.TrimSpace(data)) == 0 {
		return nil
	}
	return c.readObject("standard input", data, r)
}

// readObject reads {"field": "value"}. The common members of a stored record,
// type, description and provider, are taken for what they are. No error quotes
// what was read.
func (c *cli) readObject(from string, data []byte, r *input) error {
	var object map[string]json.RawMessage
	if json.Unmarshal(data, &object) != nil || object == nil {
		return try(fmt.Errorf("%s is not a JSON object of fields", from), `write it like {"token": "..."}`)
	}
	for name, raw := range object {
		value, ok := scalar(raw)
		if !ok {
			return fmt.Errorf("%s: field %q is neither a string nor a number nor a boolean", from, name)
		}
		switch name {
		case "type":
			r.typ = value
		case "description":
			r.description = &value
		case "provider":
			r.provider = value
		default:
			if err := c.set(r, name, value); err != nil {
				return err
			}
		}
	}
	return nil
}

func scalar(raw json.RawMessage) (string, bool) {
	var s string
	if bytes.HasPrefix(raw, []byte(`"`)) {
		return s, json.Unmarshal(raw, &s) == nil
	}
	return string(raw), !bytes.ContainsAny(raw[:1], "{[n")
}

func (c *cli) readEnv(in *recordFlags, r *input) error {
	for _, pair := range in.fromEnv {
		name, variable, ok := strings.Cut(pair, "=")
		if !ok || name == "" || variable == "" {
			return usagef("--from-env takes FIELD=VARIABLE")
		}
		value, ok := c.lookupEnv(variable)
		if !ok || value == "" {
			return fmt.Errorf("--from-env: the environment variable for field %s is not set or empty", name)
		}
		if err := c.set(r, name, value); err != nil {
			return err
		}
	}
	return nil
}

func (c *cli) readPlain(in *recordFlags, r *input) error {
	for _, pair := range in.fields {
		name, value, ok := strings.Cut(pair, "=")
		if !ok || name == "" {
			return usagef("--field takes FIELD=VALUE")
		}
		if err := c.set(r, name, value); err != nil {
			return err
		}
		r.plain = append(r.plain, name)
	}
	return nil
}

// set puts a field, without the newline that editors and files leave behind it.
func (c *cli) set(r *input, name, value string) error {
	if r.fields[name] != nil {
		return usagef("field %s is given twice", name)
	}
	if slices.Contains([]string{"type", "description", "provider", credential.StateField}, name) {
		return usagef("%s is not a field that can be given", name)
	}
	trimmed := strings.TrimRight(value, "\r\n")
	if trimmed != value {
		c.note("a trailing newline of field %s was trimmed", name)
	}
	v := secret.New(trimmed)
	r.fields[name] = &v
	return nil
}

// onlyPublic refuses secrets that stood on the command line, where the shell's
// history and other users see them.
func onlyPublic(names []string, p *providerView) error {
	for _, name := range names {
		if !p.public(name) {
			return try(usagef("field %s is a secret: it cannot be given with --field", name), fmt.Sprintf(elsewhere, name))
		}
	}
	return nil
}

// missingFields is the error of a record that lacks fields when nobody can be asked.
func missingFields(typ string, names []string) error {
	return try(fmt.Errorf("a credential of type %s needs %s", typ, strings.Join(names, ", ")), fmt.Sprintf(elsewhere, names[0]))
}
