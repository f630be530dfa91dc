package auth

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"slices"
	"time"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/secret"
)

// States of a grant. The zero state is idle: nobody refreshes it.
const (
	claimed   = "claimed"   // its owner is about to spend the refresh token, or has
	ambiguous = "ambiguous" // it was spent, and no answer came back
	dead      = "dead"      // the authorization server refuses it
)

// claimVersion is of the form below. A record of a later form is not touched.
const claimVersion = 1

// maxDead bounds the tombstones that a record keeps.
const maxDead = 8

// claim is what a record's sallyport_state says about its grant, under "grant":
// the lock over processes and hosts, and the intent that is written before a
// refresh token is spent. It holds no secret.
type claim struct {
	V         int        `json:"v"`
	Gen       int        `json:"gen,omitempty"` // how often the grant was refreshed
	State     string     `json:"state,omitempty"`
	ID        string     `json:"id,omitempty"`        // of the claim
	Owner     string     `json:"owner,omitempty"`     // state directory that claimed it
	Journaled bool       `json:"journaled,omitempty"` // the owner's journal tells whether the token was sent
	Token     string     `json:"token,omitempty"`     // fingerprint of the refresh token it is about
	Sent      int        `json:"sent,omitempty"`      // how often that was sent without an answer
	First     *time.Time `json:"first,omitempty"`     // when it was sent first
	Stays     bool       `json:"stays,omitempty"`     // the last answer brought no other refresh token: it is likely good for more than one use
	Failed    int        `json:"failed,omitempty"`    // how often in a row nothing was sent, or the server was too busy
	After     *time.Time `json:"after,omitempty"`     // the server is not to be asked before
	Wait      float64    `json:"wait,omitempty"`      // seconds that After was away when it was set
	Ends      *time.Time `json:"ends,omitempty"`      // of the refresh token; nil: not known
	Dead      []string   `json:"dead,omitempty"`      // fingerprints of refused refresh tokens, never sent again

	more map[string]json.RawMessage // members of a later version
}

// grantMember of sallyport_state holds the claim.
const grantMember = "grant"

// fingerprint tells refresh tokens of one record apart without giving any away.
func fingerprint(ref credential.Ref, refreshToken secret.Value) string {
	mac := hmac.New(sha256.New, []byte("sallyport refresh token "+ref.String()))
	mac.Write([]byte(refreshToken.Reveal()))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil)[:15])
}

// claimOf reads the claim of a record; one without any has the zero claim.
func claimOf(c *credential.Credential) (claim, error) {
	var cl claim
	raw := stateOf(c)[grantMember]
	if len(raw) == 0 {
		return cl, nil
	}
	if json.Unmarshal(raw, &cl) != nil || json.Unmarshal(raw, &cl.more) != nil || cl.V > claimVersion {
		return cl, fault.New(fault.Internal, "the record's sallyport_state was written by a later version of sallyport", nil)
	}
	return cl, nil
}

// stateOf reads a record's sallyport_state, an object; anything else is none.
func stateOf(c *credential.Credential) map[string]json.RawMessage {
	state := map[string]json.RawMessage{}
	if json.Unmarshal([]byte(c.Field(credential.StateField).Reveal()), &state) != nil || state == nil {
		return map[string]json.RawMessage{}
	}
	return state
}

// write puts the claim into the record, beside what others keep in its state.
func (cl claim) write(c *credential.Credential) {
	cl.V = claimVersion
	own, _ := json.Marshal(cl) // strings, numbers and times cannot fail
	var members map[string]json.RawMessage
	_ = json.Unmarshal(own, &members) // it was just written
	for name, v := range cl.more {
		if _, known := members[name]; !known && !slices.Contains(claimMembers, name) {
			members[name] = v
		}
	}
	state := maps.Clone(stateOf(c))
	state[grantMember], _ = json.Marshal(members)
	b, _ := json.Marshal(state)
	c.Set(credential.StateField, secret.New(string(b)))
}

var claimMembers = []string{"v", "gen", "state", "id", "owner", "journaled", "token", "sent", "first", "stays", "failed", "after", "wait", "ends", "dead"}

// about drops what the claim says of another refresh token than the record's.
func (cl claim) about(token string) claim {
	if cl.Token != token {
		cl.State, cl.Token, cl.Sent, cl.First, cl.Ends = "", token, 0, nil, nil
		cl.ID, cl.Owner, cl.Journaled = "", "", false
		cl = cl.rested()
	}
	return cl
}

// rest has nobody ask the server for d.
func (cl claim) rest(d time.Duration, now time.Time) claim {
	cl.After, cl.Wait = timePtr(now.Add(d)), d.Seconds()
	return cl
}

// fails rests for longer and longer, and for least at least.
func (cl claim) fails(least time.Duration, now time.Time) claim {
	cl.Failed++
	return cl.rest(max(least, min(firstRetry<<min(cl.Failed-1, 10), lastRetry)), now)
}

// rested ends that.
func (cl claim) rested() claim {
	cl.Failed, cl.After, cl.Wait = 0, nil, 0
	return cl
}

// wait is how long the rest was when it began.
func (cl claim) wait() time.Duration { return min(max(lifeOf(cl.Wait), 0), maxRetry) }

// lost counts a request without an answer.
func (cl claim) lost(now time.Time) claim {
	cl.State, cl.Sent = ambiguous, cl.Sent+1
	if cl.First == nil {
		cl.First = timePtr(now)
	}
	return cl
}

// free ends a claim without a new token.
func (cl claim) free() claim {
	cl.State, cl.ID, cl.Owner, cl.Journaled = "", "", "", false
	return cl
}

// bury keeps the fingerprint of a refused token.
func (cl claim) bury() claim {
	cl = cl.free()
	cl.State = dead
	cl.Dead = append(slices.Clone(cl.Dead), cl.Token)
	if len(cl.Dead) > maxDead {
		cl.Dead = cl.Dead[len(cl.Dead)-maxDead:]
	}
	return cl
}

// buried reports whether the token was refused before.
func (cl claim) buried(token string) bool { return slices.Contains(cl.Dead, token) }

func timePtr(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC().Round(0)
	return &t
}
