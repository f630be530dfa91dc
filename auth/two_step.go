package auth

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
	"github.com/sallyport/sallyport/internal/secret"
)

// twoStep is the type whose fields are the provider's to say.
const twoStep = "two_step"

// callLogin is the login call that the provider describes.
func callLogin(k Kind, m Material) (tokenCall, error) {
	l := m.Provider.Login
	if l.Path == "" {
		return nil, unfit("provider %s has no login; set path of its [provider.login]", m.Provider.Name)
	}
	base, err := k.apiURL(m)
	if err != nil {
		return nil, err
	}
	path, query, hasQuery := strings.Cut(l.Path, "?")
	if path, err = fillWith(path, m.Credential.Field, putPath); err != nil {
		return nil, err
	}
	if hasQuery {
		if query, err = fillWith(query, m.Credential.Field, putForm); err != nil {
			return nil, err
		}
		path += "?" + query
	}
	c := apiCall{method: l.Method, url: base + path, read: readerOf(l)}
	if c.method == "" {
		c.method = http.MethodPost
	}
	if l.Body == "" {
		return c, nil
	}
	c.contentType, c.body, err = FillBody(l.Body, l.JSON(), m.Credential.Field)
	return c, err
}

// FillBody puts the values of fields into a body that is JSON or a form, escaped as
// that wants. Errors are *fault.Fault and name the field, never its value.
func FillBody(body string, isJSON bool, get func(field string) secret.Value) (contentType, text string, err error) {
	put := putForm
	contentType = "application/x-www-form-urlencoded"
	if isJSON {
		put, contentType = putJSON, "application/json"
	}
	text, err = fillWith(body, get, put)
	return contentType, text, err
}

// What stands for a value in the parts of a login call.

func putPath(_, v string) (text, wrong string) {
	if v == "." || v == ".." {
		return "", "is a dot segment of a path"
	}
	return url.PathEscape(v), fitText(v)
}

func putForm(_, v string) (text, wrong string) { return url.QueryEscape(v), fitText(v) }

// putJSON escapes what stands inside of quotes. Outside of them a value must be a
// number, true or false.
func putJSON(written, v string) (text, wrong string) {
	if wrong := fitText(v); wrong != "" {
		return "", wrong
	}
	if insideString(written) {
		q := quote(v)
		return q[1 : len(q)-1], ""
	}
	var scalar any
	if json.Unmarshal([]byte(v), &scalar) == nil {
		switch scalar.(type) {
		case float64, bool:
			return v, ""
		}
	}
	return "", "is no number, true or false, and its place in the body has no quotes"
}

// insideString reports whether a JSON text breaks off inside of a string.
func insideString(s string) bool {
	in := false
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '"':
			in = !in
		case s[i] == '\\' && in:
			i++
		}
	}
	return in
}

// readerOf gives what reads the answers of a login.
func readerOf(l provider.Login) func(reply) answer {
	token, _ := provider.ParseJSONPath(l.Token) // configs has judged them
	expires, _ := provider.ParseJSONPath(l.ExpiresIn)
	life, err := time.ParseDuration(l.ExpiresIn)
	return func(r reply) answer {
		if a, ok := refusedLogin(r); ok {
			return a
		}
		d := json.NewDecoder(bytes.NewReader(r.Body))
		d.UseNumber()
		var doc any
		if d.Decode(&doc) != nil {
			return answer{}
		}
		v, _ := token.Find(doc)
		a := answer{AccessToken: tokenText(v)}
		if a.AccessToken == "" && r.Status/100 == 2 {
			a.refusal, a.told = fault.InvalidGrant, "answered "+strconv.Itoa(r.Status)+" without a token at "+l.Token+": it refuses the login, or the provider's login.token is wrong"
		}
		if err == nil {
			a.ExpiresIn = life.Seconds()
			return a
		}
		v, _ = expires.Find(doc)
		a.ExpiresIn, a.ExpiresAt = lifeOrEnd(v)
		return a
	}
}

// refusedLogin: a page of HTML is not believed; it is somebody's in between.
func refusedLogin(r reply) (answer, bool) {
	switch r.Status {
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusUnprocessableEntity:
		if strings.Contains(r.Type, "html") {
			return answer{}, false
		}
		return answer{refusal: fault.InvalidGrant, told: "answered " + strconv.Itoa(r.Status) + " to the login: check the fields that it sends"}, true
	}
	return answer{}, false
}

func tokenText(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case json.Number:
		return v.String()
	}
	return ""
}

// lifeOrEnd tells seconds from a time: RFC 3339, or a number too large to be a
// life, of Unix seconds or milliseconds.
func lifeOrEnd(v any) (life, end any) {
	if n, ok := v.(json.Number); ok {
		v = n.String()
	}
	switch s := seconds(v); {
	case s >= maxLife.Seconds()*1000:
		return nil, s / 1000
	case s >= maxLife.Seconds():
		return nil, s
	case s > 0:
		return s, nil
	}
	return nil, v
}
