package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/admin"
	"github.com/sallyport/sallyport/internal/credential"
)

// connectFlags are the flags of a consent.
type connectFlags struct {
	device, paste, noBrowser bool
	scopes, fields           []string
}

func (in *connectFlags) register(cmd *cobra.Command) {
	f := cmd.Flags()
	f.BoolVar(&in.device, "device", false, "type a code in at the provider's page, on any device (RFC 8628)")
	f.BoolVar(&in.paste, "paste", false, "read the address that the browser was redirected to from standard input")
	f.BoolVar(&in.noBrowser, "no-browser", false, "print the address of the consent page and open no browser")
	f.StringArrayVar(&in.scopes, "scope", nil, "ask for this `SCOPE` in place of the provider's (repeatable)")
}

func newCredentialConnectCommand(c *cli) *cobra.Command {
	var in connectFlags
	cmd := &cobra.Command{
		Use:   "connect REF",
		Short: "Let a person consent, and store the grant",
		Long: `Let a person consent at the provider, and store the grant that comes of it: by the
provider's consent page in a browser, or by a code that is typed in there. The
OAuth client is the credential's own, else the workspace's app, else the shared
one (sallyport app). The consent page redirects to the daemon, at the [admin]
public_url or http://127.0.0.1:PORT/oauth/callback; register that at the provider.
Without a daemon this command listens there until the browser comes back.`,
		Args: arg("reference"),
		RunE: action(func(ctx context.Context, args []string) error {
			ref, err := parseRef(args[0])
			if err != nil {
				return err
			}
			return c.credentialConnect(ctx, ref, &in)
		}),
	}
	in.register(cmd)
	cmd.Flags().StringArrayVar(&in.fields, "field", nil, "a field that the provider's URLs ask for, as `F=V` (repeatable)")
	return cmd
}

func (c *cli) credentialConnect(ctx context.Context, ref credential.Ref, in *connectFlags) error {
	body, err := in.body()
	if err != nil {
		return err
	}
	cl, err := c.connect(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = cl.close() }()
	return c.consent(ctx, cl, ref, in, body)
}

// body is the request that the flags make.
func (in *connectFlags) body() (map[string]any, error) {
	if in.device && in.paste {
		return nil, usagef("--paste is for the consent page, and --device has none")
	}
	body := map[string]any{}
	if in.device {
		body["flow"] = "device"
	}
	if len(in.scopes) > 0 {
		body["scopes"] = in.scopes
	}
	fields := map[string]string{}
	for _, pair := range in.fields {
		name, value, ok := strings.Cut(pair, "=")
		if !ok || name == "" {
			return nil, usagef("--field takes FIELD=VALUE")
		}
		fields[name] = value
	}
	if len(fields) > 0 {
		body["fields"] = fields
	}
	return body, nil
}

// consent begins a connect and stays until it has ended.
func (c *cli) consent(ctx context.Context, cl *client, ref credential.Ref, in *connectFlags, body map[string]any) error {
	if cl.callback != nil && !in.paste && !in.device {
		stop, err := c.awaitRedirect(cl)
		if err != nil {
			return err
		}
		defer stop()
	}
	var begun admin.ConnectBegun
	if _, err := cl.call(ctx, http.MethodPost, credentialPath(ref)+"/connect", nil, body, &begun); err != nil {
		return err
	}
	c.sendPerson(begun, in)
	if in.paste {
		if err := c.paste(ctx, cl, begun.ID); err != nil {
			cl.cancelConnect(ctx, begun.ID)
			return err
		}
	}
	got, raw, err := c.follow(ctx, cl, begun.ID)
	if err != nil {
		cl.cancelConnect(ctx, begun.ID)
		return err
	}
	if c.json {
		if err := c.printJSON(raw); err != nil {
			return err
		}
	}
	return c.tellConnect(ref, got)
}

// cancelConnect ends what nobody waits for any more.
func (cl *client) cancelConnect(ctx context.Context, id string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
	defer cancel()
	_, _ = cl.call(ctx, http.MethodDelete, connectPath(id), nil, nil, nil) // it ends by itself in the end
}

func connectPath(id string) string { return "/api/v1/connects/" + url.PathEscape(id) }

// person is where a person is spoken to: standard output belongs to --json.
func (c *cli) person() io.Writer {
	if c.json {
		return c.stderr
	}
	return c.stdout
}

