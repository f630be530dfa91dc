package auth

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
)

// maxBody bounds the body that is read for a place in it, whatever the caller allows.
const maxBody = 64 << 20

func (i *Injector) addBody(p provider.Place, get getField) error {
	v, err := fill(p.Value, get, fitText)
	if err != nil {
		return err
	}
	member, pair := quote(p.Name)+":"+quote(v), url.QueryEscape(p.Name)+"="+url.QueryEscape(v)
	name := p.Name
	i.body = true
	i.set = append(i.set, func(req *http.Request) error {
		old, err := readBody(req)
		if err != nil {
			return err
		}
		switch {
		case isJSON(req):
			old, err = setMember(old, name, member)
		case isForm(req):
			old = []byte(appendPair(dropKey(string(old), name), pair))
		default:
			err = refuse("the credential goes into the body, which must be a JSON object or a form; set Content-Type accordingly")
		}
		if err != nil {
			return err
		}
		HoldBody(req, old)
		return nil
	})
	return nil
}

func refuse(detail string) error { return fault.New(fault.InvalidRequest, detail, nil) }

func readBody(req *http.Request) ([]byte, error) {
	if req.Body == nil || req.Body == http.NoBody {
		return nil, refuse("the credential goes into the body, and the request has none")
	}
	if e := req.Header.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
		return nil, refuse("the credential goes into the body, which must not be compressed")
	}
	b, err := io.ReadAll(io.LimitReader(req.Body, maxBody+1))
	if err != nil {
		return nil, fault.New(fault.InvalidRequest, "the body could not be read", err)
	}
	if len(b) > maxBody {
		return nil, refuse("the credential goes into the body, which is too large for that")
	}
	return b, req.Body.Close()
}

// heldBody is a body that is in memory.
type heldBody struct {
	*bytes.Reader
	all []byte
}

// Close implements io.Closer.
func (heldBody) Close() error { return nil }

// HoldBody makes b the body of req, which it keeps.
func HoldBody(req *http.Request, b []byte) {
	req.GetBody = func() (io.ReadCloser, error) { return heldBody{bytes.NewReader(b), b}, nil }
	req.Body = heldBody{bytes.NewReader(b), b}
	req.ContentLength, req.TransferEncoding = int64(len(b)), nil
	if req.Header.Get("Content-Length") != "" {
		req.Header.Set("Content-Length", strconv.Itoa(len(b)))
	}
}

// inMemory gives the body of req, nil if it has none, and keeps it in memory.
func inMemory(req *http.Request) ([]byte, error) {
	if !hasBody(req) {
		return nil, nil
	}
	if b, ok := req.Body.(heldBody); ok {
		return b.all, nil
	}
	b, err := io.ReadAll(io.LimitReader(req.Body, maxBody+1))
	if err != nil {
		return nil, fault.New(fault.InvalidRequest, "the body could not be read", err)
	}
	if len(b) > maxBody {
		return nil, refuse("the credential signs the body, which is too large for that")
	}
	if err := req.Body.Close(); err != nil {
		return nil, fault.New(fault.InvalidRequest, "the body could not be read", err)
	}
	HoldBody(req, b)
	return b, nil
}

// asObject puts the form that req holds into a JSON object: there are servers that
// take nothing else at their OAuth endpoints.
func asObject(req *http.Request) error {
	b, err := inMemory(req)
	if err != nil {
		return err
	}
	form, err := url.ParseQuery(string(b))
	if err != nil {
		return fault.New(fault.Internal, "", errors.New("a request to a token endpoint is no form"))
	}
	members := make(map[string]string, len(form))
	for name := range form {
		members[name] = form.Get(name)
	}
	object, err := json.Marshal(members)
	if err != nil {
		return fault.New(fault.Internal, "", errors.New("a form is no JSON object"))
	}
	HoldBody(req, object)
	req.Header.Set("Content-Type", "application/json")
	return nil
}

func mediaType(req *http.Request) string {
	t, _, err := mime.ParseMediaType(req.Header.Get("Content-Type"))
	if err != nil && !errors.Is(err, mime.ErrInvalidMediaParameter) {
		return ""
	}
	return t
}

func isJSON(req *http.Request) bool {
	t := mediaType(req)
	return t == "application/json" || strings.HasSuffix(t, "+json")
}

func isForm(req *http.Request) bool { return mediaType(req) == "application/x-www-form-urlencoded" }

// setMember gives the JSON object with member in place of every one called name,
// in any case. The values and the order of the others stay.
func setMember(object []byte, name, member string) ([]byte, error) {
	dec := json.NewDecoder(bytes.NewReader(object))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, errNoObject
	}
	out := bytes.NewBuffer(append(make([]byte, 0, len(object)+len(member)+2), '{'))
	for dec.More() {
		key, value, err := nextMember(dec)
		if err != nil {
			return nil, errNoObject
		}
		if !strings.EqualFold(key, name) {
			out.WriteString(quote(key) + ":")
			out.Write(value)
			out.WriteByte(',')
		}
	}
	if _, err := dec.Token(); err != nil {
		return nil, errNoObject
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errNoObject
	}
	out.WriteString(member + "}")
	return out.Bytes(), nil
}

var errNoObject = refuse("the credential goes into the body, which is not a JSON object")

func nextMember(dec *json.Decoder) (key string, value json.RawMessage, err error) {
	t, err := dec.Token()
	if err != nil {
		return "", nil, err
	}
	key, _ = t.(string)
	return key, value, dec.Decode(&value)
}

// quote gives s as a JSON string, without the escapes that only HTML needs.
func quote(s string) string {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(s) // a string cannot fail
	return strings.TrimSuffix(b.String(), "\n")
}
