package provider

import (
	"bytes"
	"regexp"
)

// rejectedWords, in lower case, are those of which one is in every text that
// rejectedText finds: most answers are not read further.
var rejectedWords = [][]byte{
	[]byte("invalid"), []byte("not valid"), []byte("no longer valid"), []byte("expired"), []byte("revoked"), []byte("unknown"), []byte("incorrect"),
	[]byte("unrecognized"), []byte("not recognized"), []byte("not found"), []byte("not exist"), []byte("bad "), []byte("wrong "), []byte("bad_"), []byte("malformed"),
}

// Parts of rejectedText: what keys are called, and words that may stand behind.
const (
	keyName = `(?:(?:(?:api|access|auth|authentication|authorization|bearer|oauth2?|id|security|session|app|application|client|consumer|personal|user|secret|private|subscription|service|account|license)[ _-]?)` +
		`*(?:token|jwt)s?|(?:(?:api|access|auth|secret|subscription|authentication|authorization|consumer)[ _-]?)+keys?|(?:(?:api|access|authentication|authorization|login|user|client|oauth2?)[ _-]?)*credentials?)`
	filler = `(?: (?:you|that|which|has|have|been|is|was|are|were|in|the|this|your|request|header|provided|supplied|given|sent|used|included|presented|specified|passed|either|already|or|now))`
)

// rejectedText says of a key, token or credential that it is none that the API
// takes, in words or as a code: "The API key has expired", invalid_token.
var rejectedText = regexp.MustCompile(
	`\b(?:invalid|expired|revoked|unknown|bad|incorrect|wrong|unrecognized|malformed)[ _-]?(?:(?:or|and) (?:invalid|expired|revoked|unknown|missing|inactive) )?` + keyName + `(?:exception|error|id)?\b` +
		`|\b` + keyName + `(?:[ _-]|` + filler + `{1,7} )?(?:invalid|not valid|no longer valid|expired|revoked|unknown|incorrect|unrecognized|not recognized|not found|does not exist|malformed)(?:exception|error)?\b`)

// reservations in the same text say that the credential may be taken, but not for
// this, or that another token is meant than the one that was sent.
var reservations = [][]byte{
	[]byte("scope"), []byte("permission"), []byte("privilege"), []byte("valid for"), []byte("valid to "), []byte("not allowed"), []byte("role"), []byte(" plan"),
	[]byte("csrf"), []byte("xsrf"), []byte("forgery"), []byte("captcha"), []byte("nonce"), []byte("page"), []byte("cursor"), []byte("sync"), []byte("upload"), []byte("device"), []byte("invit"), []byte("verification"),
}

// maxRejected is how much of a body is searched for it.
const maxRejected = 4 << 10

// rejected reports whether the body says beyond doubt that the credential is not
// known, or is no longer good.
func (t *bodyText) rejected() bool {
	return t.containsAny(rejectedWords...) && rejectedIn(t.lower)
}

// SaysRejected reports whether a text says beyond doubt of a key, token or
// credential that it is not known, or is no longer good. Its first 4 KiB are read.
func SaysRejected(text []byte) bool {
	return (&bodyText{unpacked: text}).rejected()
}

// rejectedIn looks at each place where lower says so, and at what stands in the
// same JSON string.
func rejectedIn(lower []byte) bool {
	lower = lower[:min(len(lower), maxRejected)]
	for _, at := range rejectedText.FindAllIndex(lower, 8) {
		said := quotedAt(lower, at[0])
		if !anyIn(said, reservations) {
			return true
		}
	}
	return false
}

// anyIn reports whether one of the words is in the text.
func anyIn(text []byte, words [][]byte) bool {
	for _, w := range words {
		if bytes.Contains(text, w) {
			return true
		}
	}
	return false
}
