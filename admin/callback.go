package admin

import (
	"html"
	"net/http"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/checker"
	"github.com/sallyport/sallyport/internal/fault"
)

// callbackPath is where consent pages redirect to. It asks for no token: the
// state in the redirect is the proof.
const callbackPath = "/oauth/callback"

// Callback is a handler for the redirects of consent pages and nothing else.
func (s *Server) Callback() http.Handler {
	return s.serve(s.guarded(s.routes([]route{{callbackPath, true, get(s.callback)}}, anybody)))
}

// callback answers a person, with a page that loads and runs nothing.
func (s *Server) callback(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodGet { // who only looks must not use the code up
		w.Header().Set("Allow", http.MethodGet)
		return fault.New(fault.MethodNotAllowed, "this resource has GET", nil)
	}
	c, err := s.o.Connects.Callback(r.Context(), r.URL.RawQuery)
	if err != nil {
		c = Connect{Fault: checker.NewFault(fault.From(err))}
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("X-Frame-Options", "DENY")
	status := http.StatusOK
	if c.Fault != nil {
		status = http.StatusBadRequest
	}
	w.WriteHeader(status)
	_, _ = w.Write([]byte(callbackPage(c)))
	return nil
}

// callbackPage says how it went. Everything in it is escaped.
func callbackPage(c Connect) string {
	title := "Connected"
	var lines []string
	switch {
	case c.Fault != nil:
		title = "Not connected"
		lines = append([]string{c.Fault.Cause, c.Fault.Detail}, c.Fault.Remedy...)
	case c.State == "pending":
		title = "Almost connected"
		lines = []string{"The consent has come and is not stored yet. You can close this page."}
	case c.Test:
		title = "The test has passed"
		lines = []string{"Nothing was stored. You can close this page."}
	default:
		lines = []string{"You can close this page."}
	}
	if c.Credential != "" {
		title += ": " + c.Credential
	}
	lines = append(lines, c.Warnings...)
	var b strings.Builder
	b.WriteString(`<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="robots" content="noindex"><title>` + html.EscapeString(title) + "</title></head>\n<body><h1>" + html.EscapeString(title) + "</h1>\n")
	for _, line := range lines {
		if line != "" {
			b.WriteString("<p>" + html.EscapeString(line) + "</p>\n")
		}
	}
	b.WriteString("</body></html>\n")
	return b.String()
}

// navigated reports whether a browser says that it came by a link or a redirect,
// of whatever site, and shows the answer as a page of its own. One that comes so
// sends no Origin.
func navigated(r *http.Request) bool {
	mode, dest := r.Header.Values("Sec-Fetch-Mode"), r.Header.Values("Sec-Fetch-Dest")
	return slices.Equal(mode, []string{"navigate"}) && slices.Equal(dest, []string{"document"}) && len(r.Header.Values("Origin")) == 0
}
