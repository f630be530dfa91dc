package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/internal/credential"
)

// requestFlags say which of the last requests, and what becomes of them.
type requestFlags struct {
	ref    string // empty: of all credentials, and of none
	caller string
	failed bool
	limit  int
	bundle string // FILE; empty: they are printed
}

func newRequestsCommand(c *cli) *cobra.Command {
	var in requestFlags
	cmd := &cobra.Command{
		Use:   "requests [REF]",
		Short: "The last requests that went through the proxy, or a bundle for support",
		Long: `The last requests that went through the proxy, the newest last; with REF those
with that credential. The running daemon keeps about a thousand that went well
and about a thousand that failed, however long ago, until it ends. Of a request
there are method, scheme, host and path, never its query, header or body.

OUTCOME is ok, upstream_4xx or upstream_5xx with what the answer means, canceled
where the runner left first, or a fault code: sallyport explain CODE tells more.
A CONNECT is a tunnel that passed untouched and has ended, or one that failed;
canceled, its runner broke off TLS: it does not trust the local CA.

--bundle FILE writes a .zip for support instead: the requests, the last reports,
credentials (names only), providers, callers, metrics, health, version and the
configuration as config show prints it. Its README.txt tells what is in it.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				in.ref = args[0]
			}
			if in.bundle != "" && cmd.Flags().Changed("limit") {
				return usagef("--limit does not go with --bundle, which holds all there are")
			}
			return c.requests(cmd.Context(), in)
		},
	}
	f := cmd.Flags()
	f.StringVar(&in.caller, "caller", "", "only those of the caller `NAME`")
	f.BoolVar(&in.failed, "failed", false, "only those that failed")
	f.IntVar(&in.limit, "limit", 50, "the last `N`")
	f.StringVar(&in.bundle, "bundle", "", "write a bundle for support to `FILE` (.zip); - is standard output")
	return cmd
}

// requestView is a request as the API shows it.
type requestView struct {
	ID         string    `json:"id"`
	Time       time.Time `json:"time"`
	Caller     string    `json:"caller"`
	Method     string    `json:"method"`
	Scheme     string    `json:"scheme"`
	Host       string    `json:"host"`
	Path       string    `json:"path"`
	Provider   string    `json:"provider"`
	Credential string    `json:"credential"`
	Status     int       `json:"status"`
	Outcome    string    `json:"outcome"`
	Code       string    `json:"code"`
	TookMS     int64     `json:"took_ms"`
}

const maxRequests = 10000 // of one answer of the API

func (c *cli) requests(ctx context.Context, in requestFlags) error {
	query, err := in.query()
	if err != nil {
		return err
	}
	if in.limit < 1 || in.limit > maxRequests {
		return usagef("--limit is not a number from 1 to %d", maxRequests)
	}
	if in.bundle != "" {
		return c.bundle(ctx, in.bundle, query)
	}
	cl, err := c.daemon()
	if err != nil {
		return err
	}
	if cl == nil {
		return fmt.Errorf("only a running daemon knows the last requests: %w", c.notRunning())
	}
	query.Set("limit", strconv.Itoa(in.limit))
	var page struct {
		Items []json.RawMessage `json:"items"`
		Next  string            `json:"next"`
	}
	if err := cl.get(ctx, requestsPath, query, &page); err != nil {
		return err
	}
	if c.json {
		return c.printJSON(append([]json.RawMessage{}, page.Items...))
	}
	if err := c.printRequests(page.Items); err != nil {
		return err
	}
	if page.Next != "" {
		c.note("these are the last %d; --limit N gives more", in.limit)
	}
	return nil
}

const requestsPath = "/api/v1/requests"

// query gives what the flags ask the API for.
func (in requestFlags) query() (url.Values, error) {
	query := url.Values{}
	if in.ref != "" {
		ref, err := parseRef(in.ref)
		if err != nil {
			return nil, err
		}
		query.Set("credential", ref.String())
	}
	if in.caller != "" {
		if !credential.ValidPart(in.caller) {
			return nil, usagef("%q is not a caller's name", in.caller)
		}
		query.Set("caller", in.caller)
	}
	if in.failed {
		query.Set("failed", "true")
	}
	return query, nil
}

// printRequests prints what the API lists newest first the other way round, so
// that the newest stand where the prompt is.
func (c *cli) printRequests(items []json.RawMessage) error {
	if len(items) == 0 {
		c.note("there was no such request")
		return nil
	}
	t := c.table()
	t.row("TIME", "CALLER", "METHOD", "URL", "CREDENTIAL", "STATUS", "OUTCOME", "TOOK", "ID")
	for _, raw := range slices.Backward(items) {
		var v requestView
		if err := json.Unmarshal(raw, &v); err != nil {
			return fmt.Errorf("%s: the answer is not a request: %w", requestsPath, err)
		}
		t.row(v.Time.Local().Format("2006-01-02 15:04:05.000"), orDash(v.Caller), v.Method, v.target(), v.with(), v.status(), v.outcome(), v.took(), v.ID)
	}
	return t.flush()
}

// maxTarget is how much of a URL the table shows; --json has more of it.
const maxTarget = 100

// target is the URL, without its query and the port that its scheme implies, or
// CONNECT's host and port.
func (v requestView) target() string {
	s := v.Host
	if v.Scheme != "" {
		port := map[string]string{"http": ":80", "https": ":443"}[v.Scheme]
		s = v.Scheme + "://" + strings.TrimSuffix(v.Host, port) + v.Path
	}
	if r := []rune(s); len(r) > maxTarget {
		s = string(r[:maxTarget-3]) + "..."
	}
	return orDash(s)
}

// with names the credential, or the provider where none was chosen.
func (v requestView) with() string {
	if v.Credential == "" && v.Provider != "" {
		return "none of " + v.Provider
	}
	return orDash(v.Credential)
}

func (v requestView) status() string {
	if v.Status == 0 {
		return "-"
	}
	return strconv.Itoa(v.Status)
}

func (v requestView) outcome() string {
	if v.Code == "" || v.Code == v.Outcome {
		return v.Outcome
	}
	return v.Outcome + " " + v.Code
}

func (v requestView) took() string {
	if v.TookMS == 0 {
		return "<1ms"
	}
	return (time.Duration(v.TookMS) * time.Millisecond).String()
}
