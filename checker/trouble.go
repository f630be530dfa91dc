package checker

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/fault"
)

// Names of events.
const (
	eventBroken    = "credential.broken"
	eventRecovered = "credential.recovered"
)

// Event tells a webhook that a credential broke or recovered. It holds no secret.
type Event struct {
	ID             string     `json:"id"` // the same each time it is sent
	Event          string     `json:"event"`
	At             time.Time  `json:"at"`         // when it was noticed
	Credential     string     `json:"credential"` // full reference
	Provider       string     `json:"provider"`
	Type           string     `json:"type"` // empty: not known
	Status         Status     `json:"status"`
	PreviousStatus Status     `json:"previous_status"`
	Fault          *Fault     `json:"fault"`      // nil: nothing is wrong
	CheckedAt      *time.Time `json:"checked_at"` // nil: it was not checked
}

// sight is what is known of a credential at a moment.
type sight struct {
	Type      string     `json:"type"`
	Status    Status     `json:"status"`
	Fault     *Fault     `json:"-"` // Event has it
	CheckedAt *time.Time `json:"checked_at"`
}

// see gives what the use of a credential and its last report show; rep may be nil.
func see(u Use, rep *Report) sight {
	s := sight{Type: u.Type, Status: u.standing(rep)}
	if rep != nil {
		s.Type, s.CheckedAt = rep.Type, &rep.CheckedAt
	}
	switch {
	case !s.Status.broken():
	case Standing(u.Stands(rep), u.Good, nil).broken():
		s.Fault = NewFault(u.Fault)
	default:
		s.Fault = rep.Fault
	}
	return s
}

func (s Status) broken() bool { return s == Error || s == Reauthorize }

// What the receiver believes of a credential.
type belief string

const (
	good   belief = ""
	broken belief = "broken"
	unsure belief = "unsure" // it may have got what was sent last
)

// trouble is of a credential that is broken, or whose receiver may believe that.
type trouble struct {
	Broken   bool      `json:"broken"` // as it was seen last
	Told     belief    `json:"told"`
	Since    time.Time `json:"since"` // what shows that it is good is later
	Seen     sight     `json:"seen"`
	Previous Status    `json:"previous"` // before Seen
	Event    *Event    `json:"event"`    // to be sent; nil: there is nothing to tell

	sending bool      // Event is on its way
	tried   time.Time // when it was sent last
}

// breaks takes note that the credential is broken.
func (t *trouble) breaks(s sight, previous Status, since time.Time) {
	t.Broken, t.Seen, t.Previous, t.Since = true, s, previous, since
}

// mends takes note that it is good.
func (t *trouble) mends(s sight) {
	t.Broken, t.Seen, t.Previous = false, s, t.Seen.Status
}

// settle makes the event that the receiver lacks, if any, in place of one that has
// become wrong. over: there is nothing to tell, now and later.
func (t *trouble) settle(ref string, now time.Time) (changed, over bool) {
	want := ""
	switch {
	case t.sending:
		return false, false
	case t.Broken && t.Told != broken:
		want = eventBroken
	case !t.Broken && t.Told != good:
		want = eventRecovered
	}
	switch {
	case t.Event != nil && t.Event.Event == want:
		return false, false
	case want == "":
		changed, t.Event = t.Event != nil, nil
		return changed, !t.Broken
	}
	t.Event = t.event(want, ref, now)
	return true, false
}

// sent takes note of what became of Event: it arrived, it did not, or nobody knows.
func (t *trouble) sent(err error) {
	t.sending = false
	switch {
	case err == nil && t.Event.Event == eventBroken:
		t.Told, t.Event = broken, nil
	case err == nil:
		t.Told, t.Event = good, nil
	case errors.Is(err, fault.Timeout), errors.Is(err, fault.ConnectionReset):
		t.Told = unsure
	}
}

func (t *trouble) event(name, ref string, now time.Time) *Event {
	return &Event{
		ID: "evt_" + rand.Text(), Event: name, At: now.UTC().Truncate(time.Millisecond), Credential: ref, Provider: strings.Split(ref+"///", "/")[2],
		Type: t.Seen.Type, Status: t.Seen.Status, PreviousStatus: t.Previous, Fault: t.Seen.Fault, CheckedAt: t.Seen.CheckedAt,
	}
}

// encodeTroubles gives the file of what was told. It must be possible to read it again:
// where there is too much events are kept without their faults.
func encodeTroubles(all map[string]*trouble) ([]byte, error) {
	kept, left := maps.Clone(all), maxSaved
	for _, ref := range slices.Sorted(maps.Keys(all)) {
		t := all[ref]
		if t.Event == nil || t.Event.Fault == nil {
			continue
		}
		b, err := plain(t.Event.Fault)
		if err != nil {
			return nil, err
		}
		if left -= len(b); left < 0 {
			cut, event := *t, *t.Event
			event.Fault, cut.Event = nil, &event
			kept[ref] = &cut
		}
	}
	return plain(kept)
}

// plain gives JSON without the escapes of HTML, which make six bytes of one.
func plain(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return b.Bytes(), err
}
