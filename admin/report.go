package admin

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
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
		key = momentOf(reports)
	}
	p, err := page(r, reports, key)
	if err != nil {
		return err
	}
	fits, err := fitting(p, key)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, fits)
}

// momentOf tells reports of one credential apart: by when they were made, and those
// of the same moment by their place among these.
func momentOf(reports []*checker.Report) func(*checker.Report) string {
	keys, count := map[*checker.Report]string{}, map[string]int{}
	for _, rep := range reports {
		at := rep.CheckedAt.Format(time.RFC3339Nano)
		keys[rep] = at + "/" + strconv.Itoa(count[at])
		count[at]++
	}
	return func(rep *checker.Report) string { return keys[rep] }
}

// maxReports bounds the reports of one answer, in bytes, so that a client can read
// it; one that is larger comes alone.
const maxReports = 16 << 20

// fitting gives the items of a page as far as they fit into an answer.
func fitting(p list[*checker.Report], key func(*checker.Report) string) (list[json.RawMessage], error) {
	out := list[json.RawMessage]{Items: []json.RawMessage{}, Next: p.Next}
	left := maxReports
	for i, rep := range p.Items {
		b, err := json.Marshal(rep)
		if err != nil {
			return out, err
		}
		if left -= len(b); left < 0 && i > 0 {
			out.Next = key(p.Items[i-1])
			break
		}
		out.Items = append(out.Items, b)
	}
	return out, nil
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
