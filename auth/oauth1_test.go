package auth

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
)

func oauth1Record(consumer, consumerSecret, token, tokenSecret string) *credential.Credential {
	return record("oauth1", "consumer_key", consumer, "consumer_secret", consumerSecret, "token", token, "token_secret", tokenSecret)
}

func oauth1Signer(t testing.TB, c *credential.Credential) oauth1 {
	t.Helper()
	made, err := prepareOAuth1(Material{Credential: c, Provider: crm()})
	if err != nil {
		t.Fatal(err)
	}
	s, _ := made.(oauth1)
	return s
}

// Published signatures: RFC 5849 section 1.2, OAuth Core 1.0 appendix A.5, and "Creating a signature" of Twitter's documentation.
func TestOAuth1Vectors(t *testing.T) {
	photos := oauth1Record("dpf43f3p2l4k3l03", "kd94hf93k423kf44", "nnch734d00sl2jdk", "pfkkdhi9sl3r4s00")
	for _, tc := range []struct {
		name, method, url, form string
		c                       *credential.Credential
		ours                    string
		want                    string
	}{
		{
			"RFC 5849", "GET", "http://photos.example.net/photos?file=vacation.jpg&size=original", "", photos,
			"oauth_consumer_key=dpf43f3p2l4k3l03 oauth_token=nnch734d00sl2jdk oauth_signature_method=HMAC-SHA1 oauth_timestamp=137131202 oauth_nonce=chapoH",
			"MdpQcU8iPSUjWoN/UDMsK2sui9I=",
		},
		{
			"OAuth Core 1.0", "GET", "http://photos.example.net/photos?file=vacation.jpg&size=original", "", photos,
			"oauth_consumer_key=dpf43f3p2l4k3l03 oauth_token=nnch734d00sl2jdk oauth_signature_method=HMAC-SHA1 oauth_timestamp=1191242096 oauth_nonce=kllo9940pd9333jh oauth_version=1.0",
			"tR3+Ty81lMeYAr/Fid0kMTYa/WM=",
		},
		{
			"Twitter", "post", "https://api.twitter.com/1/statuses/update.json?include_entities=true", "status=Hello%20Ladies%20%2b%20Gentlemen%2c%20a%20signed%20OAuth%20request%21",
			oauth1Record("xvz1evFS4wEEPTGEFPHBog", "kAcSOqF21Fu85e7zjz7ZN2U4ZRhfV3WpwPAoE3Z7kBw", "370773112-GmHxMAgYyLbNEtIKZeRNFsMKPR9EyMZeS9weJAEb", "LswwdoUaIvS8ltyTt5jkRh4J50vUPVVHtR2YPi5kE"),
			"oauth_consumer_key=xvz1evFS4wEEPTGEFPHBog oauth_nonce=kYjzVBB8Y0ZFabxSWbWovY3uYSQ2pTgmZeNu2VS4cg oauth_signature_method=HMAC-SHA1 oauth_timestamp=1318622958 oauth_token=370773112-GmHxMAgYyLbNEtIKZeRNFsMKPR9EyMZeS9weJAEb oauth_version=1.0",
			"tnnArxj06cWHq44gCs1OSKk/jLY=",
		},
	} {
		u, err := url.Parse(tc.url)
		if err != nil {
			t.Fatal(err)
		}
		got, err := oauth1Signer(t, tc.c).signature(tc.method, u, strings.Fields(tc.ours), tc.form)
		if err != nil || got != tc.want {
			t.Errorf("%s: %s %v, want %s", tc.name, got, err, tc.want)
		}
	}
}

// The parameters and the URI of RFC 5849 sections 3.4.1.2 and 3.4.1.3.
func TestOAuth1BaseString(t *testing.T) {
	ours := []string{"oauth_consumer_key=9djdj82h48djs9d2", "oauth_token=kkk9d7dh3k39sjv7", "oauth_signature_method=HMAC-SHA1", "oauth_timestamp=137131201", "oauth_nonce=7d8f3e4a"}
	got, err := normalized(ours, "b5=%3D%253D&a3=a&c%40=&a2=r%20b", "c2&a3=2+q")
	want := "a2=r%20b&a3=2%20q&a3=a&b5=%3D%253D&c%40=&c2=&oauth_consumer_key=9djdj82h48djs9d2&oauth_nonce=7d8f3e4a&oauth_signature_method=HMAC-SHA1&oauth_timestamp=137131201&oauth_token=kkk9d7dh3k39sjv7"
	if err != nil || got != want {
		t.Errorf("got  %s %v\nwant %s", got, err, want)
	}
	for s, want := range map[string]string{
		"http://EXAMPLE.COM:80/r%20v/X?id=123": "http://example.com/r%20v/X",
		"https://www.example.net:8080/?q=1":    "https://www.example.net:8080/",
		"https://www.example.net:443":          "https://www.example.net/",
		"https://www.example.net:80/a+b/%c3":   "https://www.example.net:80/a+b/%c3",
	} {
		u, err := url.Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		if got := baseURI(u); got != want {
			t.Errorf("%s: %s, want %s", s, got, want)
		}
	}
}

