package auth

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"os"
	"strings"

	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/file"
	"github.com/sallyport/sallyport/internal/secret"
)

// Token type identifiers (RFC 8693 section 3).
const (
	typeAccessToken = "urn:ietf:params:oauth:token-type:access_token"
	typeJWT         = "urn:ietf:params:oauth:token-type:jwt"
)

// exchangeRequest is the request of RFC 8693 section 2.1.
type exchangeRequest struct {
	tokenRequest
	file    string // that holds the subject token at the time of sending; empty: params has it
	onlyJWT bool   // the file's content goes to a place that the record names
}

func askExchange(k Kind, m Material) (tokenCall, error) {
	endpoint, err := k.tokenURL(m)
	if err != nil {
		return nil, err
	}
	r, err := k.newRequest(m, endpoint, grantExchange)
	if err != nil {
		return nil, err
	}
	r.ask(m)
	subject, path := m.Credential.Field("subject_token"), m.Credential.Field("subject_token_file").Reveal()
	switch {
	case subject.Empty() && path == "":
		return nil, unfit("field subject_token is missing; or name its file in subject_token_file")
	case !subject.Empty() && path != "":
		return nil, unfit("fields subject_token and subject_token_file are both set; keep one")
	case path != "" && (!strings.HasPrefix(path, "/") || fitText(path) != ""):
		return nil, unfit("field subject_token_file is not an absolute path")
	case path != "":
		return exchangeRequest{r, path, !m.Credential.Field("token_url").Empty()}, nil
	}
	if wrong := fitHeader(subject.Reveal()); wrong != "" {
		return nil, unfit("field subject_token %s", wrong)
	}
	r.setSubject(subject)
	return r, nil
}

// setSubject sets the token, and its type unless the provider says it.
func (r *tokenRequest) setSubject(token secret.Value) {
	r.params.Set("subject_token", token.Reveal())
	if r.params.Has("subject_token_type") {
		return
	}
	r.params.Set("subject_token_type", typeAccessToken)
	if looksLikeJWT(token.Reveal()) {
		r.params.Set("subject_token_type", typeJWT)
	}
}

// looksLikeJWT: three parts, and the first one is a JSON object that holds alg.
func looksLikeJWT(s string) bool {
	parts := strings.Split(s, ".")
	header, err := base64.RawURLEncoding.DecodeString(parts[0])
	var h struct {
		Alg string `json:"alg"`
	}
	return len(parts) == 3 && err == nil && json.Unmarshal(header, &h) == nil && h.Alg != ""
}

// send implements tokenCall. The file is read each time: whoever writes it
// renews the token in it.
func (r exchangeRequest) send(ctx context.Context, m Material) (granted, error) {
	if r.file != "" {
		subject, err := readSubject(r.file)
		if err != nil {
			return granted{}, err
		}
		if r.onlyJWT && !looksLikeJWT(subject.Reveal()) { // a record must not be the way to any secret of this machine
			return granted{}, unfit("field subject_token_file names a file without a JSON Web Token; only such a file is sent to the record's own token_url")
		}
		r.setSubject(subject)
	}
	return r.tokenRequest.send(ctx, m)
}

// readSubject reads an operator's file that holds one token.
func readSubject(path string) (secret.Value, error) {
	info, err := os.Stat(path) // what is no file could hold us up
	if err == nil && !info.Mode().IsRegular() {
		return secret.Value{}, unfit("field subject_token_file names something that is not a file")
	}
	var data []byte
	if err == nil {
		data, _, err = file.ReadOperator(path)
	}
	if err != nil {
		return secret.Value{}, fault.New(fault.FieldMissing, "field subject_token_file names a file that cannot be read", err)
	}
	v := secret.New(strings.TrimSpace(string(data)))
	switch wrong := fitHeader(v.Reveal()); {
	case v.Empty():
		return v, unfit("field subject_token_file names an empty file")
	case wrong != "" || strings.Contains(v.Reveal(), " "):
		return v, unfit("field subject_token_file names a file that holds more than a token")
	}
	return v, nil
}
