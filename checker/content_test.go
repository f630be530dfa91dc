package checker_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/checker"
	"github.com/sallyport/sallyport/internal/fault"
)

// A good answer is judged as a whole: what is wrong may stand at its end.
func TestLargeAnswers(t *testing.T) {
	const asJSON = "application/json"
	pad := strings.Repeat("x", 66000)
	var zipped bytes.Buffer
	zw := gzip.NewWriter(&zipped)
	_, _ = zw.Write(bytes.Repeat([]byte("x"), 8<<20))
	_ = zw.Close()
	for _, c := range []struct {
		name   string
		answer answering
		want   checker.Status
		says   string
	}{
		{"good", answer(200, asJSON, `{"ok":true,"pad":"`+pad+`"}`), checker.OK, ""},
		{"good, as text", answer(200, "text/plain", pad), checker.OK, ""},
		{"a no before what is long", answer(200, asJSON, `{"ok":false,"pad":"`+pad+`"}`), checker.Unverifiable, "with an error in it"},
		{"a no behind what is long", answer(200, asJSON, `{"pad":"`+pad+`","ok":false}`), checker.Unverifiable, "with an error in it"},
		{"no JSON", answer(200, asJSON, strings.Repeat("x", 200_000)), checker.Unverifiable, "something else than the JSON"},
		{"JSON that is cut off", answer(200, asJSON, `{"pad":"`+pad+`"`), checker.Unverifiable, "something else than the JSON"},
		{"a page", answer(200, "text/plain", "<html>"+pad), checker.Unverifiable, "web page"},
		{"just below 1 MiB", answer(200, asJSON, `"`+strings.Repeat("x", 1<<20-3)+`"`), checker.OK, ""},
		{"1 MiB", answer(200, asJSON, `"`+strings.Repeat("x", 1<<20-2)+`"`), checker.Unverifiable, "more than 1 MiB"},
		{"compressed", answer(200, asJSON, zipped.String(), "Content-Encoding", "gzip"), checker.Unverifiable, "compressed"},
		{"compressed, as text", answer(200, "text/plain", zipped.String(), "Content-Encoding", "br"), checker.Unverifiable, "compressed"},
		{"compressed and large", answer(200, "text/plain", pad, "Content-Encoding", "gzip"), checker.Unverifiable, "compressed"},
		{"one that breaks off late", answering{status: 200, body: io.MultiReader(strings.NewReader(pad), broken{})}, checker.Unverifiable, "broke off"},
	} {
		r := newChecker(c.answer).Check(t.Context(), api("https://api.example.com"), record("bearer", "token", canary))
		if l := line(r, checker.Authorization); l.Status != c.want || !strings.Contains(l.Detail, c.says) {
			t.Errorf("%s: %s, %q; want %s and %q", c.name, l.Status, l.Detail, c.want, c.says)
		}
	}
}

// What proves nothing says what to look at.
func TestWhatToLookAt(t *testing.T) {
	for name, a := range map[string]func() answering{
		"a page": func() answering { return answer(200, "text/html", "<h1>Sign in</h1>") }, "a redirect": func() answering { return answer(302, "", "", "Location", "/login") },
		"nothing": func() answering { return answer(200, "", "") }, "too much": func() answering { return answering{status: 200, body: &endless{}} },
		"an error": func() answering { return answer(200, "application/json", `{"error":"x"}`) }, "400": func() answering { return answer(400, "", "") },
	} {
		for base, cred := range map[string]string{"the base URL of the provider": "bearer", "the url of the credential": "api_key_url"} {
			r := newChecker(a()).Check(t.Context(), api("https://api.example.com"), record(cred, "token", canary, "api_key", canary, "url", "https://crm.example"))
			if want := "; look at " + base + " and at the verify request, GET /user"; r.Fault != nil || !strings.HasSuffix(r.Checks[0].Detail, want) {
				t.Errorf("%s: %q, fault %+v; want %q", name, r.Checks[0].Detail, r.Fault, want)
			}
		}
	}
}

// RE-08: of large answers a few are in memory at once, however many checks there are.
func TestLargeAnswersInMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &wide{}
		c := newChecker(w)
		var all sync.WaitGroup
		for range 200 {
			all.Go(func() {
				if r := c.Check(t.Context(), api("https://api.example.com"), record("bearer", "token", canary)); r.Status != checker.OK {
					t.Errorf("RE-08: %s %+v", r.Status, r.Checks)
				}
			})
		}
		all.Wait()
		if w.most < 2 || w.most > 16 {
			t.Errorf("RE-08: %d large answers at once, want 16 at most", w.most)
		}
	})
}

// wide answers with 100 KiB, and counts how many of its answers are read beyond the
// first 64 KiB at once.
type wide struct {
	mu           sync.Mutex
	inside, most int
}

func (w *wide) RoundTrip(req *http.Request) (*http.Response, error) {
	late := readerFunc(func([]byte) (int, error) {
		w.add(1)
		time.Sleep(100 * time.Millisecond)
		w.add(-1)
		return 0, io.EOF
	})
	body := io.MultiReader(strings.NewReader(strings.Repeat(" ", 100<<10)), late)
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"text/csv"}}, Body: io.NopCloser(io.MultiReader(strings.NewReader("x"), body)), Request: req}, nil
}

func (w *wide) add(n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.inside += n
	w.most = max(w.most, w.inside)
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

// An answer that comes too slowly is out of time, whatever closed its connection.
func TestSlowAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, first := range []int{0, 70_000} {
			r := newChecker(dripping(first)).Check(t.Context(), api("https://api.example.com"), record("bearer", "token", canary))
			if r.Status != checker.Unknown || codeOf(r) != fault.Timeout || r.TookMS > 11_000 {
				t.Errorf("after %d bytes: %s, fault %+v, %d ms; want unknown and timeout in 10 s", first, r.Status, r.Fault, r.TookMS)
			}
			if d := r.Steps[0].Detail; first == 0 && d != "the body broke off: timeout" {
				t.Errorf("the step says %q", d)
			}
		}
	})
}

// dripping answers with so many bytes at once, then one each half of a second, and
// closes the connection when the request's time is over.
type dripping int

func (d dripping) RoundTrip(req *http.Request) (*http.Response, error) {
	r, w := io.Pipe()
	go func() {
		_, err := w.Write(bytes.Repeat([]byte(" "), int(d)))
		for err == nil && req.Context().Err() == nil {
			time.Sleep(500 * time.Millisecond)
			_, err = w.Write([]byte(" "))
		}
		_ = w.CloseWithError(io.ErrUnexpectedEOF)
	}()
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: r, Request: req}, nil
}