func TestOAuth1Inject(t *testing.T) {
	i := mustMint(t, crm(), oauth1Record("key", "canary-cs", "tok/en", "canary-ts"))
	req := request(t, "https://crm.example/x?a=1&oauth_token=evil&OAUTH%5Fsignature=evil&b=2", "Authorization", `OAuth oauth_token="evil"`, "authorization", "evil")
	req.Method = http.MethodPost
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	form := "c=3&oauth_nonce=evil&d=%2B"
	req.Body, req.ContentLength = io.NopCloser(strings.NewReader(form)), int64(len(form))
	if need := i.BodyNeed(req); need != BodyInMemory {
		t.Errorf("BodyNeed of a form is %d", need)
	}
	if err := i.Inject(req); err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(req.Body)
	if req.URL.RawQuery != "a=1&b=2" || string(body) != "c=3&d=%2B" || req.ContentLength != 9 {
		t.Errorf("query %s, body %s of %d", req.URL.RawQuery, body, req.ContentLength)
	}
	v := req.Header.Values("Authorization")
	if len(req.Header) != 2 || len(v) != 1 || !strings.HasPrefix(v[0], `OAuth oauth_consumer_key="key", oauth_nonce="`) || !strings.Contains(v[0], `oauth_token="tok%2Fen"`) {
		t.Errorf("the header is %v", req.Header)
	}
	if s := fmt.Sprint(req.Header, req.URL, string(body)); strings.Contains(s, "canary") || strings.Contains(s, "evil") {
		t.Errorf("a secret or the runner's own stands in %s", s)
	}
	first := v[0]
	if err := i.Inject(req); err != nil || req.Header.Get("Authorization") == first {
		t.Errorf("two requests have one nonce (%v)", err)
	}
	json := request(t, "https://crm.example/x", "Content-Type", "application/json")
	json.Body = io.NopCloser(strings.NewReader("{}"))
	if need := i.BodyNeed(json); need != BodyAsItIs {
		t.Errorf("BodyNeed of JSON is %d", need)
	}
}

func TestOAuth1Refuses(t *testing.T) {
	i := mustMint(t, crm(), oauth1Record("k", "s", "t", "s"))
	zipped := request(t, "https://crm.example/", "Content-Type", "application/x-www-form-urlencoded", "Content-Encoding", "gzip")
	HoldBody(zipped, []byte("a=1"))
	for name, req := range map[string]*http.Request{
		"a broken query":    request(t, "https://crm.example/?a=%zz"),
		"a compressed form": zipped,
	} {
		if err := i.Inject(req); !errors.Is(err, fault.InvalidRequest) || req.Header.Get("Authorization") != "" {
			t.Errorf("%s: %v, want invalid_request", name, err)
		}
	}
	for says, c := range map[string]*credential.Credential{
		"field token_secret is missing":                 oauth1Record("k", "s", "t", ""),
		"field consumer_secret has a control character": oauth1Record("k", "s\x00", "t", "s"),
		"too long": oauth1Record(strings.Repeat("ü", 4<<10), "s", "t", "s"),
	} {
		if err := Validate(crm(), c); !errors.Is(err, fault.InvalidRequest) || !strings.Contains(fault.From(err).Detail, says) {
			t.Errorf("got %v, want %q", err, says)
		}
	}
	if err := Validate(crm(header("Authorization", "Key {org}")), oauth1Record("k", "s", "t", "s")); err == nil {
		t.Error("a place and the signature fill the same field")
	}
	if err := Validate(crm(header("Authorization", "Token {token}")), oauth1Record("k", "s", "t", "s")); err != nil {
		t.Errorf("the place of another kind's token: %v", err)
	}
}

func FuzzOAuth1Query(f *testing.F) {
	f.Add("a=1&oauth_token=x&b", "c=%20")
	f.Fuzz(func(t *testing.T, query, form string) {
		s := oauth1Signer(t, oauth1Record("k", "s", "t", "s"))
		req := request(t, "https://crm.example/", "Content-Type", "application/x-www-form-urlencoded")
		req.URL.RawQuery = query
		HoldBody(req, []byte(form))
		if err := s.signAt(req, "1", "n"); err != nil {
			return
		}
		for _, raw := range []string{req.URL.RawQuery, string(readAll(t, req.Body))} {
			v, _ := url.ParseQuery(raw)
			if v.Has("oauth_token") || v.Has("oauth_signature") {
				t.Errorf("%q: the runner's own signature is left", raw)
			}
		}
	})
}

func readAll(t testing.TB, r io.Reader) []byte {
	t.Helper()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
