package admin

import (
	"net/http"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/checker"
	"github.com/sallyport/sallyport/internal/credential"
)

// reports gives the last reports that the query's workspace and credential pick.
func (s *Server) reports(r *http.Request) ([]*checker.Report, error) {
	folder, err := folderOf(r)
	if err != nil {
		return nil, err
	}
	only := r.URL.Query().Get("credential")
	if only != "" {
		ref, err := credential.ParseRef(only)
		if err != nil {
			return nil, invalid("credential: is not a reference")
		}
		only = ref.String()
	}
	return slices.DeleteFunc(s.o.History.All(), func(rep *checker.Report) bool {
		return only != "" && rep.Credential != only || folder.Workspace != "" && !strings.HasPrefix(rep.Credential, folder.Workspace+"/")
	}), nil
}

func (s *Server) report(w http.ResponseWriter, r *http.Request) error {
	reports, err := s.reports(r)
	if err != nil {
		return err
	}
	p, err := page(r, reports, func(rep *checker.Report) string { return rep.Credential })
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, p)
}

func (s *Server) reportCSV(w http.ResponseWriter, r *http.Request) error {
	reports, err := s.reports(r)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/csv; charset=utf-8")
	w.Header().Set("Content-Disposition", `attachment; filename="report.csv"`)
	_ = checker.WriteCSV(w, reports) // the client has gone
	return nil
}
