package admin

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/checker"
)

// reports gives the last reports that the query's workspace and credential pick.
func (s *Server) reports(r *http.Request) ([]*checker.Report, error) {
	folder, err := folderOf(r)
	if err != nil {
		return nil, err
	}
	only, err := referenceOf(r.URL.Query())
	if err != nil {
		return nil, err
	}
	history, err := flag(r, "history")
	switch {
	case err != nil:
		return nil, err
	case history && only == "":
		return nil, invalid("history: goes with a credential, whose earlier reports it shows")
	case history:
		return s.o.History.Of(only), nil
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
	key := func(rep *checker.Report) string { return rep.Credential }
	if history, _ := flag(r, "history"); history {
		key = func(rep *checker.Report) string { return rep.CheckedAt.Format(time.RFC3339Nano) }
	}
	p, err := page(r, reports, key)
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
