package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
)

// report runs the check command, as a person would.
func (d *demo) report(ctx context.Context) error {
	out, err := d.daemon.command(ctx, "check", "--format", "json").Output()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 2 {
		return fmt.Errorf("check ended with %v, want exit code 2: a credential is in error", err) //nolint:errorlint // nil is a wrong end too
	}
	var reports []struct {
		Credential, Status string
		Fault              struct {
			Code, Cause string
			Remedy      []string
		}
	}
	if err := json.Unmarshal(out, &reports); err != nil {
		return fmt.Errorf("check: %w", err)
	}
	if len(reports) != 4 {
		return fmt.Errorf("check told %d reports, want 4", len(reports))
	}
	for _, r := range reports {
		want := "ok"
		if strings.Contains(r.Credential, "/crm/") {
			want = "error"
		}
		if r.Status != want {
			return fmt.Errorf("the report of %s is %q, want %q", r.Credential, r.Status, want)
		}
		d.show("%-36s %s", r.Credential, r.Status)
		if r.Status == "error" {
			if r.Fault.Code != "credentials_rejected" || r.Fault.Cause == "" || len(r.Fault.Remedy) == 0 {
				return errors.New("the report lacks the code, cause or remedy")
			}
			d.show("  %s: %s", r.Fault.Code, r.Fault.Cause)
			d.show("  to do: %s", r.Fault.Remedy[0])
		}
	}
	return nil
}

func (d *demo) metrics(ctx context.Context) error {
	body, err := d.daemon.Get(ctx, "/metrics")
	if err != nil {
		return err
	}
	lines := strings.Split(string(body), "\n")
	for _, want := range []string{
		`sallyport_requests_total{caller="default",outcome="ok",provider="ledger"} 4`,
		`sallyport_requests_total{caller="default",outcome="rate_limited",provider="parcels"} 1`,
		`sallyport_requests_total{caller="default",outcome="upstream_4xx",provider="crm"} 1`,
		`sallyport_rate_limited_total{provider="parcels"} 1`,
		`sallyport_panics_total 0`,
	} {
		if !slices.Contains(lines, want) {
			return fmt.Errorf("GET /metrics lacks %q; it has\n%s", want, sallyportLines(lines))
		}
		d.show("%s", want)
	}
	for _, line := range lines {
		if strings.HasPrefix(line, "sallyport_token_refreshes_total{") {
			d.show("%s", line)
		}
	}
	return nil
}

// sallyportLines gives the lines of our own metrics.
func sallyportLines(lines []string) string {
	return strings.Join(slices.DeleteFunc(slices.Clone(lines), func(line string) bool {
		return !strings.HasPrefix(line, "sallyport_")
	}), "\n")
}

func (d *demo) secrets(context.Context) error {
	all := slices.Concat(d.up.Secrets.all(), d.up.Minted())
	if d.vault != nil {
		all = append(all, reveal(d.vault.token))
	}
	for _, place := range []struct{ name, text string }{{"an answer", d.told.String()}, {"the log", d.daemon.Log()}} {
		for _, s := range all {
			if strings.Contains(place.text, s) {
				return fmt.Errorf("%s contains a secret", place.name)
			}
		}
	}
	d.show("%d secrets and tokens, in none of %d bytes of answers and %d bytes of log", len(all), d.told.Len(), len(d.daemon.Log()))
	return nil
}