// sendPerson says where to go, and opens a browser there if it can.
func (c *cli) sendPerson(b admin.ConnectBegun, in *connectFlags) {
	at := b.AuthorizationURL
	if b.UserCode != "" {
		fmt.Fprintf(c.person(), "open %s and type in the code %s\n", clean(b.VerificationURI), clean(b.UserCode))
		if at = b.VerificationURIComplete; at == "" {
			at = b.VerificationURI
		}
	} else {
		fmt.Fprintf(c.person(), "open this page and give your consent:\n%s\n", clean(at))
	}
	if !in.noBrowser && !in.paste && c.openBrowser(at) {
		c.note("a browser was asked to open it")
	}
}

// paste takes the redirected address from standard input.
func (c *cli) paste(ctx context.Context, cl *client, id string) error {
	fmt.Fprintln(c.person(), "then paste the address that the browser was redirected to, even if the page did not load:")
	line, err := c.readAddress(ctx)
	if err != nil {
		return err
	}
	_, err = cl.call(ctx, http.MethodPost, connectPath(id)+"/callback", nil, map[string]string{"url": line}, nil)
	return err
}

// readAddress reads the first line that is not empty.
func (c *cli) readAddress(ctx context.Context) (string, error) {
	type reply struct {
		line string
		err  error
	}
	replies := make(chan reply, 1)
	go func() { // ends with the line, or with the process
		lines := bufio.NewScanner(io.LimitReader(c.stdin, maxInput))
		lines.Buffer(nil, maxInput)
		for lines.Scan() {
			if line := strings.TrimSpace(lines.Text()); line != "" {
				replies <- reply{line: line}
				return
			}
		}
		replies <- reply{err: errors.Join(errors.New("standard input has ended before the address came"), lines.Err())}
	}()
	select {
	case r := <-replies:
		return r.line, r.err
	case <-ctx.Done():
		return "", errors.New("interrupted")
	}
}

// Pauses between two looks at a connect.
const (
	firstLook = 100 * time.Millisecond
	lastLook  = time.Second
)

// follow tells each step as it comes, until the connect has ended.
func (c *cli) follow(ctx context.Context, cl *client, id string) (*admin.Connect, json.RawMessage, error) {
	told := 0
	for pause := firstLook; ; pause = min(2*pause, lastLook) {
		var raw json.RawMessage
		if err := cl.get(ctx, connectPath(id), nil, &raw); err != nil {
			if ctx.Err() != nil {
				return nil, nil, errors.New("interrupted")
			}
			return nil, nil, err
		}
		var got admin.Connect
		if err := json.Unmarshal(raw, &got); err != nil {
			return nil, nil, fmt.Errorf("connect %s: the answer is not the admin API's: %w", clean(id), err)
		}
		for ; told < len(got.Steps); told++ {
			c.tellStep(got, told)
		}
		if got.State != "pending" {
			return &got, raw, nil
		}
		if !sleep(ctx, pause) {
			return nil, nil, errors.New("interrupted")
		}
	}
}

func (c *cli) tellStep(got admin.Connect, i int) {
	s := got.Steps[i]
	parts := []string{s.Name}
	if s.Method != "" {
		at, _, _ := strings.Cut(s.URL, "?")
		parts = append(parts, s.Method+" "+at)
		if s.Status != 0 {
			parts = append(parts, fmt.Sprintf("%d in %d ms", s.Status, s.TookMS))
		}
	}
	if s.Detail != "" {
		parts = append(parts, s.Detail)
	}
	if s.Status >= http.StatusBadRequest && s.ResponseExcerpt != "" {
		parts = append(parts, strings.Join(strings.Fields(s.ResponseExcerpt), " "))
	}
	fmt.Fprintf(c.person(), "  %s\n", clean(strings.Join(parts, "  ")))
}

// tellConnect says how it ended.
func (c *cli) tellConnect(ref credential.Ref, got *admin.Connect) error {
	for _, w := range got.Warnings {
		c.warn("%s", w)
	}
	f := got.Fault
	switch {
	case f != nil:
		text := fmt.Sprintf("%s was not connected\n%s: %s", ref, f.Code, f.Cause)
		if got.Test {
			text = fmt.Sprintf("the test failed\n%s: %s", f.Code, f.Cause)
		}
		if f.Detail != "" {
			text += "\n" + f.Detail
		}
		return try(errors.New(text), f.Remedy...)
	case got.Test:
		fmt.Fprintln(c.person(), "the test has passed; no grant was stored")
	default:
		fmt.Fprintf(c.person(), "connected %s\n", ref)
	}
	return nil
}
