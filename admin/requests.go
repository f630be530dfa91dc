package admin

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
)

// Request is a request that went through the proxy and is over. Its texts have
// a bound; none holds a query, a header field or a body.
type Request struct {
	Seq        uint64    // requests that ended later have a higher one
	ID         string    // as in problems and in the log
	Time       time.Time // when it was over
	Caller     string    // empty: refused before that was known
	Method     string
	Scheme     string     // http or https; empty: of CONNECT
	Host       string     // with its port; empty: none that could be read
	Path       string     // escaped; of CONNECT empty
	Provider   string     // empty: no provider owns it
	Credential string     // whole reference; empty: none was chosen
	Status     int        // 0: the runner left before there was one
	Outcome    string     // as in the metrics
	Code       fault.Code // of our own answer, or what the upstream's says; empty: neither
	Tries      int
	Took       time.Duration
	Upstream   time.Duration // until the header of the upstream's answer, all tries together
	Refused    bool          // the answer is our own: none of an upstream passed
	Failed     bool          // Outcome is not ok
}

// requestView is a Request as the API shows it.
type requestView struct {
	ID         string     `json:"id"`
	Time       string     `json:"time"` // RFC 3339, UTC, milliseconds
	Caller     string     `json:"caller"`
	Method     string     `json:"method"`
	Scheme     string     `json:"scheme"`
	Host       string     `json:"host"`
	Path       string     `json:"path"`
	Provider   string     `json:"provider"`
	Credential string     `json:"credential"`
	Status     int        `json:"status"`
	Outcome    string     `json:"outcome"`
	Code       fault.Code `json:"code"`
	Refused    bool       `json:"refused"`
	Tries      int        `json:"tries"`
	TookMS     int64      `json:"took_ms"`
	UpstreamMS int64      `json:"upstream_ms"`
}

func viewRequest(q Request) requestView {
	return requestView{
		ID: q.ID, Time: q.Time.UTC().Format("2006-01-02T15:04:05.000Z07:00"), Caller: q.Caller,
		Method: q.Method, Scheme: q.Scheme, Host: q.Host, Path: q.Path, Provider: q.Provider, Credential: q.Credential,
		Status: q.Status, Outcome: q.Outcome, Code: q.Code, Refused: q.Refused,
		Tries: q.Tries, TookMS: q.Took.Milliseconds(), UpstreamMS: q.Upstream.Milliseconds(),
	}
}

// listRequests answers with the last requests, newest first. Its cursor is a
// place in time: requests that come or go meanwhile do not matter.
func (s *Server) listRequests(w http.ResponseWriter, r *http.Request) error {
	wanted, err := requestFilter(r)
	if err != nil {
		return err
	}
	limit, err := limitOf(r)
	if err != nil {
		return err
	}
	all := slices.DeleteFunc(s.o.Daemon.Requests(), func(q Request) bool { return !wanted(q) })
	p := list[requestView]{Items: []requestView{}}
	for _, q := range all[:min(limit, len(all))] {
		p.Items = append(p.Items, viewRequest(q))
	}
	if len(all) > limit {
		p.Next = strconv.FormatUint(all[limit-1].Seq, 10)
	}
	return writeJSON(w, http.StatusOK, p)
}

// requestFilter reads which requests the query asks for.
func requestFilter(r *http.Request) (func(Request) bool, error) {
	q := r.URL.Query()
	ref, err := referenceOf(q)
	if err != nil {
		return nil, err
	}
	caller := q.Get("caller")
	if caller != "" && !credential.ValidPart(caller) {
		return nil, invalid("caller: is not a caller's name")
	}
	failed, err := flag(r, "failed")
	if err != nil {
		return nil, err
	}
	before := ^uint64(0)
	if cursor := cursorOf(r); cursor != "" {
		if before, err = strconv.ParseUint(cursor, 10, 64); err != nil {
			return nil, invalid("cursor: is not one of an earlier answer")
		}
	}
	return func(q Request) bool {
		return q.Seq < before && (ref == "" || q.Credential == ref) && (caller == "" || q.Caller == caller) && (!failed || q.Failed)
	}, nil
}

// referenceOf reads the credential of a query, which may be short, in its whole
// form; empty: the query names none.
func referenceOf(q url.Values) (string, error) {
	s := q.Get("credential")
	if s == "" {
		return "", nil
	}
	ref, err := credential.ParseRef(s)
	if err != nil {
		return "", invalid("credential: is not a reference")
	}
	return ref.String(), nil
}
