package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"

	"github.com/sallyport/sallyport/internal/credential"
)

// chunk is how many records of a list are held at the same time.
const chunk = 256

// cut is an error that came when a part of the answer was sent: the rest is not.
type cut struct{ error }

// Unwrap makes the fault findable.
func (c cut) Unwrap() error { return c.error }

// sendViews answers with a page of views, in the order of refs. A long one is
// read and sent by chunks, so that it takes no more memory than a short one.
func (s *Server) sendViews(w http.ResponseWriter, r *http.Request, refs []credential.Ref, next string) error {
	first, err := s.chunk(r.Context(), &refs)
	if err != nil {
		return err
	}
	if len(refs) == 0 {
		return writeJSON(w, http.StatusOK, list[view]{first, next})
	}
	w.Header().Set("Content-Type", "application/json")
	out := array{b: bytes.NewBufferString(`{"items":[`)}
	for views := first; ; {
		if err := out.add(views); err != nil {
			return cut{err}
		}
		if _, err := out.b.WriteTo(w); err != nil || len(refs) == 0 {
			break
		}
		if views, err = s.chunk(r.Context(), &refs); err != nil {
			return cut{err}
		}
	}
	end, err := json.Marshal(next)
	if err != nil {
		return cut{err}
	}
	_, _ = w.Write([]byte(`],"next":` + string(end) + "}\n"))
	return nil
}

// chunk gives the views of the first of refs, and takes them off.
func (s *Server) chunk(ctx context.Context, refs *[]credential.Ref) ([]view, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	n := min(chunk, len(*refs))
	views, err := s.views(ctx, (*refs)[:n])
	*refs = (*refs)[n:]
	return views, err
}

// array writes the members of a JSON array, without its brackets.
type array struct {
	b    *bytes.Buffer
	some bool
}

func (m *array) add(views []view) error {
	for i := range views {
		data, err := json.Marshal(&views[i])
		if err != nil {
			return err
		}
		if m.some {
			m.b.WriteByte(',')
		}
		m.some = true
		m.b.Write(data)
	}
	return nil
}
