package proxy

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/auth"
	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/provider"
)

// turncoat is a provider that refuses a credential and takes it in turns.
type turncoat struct {
	srv  *Server
	used *useOf
}

func newTurncoat() *turncoat {
	used := new(useOf)
	return &turncoat{&Server{used: usage{refs: map[credential.Ref]*useOf{apiMain: used}}}, used}
}

func (c *turncoat) says(status int, m provider.Meaning) {
	x := &exchange{start: time.Now(), target: target{entry: &entry{used: c.used}}, injector: &auth.Injector{}}
	x.judged(&http.Response{StatusCode: status}, m)
}

// say has it answer the same once a second for that long, and gives how often a
// rejection was seen that was not there before.
func (c *turncoat) say(status int, m provider.Meaning, d time.Duration) (news int) {
	for end := time.Now().Add(d); time.Now().Before(end); {
		_, before := c.srv.Rejection(apiMain)
		c.says(status, m)
		time.Sleep(time.Second)
		if _, now := c.srv.Rejection(apiMain); now && !before {
			news++
		}
	}
	return news
}

// turns has it change its mind each period for that long.
func (c *turncoat) turns(period, d time.Duration) (news int) {
	for end := time.Now().Add(d); time.Now().Before(end); {
		news += c.say(401, provider.Expired, period)
		news += c.say(200, provider.OK, period)
	}
	return news
}

// A credential that is refused and taken in turns is told of now and then, not each
// time; one that breaks for good is told of within half a minute, or at once where
// there was no such unrest before.
func TestRejectionsInTurns(t *testing.T) {
	for _, c := range []struct {
		period, d time.Duration
		most      int
	}{
		{time.Second, 20 * time.Minute, 1},
		{20 * time.Second, 24 * time.Hour, 1},
		{40 * time.Second, 24 * time.Hour, 2},
		{5 * time.Minute, 24 * time.Hour, 6},
		{25 * time.Minute, 24 * time.Hour, 8},
	} {
		t.Run(c.period.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newTurncoat()
				if n := p.say(401, provider.Expired, time.Second); n != 1 {
					t.Error("the first rejection is not told of at once")
				}
				p.say(200, provider.OK, time.Second)
				if n := 1 + p.turns(c.period, c.d); n > c.most {
					t.Errorf("told of %d times in %s, want %d at most", n, c.d, c.most)
				}
				p.say(401, provider.Expired, lastHold)
				if _, ok := p.srv.Rejection(apiMain); !ok {
					t.Error("what is refused for good is not told of")
				}
				p.say(200, provider.OK, time.Second)
				if _, ok := p.srv.Rejection(apiMain); ok {
					t.Error("it is taken again, and that is not told at once")
				}
			})
		})
	}
}

// Unrest is over after an hour without, and with a change of the record.
func TestUnrestEnds(t *testing.T) {
	for name, ends := range map[string]func(*turncoat){
		"an hour without": func(c *turncoat) { c.say(200, provider.OK, restAfter+time.Second) },
		"another record":  func(c *turncoat) { c.srv.used.unreject(apiMain) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newTurncoat()
				p.turns(time.Second, time.Minute)
				if n := p.say(401, provider.Expired, firstHold-time.Second); n != 0 {
					t.Error("told of while good answers came between just now")
				}
				if n := p.say(401, provider.Expired, 2*time.Second); n != 1 {
					t.Error("not told of after half a minute")
				}
				p.says(200, provider.OK)
				ends(p)
				if n := p.say(401, provider.Expired, time.Second); n != 1 {
					t.Error("not told of at once")
				}
			})
		})
	}
}
