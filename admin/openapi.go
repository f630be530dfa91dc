package admin

import (
	_ "embed"
	"net/http"
)

// description is the whole API in OpenAPI 3.0.3. A test holds it to the routes
// and to what the handlers take and answer.
//
//go:embed openapi.json
var description []byte

func (s *Server) openapi(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(description)
	return nil
}
