package auth

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/secret"
)

// LK-02: code, verifier, state, tokens and secrets are in no log line, step,
// fault, page or metric, whatever a server sends back.
func TestConnectShowsNoSecret(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	for _, status := range []int{200, 400, 500} {
		for _, contentType := range []string{"application/json", "text/html", "application/x-www-form-urlencoded"} {
			f := newFlows(t, func(o *ConnectOptions) {
				o.Metrics = NewMetrics(prometheus.WrapRegistererWith(prometheus.Labels{"n": fmt.Sprint(status, contentType)}, reg))
			})
			f.server.answer = func(_ int, form url.Values) (int, string, string) {
				echo := fmt.Sprintf("%s %s %s %s", canary, form.Encode(), form.Get("code_verifier"), form.Get("code"))
				body := url.Values{"error_description": {echo}, "access_token": {"at-" + "5f1e"}, "error": {echo}, canary: {echo}}.Encode()
				if contentType == "application/json" {
					b, _ := json.Marshal(map[string]any{"error": "invalid_grant", "error_description": echo, "x": echo, "nested": map[string]any{"y": echo, "scope": echo}, "list": []string{echo}})
					body = string(b)
				}
				return status, contentType, body
			}
			began := f.begin(t, ConnectRequest{ClientID: "id", ClientSecret: secret.New(canary)})
			got := f.done(t, back(t, began, url.Values{"code": {canary}}))
			verifier := f.server.posts()[0].Get("code_verifier")
			u, _ := url.Parse(began.AuthorizationURL)
			_, key, _ := strings.Cut(u.Query().Get("state"), ".")
			steps, _ := json.Marshal(got.Steps)
			families, err := reg.Gather()
			if err != nil {
				t.Fatal(err)
			}
			for what, text := range map[string]string{"the steps": string(steps), "the fault": fmt.Sprintf("%+v", got.Fault), "the log": f.log.String(), "the metrics": fmt.Sprint(families), "the warnings": fmt.Sprint(got.Warnings)} {
				scan(t, what, text)
				if strings.Contains(text, verifier) || strings.Contains(text, key) {
					t.Errorf("%s show the verifier or the state: %s", what, text)
				}
			}
		}
	}
}

// Whatever comes to the callback: only the right state does anything, and nothing panics.
func FuzzCallback(f *testing.F) {
	for _, seed := range []string{"", "code=x&state=y", "state=.&code=", "error=access_denied&state=", "state=%ff&iss=%zz", "code=x&code=y", strings.Repeat("state=a&", 3000), "?state=a.b;code=c"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, query string) {
		w := newFlows(t, nil)
		c := w.begin(t, ConnectRequest{})
		if _, err := w.Callback(t.Context(), query); !errors.Is(err, fault.AuthorizationIncomplete) {
			t.Fatalf("%q is taken: %v", query, err)
		}
		if _, err := w.Paste(t.Context(), c.ID, query); err == nil {
			t.Fatalf("%q is taken when it is pasted", query)
		}
		values, err := url.ParseQuery(query)
		if err != nil {
			values = url.Values{"error_description": {query}, "error": {query}}
		}
		delete(values, "state")
		got, err := w.Callback(t.Context(), back(t, c, values))
		if err == nil && got.State == ConnectPending {
			t.Fatalf("with the right state and %q the connect is %s", query, got.State)
		}
		for _, s := range got.Steps {
			if len(s.Detail) > 4096 || strings.ContainsAny(s.Detail, "\n\r\x00\x1b") {
				t.Fatalf("a step says %q", s.Detail)
			}
		}
	})
}
