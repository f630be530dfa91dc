package auth

import (
	"crypto/hmac"
	"encoding/base64"
	"hash"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/provider"
	"github.com/sallyport/sallyport/internal/secret"
)

// scheme is one named way of signing with a shared key. Its name is one of
// provider.HMACSchemes.
type scheme struct {
	name    string
	needsID bool
	// prepare reads the key; wrong tells what is wrong with it and quotes nothing.
	prepare func(id string, key secret.Value) (s signer, wrong string)
}

// schemes is their registry. Nobody writes it.
var schemes = []scheme{
	{"azure-storage", true, prepareAzure},
	{"google-maps", false, prepareMaps},
	{"hawk", true, prepareHawk},
	{"sinch", true, prepareSinch},
	{"worldline", true, prepareWorldline},
}

func prepareHMAC(m Material) (signer, error) {
	i := slices.IndexFunc(schemes, func(s scheme) bool { return s.name == m.Provider.HMAC })
	if i < 0 {
		return nil, unfit("provider %s names no signing scheme: its hmac must be one of %s", m.Provider.Name, strings.Join(provider.HMACSchemes, ", "))
	}
	id := m.Credential.Field("key_id").Reveal()
	if wrong := fitID(id); wrong != "" {
		return nil, unfit("field key_id %s", wrong)
	}
	if id == "" && schemes[i].needsID {
		return nil, unfit("field key_id is missing, which %s signs with", schemes[i].name)
	}
	s, wrong := schemes[i].prepare(id, m.Credential.Field("key"))
	if wrong != "" {
		return nil, unfit("field key %s", wrong)
	}
	return s, nil
}

// fitID tells what keeps a value out of the parameter of a header field.
func fitID(id string) string {
	if wrong := fitHeader(id); wrong != "" {
		return wrong
	}
	if strings.ContainsAny(id, ` ",:\`) {
		return "has a character that cannot stand in a signature: space, quote, comma, colon or backslash"
	}
	return ""
}

// base64Key reads a key in base64, with the padding or without.
func base64Key(v secret.Value, enc *base64.Encoding) ([]byte, string) {
	key, err := enc.WithPadding(base64.NoPadding).DecodeString(strings.TrimRight(v.Reveal(), "="))
	if err != nil || len(key) == 0 {
		return nil, "is not base64"
	}
	return key, ""
}

// mac gives the HMAC of text in base64.
func mac(h func() hash.Hash, key []byte, text string) string {
	return macIn(base64.StdEncoding, h, key, text)
}

func macIn(enc *base64.Encoding, h func() hash.Hash, key []byte, text string) string {
	m := hmac.New(h, key)
	m.Write([]byte(text))
	return enc.EncodeToString(m.Sum(nil))
}

// httpDate is now as the Date field has it (RFC 9110 section 5.6.7).
func httpDate(now time.Time) string { return now.UTC().Format(http.TimeFormat) }

// named gives the lower-case names of the fields that begin with prefix, sorted,
// each with its value, as "name:value\n". Servers differ in how they write a field
// that comes more than once, so it goes out as one list.
func named(h http.Header, prefix string) string {
	var lines []string
	for name, values := range h {
		lower := strings.ToLower(name)
		if !strings.HasPrefix(lower, prefix) {
			continue
		}
		if len(values) > 1 {
			values = []string{strings.Join(values, ",")}
			h[name] = values
		}
		lines = append(lines, lower+":"+strings.TrimSpace(strings.Join(values, ""))+"\n")
	}
	slices.SortFunc(lines, func(a, b string) int {
		an, _, _ := strings.Cut(a, ":")
		bn, _, _ := strings.Cut(b, ":")
		return strings.Compare(an, bn)
	})
	return strings.Join(lines, "")
}
