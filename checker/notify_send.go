package checker

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/sallyport/sallyport/internal/fault"
)

// Bounds of sending events.
const (
	sendLimit   = 10 * time.Second // each
	sendPause   = time.Second      // after a failure, doubled
	maxPause    = 5 * time.Minute
	fewTroubles = 64      // whose file is written for each event
	drainAnswer = 4 << 10 // bytes of an answer that are read, so that the connection can be used again
)

// newNotifications makes the counter notifications_total.
func newNotifications(r prometheus.Registerer) *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "sallyport_notifications_total", Help: "Events sent to the webhook of [notify], by outcome: ok, or failed and sent again later.",
	}, []string{"outcome"})
	c.WithLabelValues("ok")
	c.WithLabelValues("failed")
	if r != nil {
		_ = r.Register(c) // a second Notifier of one process is not measured
	}
	return c
}

// send sends events, one at a time, until ctx ends. After a failure all wait, and
// another event is tried first.
func (n *Notifier) send(ctx context.Context) {
	wait := &backoff.ExponentialBackOff{InitialInterval: sendPause, RandomizationFactor: 0.5, Multiplier: 2, MaxInterval: maxPause}
	wait.Reset()
	failing := false
	for ctx.Err() == nil {
		if n.renewed() {
			wait.Reset()
		}
		target := n.o.Target()
		ref, event := n.take(target)
		if event == nil {
			n.rest(ctx, -1)
			continue
		}
		err := post(ctx, target, event)
		if ctx.Err() != nil { // it is sent again after the start
			return
		}
		n.done(ref, err)
		switch {
		case err == nil:
			if failing {
				n.o.Log.Info("the webhook takes events again")
			}
			failing = false
			wait.Reset()
			continue
		case !failing:
			n.o.Log.Warn("the webhook does not take events; they are sent again", "error", err)
			failing = true
		}
		n.rest(ctx, wait.NextBackOff())
	}
}

// rest waits: for something to send if d is negative, else for d or another target.
func (n *Notifier) rest(ctx context.Context, d time.Duration) {
	var over <-chan time.Time
	if d >= 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		over = t.C
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-over:
			return
		case <-n.work:
			if d < 0 || n.isFresh() {
				return
			}
		}
	}
}

func (n *Notifier) isFresh() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.fresh
}

// renewed reports whether the target may be another one since it was asked last.
func (n *Notifier) renewed() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	fresh := n.fresh
	n.fresh = false
	return fresh
}

// take gives the next event to send: the oldest of those that were tried longest ago.
func (n *Notifier) take(target *Target) (ref string, e *Event) {
	if target == nil {
		return "", nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	var first *trouble
	for r, t := range n.troubles {
		if t.Event == nil {
			continue
		}
		if c := 0; first != nil {
			if c = t.tried.Compare(first.tried); c == 0 {
				c = t.Event.At.Compare(first.Event.At)
			}
			if c >= 0 {
				continue
			}
		}
		ref, first = r, t
	}
	if first == nil {
		return "", nil
	}
	first.sending, first.tried = true, time.Now()
	return ref, first.Event
}

// done takes note of what became of the event that was taken.
func (n *Notifier) done(ref string, err error) {
	outcome := "ok"
	if err != nil {
		outcome = "failed"
	}
	n.sent.WithLabelValues(outcome).Inc()
	if n.settled(ref, err) {
		n.Save()
	}
}

// settled takes note of it, and reports whether that is to be kept at once.
func (n *Notifier) settled(ref string, err error) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	t := n.troubles[ref]
	if t == nil || !t.sending { // it was forgotten meanwhile
		return false
	}
	was := *t
	t.sent(err)
	_, over := t.settle(ref, time.Now())
	if over {
		delete(n.troubles, ref)
	}
	n.dirty = n.dirty || over || t.Told != was.Told || t.Event != was.Event
	return len(n.troubles) <= fewTroubles || time.Since(n.saved) > watchEvery // of many the rest is kept at the next look
}

// post sends one event. Its error holds nothing of the URL, which may be a secret.
func post(ctx context.Context, to *Target, e *Event) error {
	body, err := json.Marshal(e)
	if err != nil {
		return err
	}
	key, err := to.Key()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, sendLimit)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to.URL, bytes.NewReader(body))
	if err != nil {
		return errors.New("notify.url is no URL")
	}
	mac := key.MAC(body)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", userAgent)
	req.Header.Set("Sallyport-Event", e.Event)
	req.Header.Set("Sallyport-Event-Id", e.ID)
	req.Header.Set("Sallyport-Signature", "sha256="+hex.EncodeToString(mac[:]))
	resp, err := to.Client().Do(req)
	if err != nil {
		f := fault.From(err)
		return fault.New(f.Code, f.Detail, nil)
	}
	defer func() { _ = resp.Body.Close() }()
	_, _ = io.CopyN(io.Discard, resp.Body, drainAnswer)
	if resp.StatusCode/100 != 2 {
		return errors.New("it answered " + strconv.Itoa(resp.StatusCode))
	}
	return nil
}
