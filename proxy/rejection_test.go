package proxy

import (
	"io"
	"net/http"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/auth"
	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
)

var apiMain = credential.Ref{Workspace: "default", Environment: "production", Provider: "api", Name: "main"}

// saying is an upstream that answers what it was told to.
type saying struct {
	status atomic.Int64
	body   atomic.Value
}

func (s *saying) says(status int, body string) { s.status.Store(int64(status)); s.body.Store(body) }

func (s *saying) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(int(s.status.Load()))
	_, _ = io.WriteString(w, s.body.Load().(string))
}

// A provider's no to the credential stands until it takes it; nothing that is no
// word on the credential changes that.
func TestRejectionStandsUntilAGoodAnswer(t *testing.T) {
	var up saying
	up.says(200, `{}`)
	r := newRig(t, up.ServeHTTP)
	c := r.client(false)
	rejected := func(what string, want bool) {
		t.Helper()
		r.get(c, r.url("/"))
		got, ok := r.srv.Rejection(apiMain)
		if ok != want || ok && (got.Fault.Code != fault.CredentialsRejected || got.Fault.Credential != apiMain.String() || got.Since.IsZero()) {
			t.Errorf("%s: rejected %v %+v, want %v", what, ok, got, want)
		}
	}
	rejected("a good answer", false)
	for _, no := range []struct {
		status int
		body   string
	}{{403, `{"error":"insufficient_scope"}`}, {403, `{}`}, {429, `{}`}, {402, `{}`}, {500, `{}`}, {404, `{}`}, {401, `{"message":"No API key found in request"}`}} {
		up.says(no.status, no.body)
		rejected("before: "+strconv.Itoa(no.status)+no.body, false)
	}
	up.says(401, `{"message":"Bad credentials"}`)
	rejected("401", true)
	first, _ := r.srv.Rejection(apiMain)
	rejected("401 again", true)
	if again, _ := r.srv.Rejection(apiMain); again.Since != first.Since {
		t.Errorf("the second no is another one: %v, %v", again.Since, first.Since)
	}
	for _, no := range []struct {
		status int
		body   string
	}{{403, `{"error":"insufficient_scope"}`}, {403, `{}`}, {429, `{}`}, {500, `{}`}, {404, `{}`}} {
		up.says(no.status, no.body)
		rejected("after: "+strconv.Itoa(no.status)+no.body, true)
	}
	up.says(200, `{}`)
	rejected("a good answer again", false)
}

// A token that a new one replaces is not rejected; one after which the new one is
// refused too is. A change of the record forgets it.
func TestRejectionOfTokens(t *testing.T) {
	var want atomic.Value
	want.Store("at-1")
	r, _ := oauthRig(t, &want, nil)
	c := r.client(false)
	r.get(c, r.url("/"))
	want.Store("at-2")
	if got := r.get(c, r.url("/")); got.StatusCode != 200 {
		t.Fatalf("%d %s", got.StatusCode, got.body)
	}
	if _, ok := r.srv.Rejection(apiMain); ok {
		t.Error("a token that was replaced is a rejected credential")
	}
	want.Store("never")
	r.get(c, r.url("/"))
	if _, ok := r.srv.Rejection(apiMain); !ok {
		t.Error("two refusals of one request are no rejection")
	}
	r.srv.Changed(apiMain)
	if _, ok := r.srv.Rejection(apiMain); ok {
		t.Error("a rejection outlives the record")
	}
	r.get(c, r.url("/"))
	r.srv.Forget(apiMain)
	if _, ok := r.srv.Rejection(apiMain); ok {
		t.Error("a rejection outlives the credential")
	}
}

