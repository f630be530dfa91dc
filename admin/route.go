package admin

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"path"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/fault"
)

// handler answers a request or gives the error to answer with; it has then
// written nothing.
type handler func(http.ResponseWriter, *http.Request) error

// route is one resource.
type route struct {
	pattern string // of net/http's ServeMux, without a method
	open    bool   // asks for no token
	methods map[string]handler
}

// health are the resources for probes and scraping.
func (s *Server) health() []route {
	return []route{
		{"/livez", true, get(s.live)},
		{"/readyz", true, get(s.ready)},
		{"/metrics", true, get(s.metrics())},
	}
}

// api are all resources.
func (s *Server) api() []route {
	const one = "/api/v1/credentials/{workspace}/{environment}/{provider}/{name}"
	post := func(h handler) map[string]handler { return map[string]handler{http.MethodPost: h} }
	return append(s.health(), []route{
		{"/ca.pem", true, get(s.ca)},
		{callbackPath, true, get(s.callback)},

		{"/api/v1/credentials", false, get(s.listCredentials)},
		{one, false, map[string]handler{
			http.MethodGet: s.getCredential, http.MethodPut: s.putCredential,
			http.MethodPatch: s.patchCredential, http.MethodDelete: s.deleteCredential,
		}},
		{one + "/check", false, post(s.checkCredential)},
		{one + "/refresh", false, post(s.refreshCredential)},
		{one + "/connect", false, post(s.beginConnect)},
		{"/api/v1/connects/{id}", false, map[string]handler{http.MethodGet: s.getConnect, http.MethodDelete: s.cancelConnect}},
		{"/api/v1/connects/{id}/callback", false, post(s.pasteConnect)},

		{"/api/v1/report", false, get(s.report)},
		{"/api/v1/report.csv", false, get(s.reportCSV)},
		{"/api/v1/providers", false, get(s.listProviders)},
		{"/api/v1/apps", false, get(s.listApps)},
		{"/api/v1/apps/{provider}", false, map[string]handler{
			http.MethodGet: s.getApp, http.MethodPut: s.putApp, http.MethodDelete: s.deleteApp,
		}},

		{"/api/v1/callers", false, map[string]handler{http.MethodGet: s.listCallers, http.MethodPost: s.addCaller}},
		{"/api/v1/callers/{name}", false, map[string]handler{http.MethodDelete: s.removeCaller}},
		{"/api/v1/decision", false, get(s.decision)},
		{"/api/v1/requests", false, get(s.listRequests)},
		{"/api/v1/reload", false, post(s.reload)},
		{"/api/v1/openapi.json", false, get(s.openapi)},
		{"/api/v1/mine", true, get(s.mine)}, // it asks for a caller's token itself,
	}...)
}

// get is a resource that is only read.
func get(h handler) map[string]handler {
	return map[string]handler{http.MethodGet: h}
}

// routes dispatches by the exact path. Nothing is cleaned, redirected or decoded:
// a path that would need it is no resource.
func (s *Server) routes(rs []route, authorized func(*http.Request) error) handler {
	mux := http.NewServeMux()
	for _, r := range rs {
		h := byMethod(r.methods)
		if !r.open {
			h = after(authorized, h)
		}
		mux.Handle(r.pattern, carried(h))
	}
	return func(w http.ResponseWriter, r *http.Request) error {
		if !exact(r) {
			return notFound()
		}
		_, pattern := mux.Handler(r)
		if pattern == "" {
			return notFound()
		}
		mux.ServeHTTP(w, r)
		return nil
	}
}

func notFound() error { return fault.New(fault.NotFound, "", nil) }

// exact reports whether the path is written in the one way that names a resource.
func exact(r *http.Request) bool {
	p := r.URL.EscapedPath()
	return strings.HasPrefix(p, "/") && !strings.ContainsAny(p, `%\`) && path.Clean(p) == p
}

// byMethod picks the handler, or names the methods that there are. HEAD is GET,
// whose body net/http leaves out.
func byMethod(methods map[string]handler) handler {
	methods = maps.Clone(methods)
	if h, ok := methods[http.MethodGet]; ok {
		methods[http.MethodHead] = h
	}
	allow := strings.Join(slices.Sorted(maps.Keys(methods)), ", ")
	return func(w http.ResponseWriter, r *http.Request) error {
		h, ok := methods[r.Method]
		if !ok {
			w.Header().Set("Allow", allow)
			return fault.New(fault.MethodNotAllowed, "this resource has "+allow, nil)
		}
		return h(w, r)
	}
}

func after(authorized func(*http.Request) error, h handler) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if err := authorized(r); err != nil {
			return err
		}
		return h(w, r)
	}
}

// exchange is what belongs to one request: its id, and the error that its
// handler ended with, carried past ServeMux.
type exchange struct {
	id  string
	err error
}

type exchangeKey struct{}

// carried makes h an http.Handler; its error reaches serve in the exchange.
func carried(h handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if x, ok := r.Context().Value(exchangeKey{}).(*exchange); ok {
			x.err = h(w, r)
		}
	})
}

// serve answers errors as problems and logs what changed something or failed.
func (s *Server) serve(h handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x := &exchange{id: rand.Text()}
		r = r.WithContext(context.WithValue(r.Context(), exchangeKey{}, x))
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Request-Id", x.id)
		err := s.try(h, w, r)
		if err == nil {
			err = x.err
		}
		s.log(r, x.id, err)
		if errors.As(err, new(cut)) {
			panic(http.ErrAbortHandler) //nolint:forbidigo // net/http closes the connection, so that a cut answer looks cut
		}
		if err != nil {
			s.writeError(w, r, x.id, err)
		}
	})
}

// try turns a panic of a handler into an error.
func (s *Server) try(h handler, w http.ResponseWriter, r *http.Request) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fault.New(fault.Internal, "", fmt.Errorf("panic: %T", v))
		}
	}()
	return h(w, r)
}

func (s *Server) log(r *http.Request, id string, err error) {
	level, code := slog.LevelDebug, ""
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		level = slog.LevelInfo
	}
	attrs := []slog.Attr{slog.String("method", method(r)), slog.String("path", place(r)), slog.String("request_id", id)}
	if err != nil {
		f := fault.From(err)
		code = string(f.Code)
		attrs = append(attrs, slog.String("outcome", code))
		if f.Status() >= http.StatusInternalServerError {
			level, attrs = slog.LevelError, append(attrs, slog.Any("error", err))
		}
	}
	s.o.Log.LogAttrs(r.Context(), level, "admin request", attrs...)
}

// method keeps what a client invents out of the log.
func method(r *http.Request) string {
	if len(r.Method) > 16 {
		return "other"
	}
	return r.Method
}

// place is the path of a resource that there is.
func place(r *http.Request) string {
	if r.Pattern == "" || len(r.URL.Path) > 512 {
		return "other"
	}
	return r.URL.Path
}
