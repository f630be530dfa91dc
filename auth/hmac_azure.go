package auth

import (
	"crypto/sha256"
	"encoding/base64"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/secret"
)

// azure is Shared Key of the Blob, Queue and File services
// (https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key).
// key_id is the account's name.
type azure struct{ keyed }

func prepareAzure(id string, key secret.Value) (signer, string) {
	k, wrong := base64Key(key, base64.StdEncoding)
	return azure{keyed{id, k}}, wrong
}

func (azure) owns() []string { return []string{"Authorization", "X-Ms-Date"} }

// The length is signed: a body of unknown length is read.
func (azure) needs(req *http.Request) BodyNeed {
	if hasBody(req) && req.ContentLength < 0 {
		return BodyInMemory
	}
	return BodyAsItIs
}

// azureVersion is sent where the runner names no version: the service wants one.
const azureVersion = "2021-12-02"

func (s azure) sign(req *http.Request, now time.Time) error {
	if hasBody(req) && req.ContentLength < 0 {
		if _, err := inMemory(req); err != nil {
			return err
		}
	}
	req.Header["X-Ms-Date"] = []string{httpDate(now)}
	if req.Header.Get("X-Ms-Version") == "" {
		req.Header["X-Ms-Version"] = []string{azureVersion}
	}
	text, err := s.text(req)
	if err != nil {
		return err
	}
	req.Header["Authorization"] = []string{"SharedKey " + s.id + ":" + mac(sha256.New, s.key, text)}
	return nil
}

// text is what is signed.
func (s azure) text(req *http.Request) (string, error) {
	resource, err := s.resource(req.URL)
	if err != nil {
		return "", err
	}
	length := ""
	if req.ContentLength > 0 {
		length = strconv.FormatInt(req.ContentLength, 10)
	}
	get := req.Header.Get
	return strings.Join([]string{
		req.Method, get("Content-Encoding"), get("Content-Language"), length, get("Content-Md5"), get("Content-Type"), "", // x-ms-date stands for Date
		get("If-Modified-Since"), get("If-Match"), get("If-None-Match"), get("If-Unmodified-Since"), get("Range"),
		named(req.Header, "x-ms-") + resource,
	}, "\n"), nil
}

// resource is the account, the path and the parameters, each in a line of its own.
func (s azure) resource(u *url.URL) (string, error) {
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return "", refuse("the query is not validly encoded, so it cannot be signed")
	}
	params := map[string][]string{}
	for name, values := range query {
		lower := strings.ToLower(name)
		params[lower] = append(params[lower], values...)
	}
	path := u.EscapedPath()
	if path == "" {
		path = "/"
	}
	text := "/" + s.id + path
	for _, name := range slices.Sorted(maps.Keys(params)) {
		values := params[name]
		slices.Sort(values)
		text += "\n" + name + ":" + strings.Join(values, ",")
	}
	return text, nil
}