// A body that cannot be sent again is no reason to forget a no: it is the last word
// unless there is a new credential, of which nobody knows yet.
func TestRejectionOfLargeBodies(t *testing.T) {
	upload := func(r *rig, c *http.Client) {
		t.Helper()
		req, _ := http.NewRequest(http.MethodPost, r.url("/"), io.LimitReader(letters{}, 3<<20))
		if got := r.do(c, req); got.StatusCode != 401 {
			t.Errorf("%d %s", got.StatusCode, got.body)
		}
	}
	rejected := func(r *rig, what string, want bool) {
		t.Helper()
		if _, ok := r.srv.Rejection(apiMain); ok != want {
			t.Errorf("%s: rejected %v, want %v", what, ok, want)
		}
	}
	var key atomic.Value
	key.Store(canary)
	r := newRig(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if r.Header.Get("Authorization") != "Bearer "+key.Load().(string) {
			w.WriteHeader(http.StatusUnauthorized)
		}
	})
	c := r.client(false)
	if got := r.get(c, r.url("/")); got.StatusCode != 200 {
		t.Fatalf("%d %s", got.StatusCode, got.body)
	}
	key.Store("new")
	r.store.Add("api/main", "api_key", "api_key", "new")
	upload(r, c)
	rejected(r, "a static key that was replaced", false)
	key.Store("never")
	upload(r, c)
	rejected(r, "a static key", true)
	key.Store("new")
	r.get(c, r.url("/"))
	rejected(r, "taken", false)

	var want atomic.Value
	want.Store("at-1")
	r, _ = oauthRig(t, &want, nil)
	c = r.client(false)
	r.get(c, r.url("/"))
	want.Store("never")
	upload(r, c)
	rejected(r, "a token that was replaced", false)
	upload(r, c)
	rejected(r, "the new token, and there is no newer one", true)
}

// When a request last went well is known, whatever else happened since.
func TestLastGood(t *testing.T) {
	var up saying
	up.says(200, `{}`)
	r := newRig(t, up.ServeHTTP)
	c := r.client(false)
	if at := r.srv.LastGood(apiMain); !at.IsZero() {
		t.Errorf("before any request: %v", at)
	}
	start := time.Now().Truncate(time.Millisecond)
	r.get(c, r.url("/"))
	good := r.srv.LastGood(apiMain)
	if good.Before(start) || good.After(time.Now()) {
		t.Errorf("a good request: %v, began after %v", good, start)
	}
	time.Sleep(2 * time.Millisecond)
	for _, status := range []int{401, 403, 404, 429, 500} {
		up.says(status, `{}`)
		r.get(c, r.url("/"))
		if at := r.srv.LastGood(apiMain); at != good {
			t.Errorf("after %d: %v, want %v", status, at, good)
		}
	}
	up.says(200, `{}`)
	r.get(c, r.url("/"))
	if at := r.srv.LastGood(apiMain); !at.After(good) {
		t.Errorf("good again: %v, was %v", at, good)
	}
}

// Where the token could not be refreshed that is what is wrong.
func TestRejectionNeedsALastWord(t *testing.T) {
	var want atomic.Value
	want.Store("at-1")
	r, tk := oauthRig(t, &want, nil)
	c := r.client(false)
	r.get(c, r.url("/"))
	want.Store("never")
	tk.broken.Store(true)
	if got := r.get(c, r.url("/")); got.StatusCode != fault.New(fault.InvalidClient, "", nil).Status() {
		t.Fatalf("%d %s", got.StatusCode, got.body)
	}
	if _, ok := r.srv.Rejection(apiMain); ok {
		t.Error("a refresh that failed is told as a rejection too")
	}
}

// A no that stands is told anew now and then, so that a check between two of them
// does not hide the later one.
func TestRejectionTellsItsLastTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := &exchange{target: target{entry: &entry{used: new(useOf)}}, injector: &auth.Injector{}}
		no, began := &http.Response{StatusCode: 401}, time.Now()
		for range 3 {
			x.judged(no, provider.Expired)
			time.Sleep(rejectionStep - time.Second)
		}
		if r := x.entry.used.rejection.Load(); r.Since != began || r.Last != began.Add(2*(rejectionStep-time.Second)) {
			t.Errorf("since %v, last %v; began %v", r.Since, r.Last, began)
		}
	})
}

// A good answer costs a look at a time and a pointer.
func TestGoodAnswersWriteNoRejection(t *testing.T) {
	x := &exchange{start: time.Now(), target: target{entry: &entry{used: new(useOf)}}, injector: &auth.Injector{}}
	resp := &http.Response{StatusCode: 200}
	if n := testing.AllocsPerRun(100, func() { x.judged(resp, provider.OK) }); n != 0 {
		t.Errorf("%v allocations for a good answer", n)
	}
}
