package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/term"

	"github.com/sallyport/sallyport/auth"
	"github.com/sallyport/sallyport/internal/secret"
)

// complete gets what a new record still needs: asked for at a terminal, else
// read from standard input.
func (c *cli) complete(ctx context.Context, in *input, p *providerView) (record, error) {
	if err := onlyPublic(in.plain, p); err != nil {
		return record{}, err
	}
	missing, err := c.missing(in, p)
	if err != nil {
		return record{}, err
	}
	tty := c.terminal()
	if len(missing) > 0 && tty == nil {
		if err := c.readStdin(in); err != nil {
			return record{}, err
		}
		if missing, err = c.missing(in, p); err != nil {
			return record{}, err
		}
	}
	if len(missing) > 0 && tty == nil {
		return record{}, missingFields(in.typ, missing)
	}
	for _, name := range missing {
		value, err := c.ask(ctx, tty, name, !p.public(name))
		if err != nil {
			return record{}, err
		}
		if value == "" {
			return record{}, missingFields(in.typ, []string{name})
		}
		if err := c.set(in, name, value); err != nil {
			return record{}, err
		}
	}
	return in.record, nil
}

// missing names the fields that the type and the provider's {field}s need and
// in lacks. It settles the type: the provider's where none was said.
func (c *cli) missing(in *input, p *providerView) ([]string, error) {
	if in.provider != "" && in.provider != p.Name {
		return nil, fmt.Errorf("the record says that its provider is %q, but the reference says %q", in.provider, p.Name)
	}
	if in.typ == "" {
		in.typ = p.Type
	}
	kind, err := lookupKind(in.typ)
	if err != nil {
		return nil, err
	}
	var missing []string
	for _, name := range p.needs(kind) {
		if in.fields[name] == nil {
			missing = append(missing, name)
		}
	}
	return missing, nil
}

// lookupKind finds a credential type.
func lookupKind(typ string) (auth.Kind, error) {
	kind, ok := auth.Lookup(typ)
	if !ok {
		var names []string
		for _, k := range auth.Kinds() {
			names = append(names, k.Name)
		}
		return kind, asUsage(unknown("credential type", typ, names))
	}
	return kind, nil
}

// changes gives what an edit changes; where the flags say nothing, the answers
// at a terminal or standard input do.
func (c *cli) changes(ctx context.Context, in *input, p *providerView, old credentialView) (record, error) {
	if err := onlyPublic(in.plain, p); err != nil {
		return record{}, err
	}
	tty := c.terminal()
	switch {
	case !in.empty():
	case tty == nil:
		if err := c.readStdin(in); err != nil {
			return record{}, err
		}
	default:
		if err := c.askAgain(ctx, tty, in, p, old.Type); err != nil {
			return record{}, err
		}
	}
	if in.empty() {
		return record{}, try(usagef("nothing to change"), "sallyport credential edit --help")
	}
	return in.record, nil
}

func (in *input) empty() bool { return in.typ == "" && in.description == nil && len(in.fields) == 0 }

// askAgain asks for each field that the type needs; an empty answer keeps it.
func (c *cli) askAgain(ctx context.Context, tty *os.File, in *input, p *providerView, typ string) error {
	kind, err := lookupKind(typ)
	if err != nil {
		return err
	}
	for _, name := range p.needs(kind) {
		value, err := c.ask(ctx, tty, name+" (empty keeps it)", !p.public(name))
		if err != nil {
			return err
		}
		if value == "" {
			continue
		}
		v := secret.New(value)
		in.fields[name] = &v
	}
	return nil
}

// terminal gives the terminal on standard input; nil: there is none.
func (c *cli) terminal() *os.File {
	f, ok := c.stdin.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return nil
	}
	return f
}

// ask reads one line from the terminal, without echo if it is hidden. When ctx
// ends first the terminal is put back; the reading itself ends with the process.
func (c *cli) ask(ctx context.Context, tty *os.File, label string, hidden bool) (string, error) {
	fd := int(tty.Fd())
	state, err := term.GetState(fd)
	if err != nil {
		return "", err
	}
	fmt.Fprintf(c.stderr, "%s: ", label)
	type reply struct {
		line string
		err  error
	}
	replies := make(chan reply, 1)
	go func() {
		line, err := readLine(tty, hidden)
		replies <- reply{line, err}
	}()
	select {
	case <-ctx.Done():
		_ = term.Restore(fd, state)
		fmt.Fprintln(c.stderr)
		return "", errors.New("interrupted")
	case r := <-replies:
		if hidden {
			fmt.Fprintln(c.stderr)
		}
		return r.line, r.err
	}
}

// readLine reads no byte beyond the line, which belongs to the next question.
func readLine(tty *os.File, hidden bool) (string, error) {
	if hidden {
		b, err := term.ReadPassword(int(tty.Fd()))
		return string(b), err
	}
	var line strings.Builder
	b := make([]byte, 1)
	for line.Len() < maxInput {
		if _, err := tty.Read(b); err != nil {
			return "", err
		}
		if b[0] == '\n' {
			break
		}
		line.WriteByte(b[0])
	}
	return strings.TrimRight(line.String(), "\r"), nil
}
