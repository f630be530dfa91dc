package auth

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
)

// signedAt mints an injector whose clock stands still, and injects.
func signedAt(t testing.TB, p *provider.Provider, c *credential.Credential, now string, req *http.Request) error {
	t.Helper()
	at, err := time.Parse("20060102T150405Z", now)
	if err != nil {
		t.Fatal(err)
	}
	i, err := Mint(t.Context(), Material{Credential: c, Provider: p, Now: func() time.Time { return at }})
	if err != nil {
		t.Fatalf("Mint(%s): %v", c.Type, err)
	}
	return i.Inject(req)
}

func signatureOf(req *http.Request) string {
	_, s, _ := strings.Cut(req.Header.Get("Authorization"), "Signature=")
	return s
}

// rawRequest has the path and query on the wire as they are written here.
func rawRequest(t testing.TB, method, base, target, body string, header ...string) *http.Request {
	t.Helper()
	req := request(t, base, header...)
	path, query, _ := strings.Cut(target, "?")
	plain, err := url.PathUnescape(path)
	if err != nil {
		t.Fatal(err)
	}
	req.Method, req.URL.Path, req.URL.RawPath, req.URL.RawQuery = method, plain, path, query
	if body != "" {
		HoldBody(req, []byte(body))
	}
	return req
}

// The vectors of AWS's own suite (aws-sig-v4-test-suite) whose signed fields are those that we sign.
func TestSigV4Suite(t *testing.T) {
	const exampleKey = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
	form := []string{"Content-Type", "application/x-www-form-urlencoded"}
	for _, tc := range []struct {
		name, method, target, body string
		header                     []string
		token                      string
		want                       string
	}{
		{name: "get-vanilla", method: "GET", target: "/", want: "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
		{name: "get-vanilla-query-order-key-case", method: "GET", target: "/?Param2=value2&Param1=value1", want: "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"},
		{name: "get-vanilla-empty-query-key", method: "GET", target: "/?Param1=value1", want: "a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb"},
		{name: "get-slash", method: "GET", target: "//", want: "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
		{name: "get-slash-dot-slash", method: "GET", target: "/./", want: "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
		{name: "get-relative", method: "GET", target: "/example/..", want: "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
		{name: "get-slashes", method: "GET", target: "//example//", want: "9a624bd73a37c9a373b5312afbebe7a714a789de108f0bdfe846570885f57e84"},
		{name: "get-slash-pointless-dot", method: "GET", target: "/./example", want: "ef75d96142cf21edca26f06005da7988e4f8dc83a165a80865db7089db637ec5"},
		{name: "post-vanilla", method: "POST", target: "/", want: "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"},
		{name: "post-x-www-form-urlencoded", method: "POST", target: "/", body: "Param1=value1", header: form, want: "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a"},
		{name: "post-sts-header-before", method: "POST", target: "/", token: "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflfKD8YUuwthAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA==", want: "85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := record("aws_sigv4", "access_key_id", "AKIDEXAMPLE", "secret_access_key", exampleKey, "region", "us-east-1", "service", "service", "session_token", tc.token)
			req := rawRequest(t, tc.method, "https://example.amazonaws.com", tc.target, tc.body, tc.header...)
			path := req.URL.EscapedPath()
			if err := signedAt(t, crm(), c, "20150830T123600Z", req); err != nil {
				t.Fatal(err)
			}
			if got := signatureOf(req); got != tc.want {
				t.Errorf("signature %s, want %s\n%s", got, tc.want, req.Header)
			}
			if req.URL.EscapedPath() != path {
				t.Errorf("the path became %s", req.URL.EscapedPath())
			}
		})
	}
}

// The examples of S3's documentation (API/sig-v4-header-based-auth).
func TestSigV4S3Examples(t *testing.T) {
	c := record("aws_sigv4", "access_key_id", "AKIAIOSFODNN7EXAMPLE", "secret_access_key", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
	for target, want := range map[string]string{
		"/?lifecycle":             "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
		"/?max-keys=2&prefix=J":   "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
		"/?prefix=%4A&max-keys=2": "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
		"/?lifecycle&X-Amz-Signature=feed&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=dummy&X-Amz-Date=1&X-Amz-Expires=2&X-Amz-SignedHeaders=host&x-amz-security-token=t": "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
		"/?lifecycle&AWSAccessKeyId=AKIADUMMY&Signature=feed&Expires=1": "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
	} {
		req := rawRequest(t, "GET", "https://examplebucket.s3.amazonaws.com", target, "", "Authorization", "AWS4-HMAC-SHA256 Credential=dummy",
			"X-Amz-Date", "19700101T000000Z", "x_amz_date", "evil", "X-Amz-Security-Token", "evil", "X_Amz_Content_Sha256", "evil", "User-Agent", "aws-cli/2")
		if err := signedAt(t, crm(), c, "20130524T000000Z", req); err != nil {
			t.Fatal(err)
		}
		if got := signatureOf(req); got != want {
			t.Errorf("%s: signature %s, want %s\n%v", target, got, want, req.Header)
		}
		if len(req.Header) != 4 || req.Header.Get(amzHash) != emptyPayload || strings.Contains(fmt.Sprint(req.Header), "evil") {
			t.Errorf("%s: the header is %v", target, req.Header)
		}
	}
}

// The chunks of S3's documentation (API/sigv4-streaming).
func TestSigV4Chunks(t *testing.T) {
	creds := aws.Credentials{AccessKeyID: "AKIAIOSFODNN7EXAMPLE", SecretAccessKey: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"}
	seed := []byte("\x4f\x23\x2c\x43\x86\x84\x1e\xf7\x35\x65\x57\x05\x26\x89\x65\xc4\x4a\x0e\x46\x90\xba\xa4\xad\xea\x15\x3f\x7d\xb9\xfa\x80\xa0\xa9")
	at := time.Date(2013, 5, 24, 0, 0, 0, 0, time.UTC)
	chunks := func(a, b, c string) string {
		return "10000;chunk-signature=" + a + "\r\n" + strings.Repeat("a", 65536) + "\r\n400;chunk-signature=" + b + "\r\n" +
			strings.Repeat("a", 1024) + "\r\n0;chunk-signature=" + c + "\r\n\r\n"
	}
	dummy := strings.Repeat("0", 64)
	body := io.NopCloser(strings.NewReader(chunks(dummy, dummy, dummy)))
	got, err := io.ReadAll(newChunkSigner(body, v4.NewStreamSigner(creds, "s3", "us-east-1", seed), at))
	want := chunks("ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
		"0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497", "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9")
	if err != nil || string(got) != want {
		t.Errorf("%v; signatures are not those of the documentation, or the bytes moved (%d of %d)", err, len(got), len(want))
	}
}

func TestSigV4BadChunks(t *testing.T) {
	sig := strings.Repeat("0", 64)
	last := "0;chunk-signature=" + sig + "\r\n\r\n"
	for name, body := range map[string]string{
		"no chunks":           "hello",
		"empty":               "",
		"no last chunk":       "5;chunk-signature=" + sig + "\r\nhello\r\n",
		"short":               "9;chunk-signature=" + sig + "\r\nhello\r\n" + last,
		"long":                "4;chunk-signature=" + sig + "\r\nhello\r\n" + last,
		"no size":             ";chunk-signature=" + sig + "\r\nhello\r\n" + last,
		"a negative size":     "-5;chunk-signature=" + sig + "\r\nhello\r\n" + last,
		"a short signature":   "5;chunk-signature=00\r\nhello\r\n" + last,
		"an endless line":     "5;" + strings.Repeat("x", 1<<16),
		"something behind":    last + "x",
		"too large":           "100001;chunk-signature=" + sig + "\r\n",
		"far too large":       "ffffffffffff;chunk-signature=" + sig + "\r\n",
		"a signed trailer":    "0;chunk-signature=" + sig + "\r\nx-amz-checksum-crc32c:sOO8/Q==\r\nx-amz-trailer-signature:" + sig + "\r\n\r\n",
		"bare line feeds":     "5;chunk-signature=" + sig + "\nhello\n" + last,
		"another unit length": "5 ;chunk-signature=" + sig + "\r\nhello\r\n" + last,
	} {
		c := newChunkSigner(io.NopCloser(strings.NewReader(body)), v4.NewStreamSigner(aws.Credentials{SecretAccessKey: "s"}, "s3", "r", nil), time.Now())
		_, err := io.ReadAll(c)
		if !errors.Is(err, fault.InvalidRequest) {
			t.Errorf("%s: %v, want invalid_request", name, err)
		}
	}
	broken := errors.New("the runner left")
	c := newChunkSigner(io.NopCloser(io.MultiReader(strings.NewReader("5;chunk-signature="+sig+"\r\nhe"), brokenOff{broken})),
		v4.NewStreamSigner(aws.Credentials{}, "s3", "r", nil), time.Now())
	if _, err := io.ReadAll(c); !errors.Is(err, broken) {
		t.Errorf("a runner's own fault became %v", err)
	}
}

func FuzzSigV4Chunks(f *testing.F) {
	sig := strings.Repeat("a", 64)
	f.Add([]byte("5;chunk-signature=" + sig + "\r\nhello\r\n0;chunk-signature=" + sig + "\r\n\r\n"))
	f.Fuzz(func(t *testing.T, body []byte) {
		s := v4.NewStreamSigner(aws.Credentials{SecretAccessKey: "s"}, "s3", "us-east-1", nil)
		got, err := io.ReadAll(newChunkSigner(io.NopCloser(bytes.NewReader(body)), s, time.Unix(0, 0)))
		if err == nil && len(got) != len(body) {
			t.Errorf("%d bytes became %d", len(body), len(got))
		}
		if err != nil && !errors.Is(err, fault.InvalidRequest) {
			t.Errorf("%v", err)
		}
	})
}

// What is signed for a body, and what the proxy is asked to do for it.
func TestSigV4Payload(t *testing.T) {
	const s3, plain, ses = "https://b.s3.eu-west-1.amazonaws.com/k", "http://b.s3.eu-west-1.amazonaws.com/k", "https://email.eu-west-1.amazonaws.com/v2"
	const hello = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
	other := strings.Repeat("ab", 32)
	body := provider.Place{In: provider.InBody, Name: "account", Value: "{account}"}
	for _, tc := range []struct {
		name, url, says string
		held            bool
		place           bool
		need            BodyNeed
		hash            string // signed, and sent to S3
		fault           bool
	}{
		{name: "S3, small", url: s3, held: true, need: BodyIfSmall, hash: hello},
		{name: "S3, large", url: s3, need: BodyIfSmall, hash: unsignedPayload},
		{name: "S3 in the clear", url: plain, need: BodyInMemory, hash: hello},
		{name: "S3, hashed by the runner", url: s3, says: other, hash: other},
		{name: "S3, unsigned by the runner", url: s3, says: unsignedPayload, hash: unsignedPayload},
		{name: "S3 in the clear, unsigned by the runner", url: plain, says: unsignedPayload, held: true, need: BodyInMemory, hash: hello},
		{name: "S3, unsigned chunks", url: s3, says: unsignedChunks, hash: unsignedChunks},
		{name: "S3, signed chunks", url: s3, says: signedChunks, hash: signedChunks},
		{name: "S3, signed chunks with a signed trailer", url: s3, says: signedChunks + "-TRAILER", fault: true},
		{name: "S3, chunks of version 4a", url: s3, says: "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD", fault: true},
		{name: "S3, nonsense", url: s3, says: "evil", held: true, need: BodyIfSmall, hash: hello},
		{name: "another service", url: ses, held: true, need: BodyInMemory},
		{name: "another service, hashed by the runner", url: ses, says: other, held: true, need: BodyInMemory},
		{name: "another service, read here", url: ses, need: BodyInMemory},
		{name: "another service, streaming", url: ses, says: signedChunks, fault: true},
		{name: "a place in the body", url: s3, says: other, held: true, place: true, need: BodyInMemory},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p, c := crm(), record("aws_sigv4", "access_key_id", "AKIA", "secret_access_key", "s", "account", "a")
			if tc.place {
				p = crm(body)
			}
			req := request(t, tc.url)
			req.Method = http.MethodPut
			text := "hello"
			if tc.place {
				text = `{"x":1}`
				req.Header.Set("Content-Type", "application/json")
			}
			if tc.held {
				HoldBody(req, []byte(text))
			} else {
				req.Body, req.ContentLength = io.NopCloser(strings.NewReader(text)), int64(len(text))
			}
			if tc.says != "" {
				req.Header.Set(amzHash, tc.says)
			}
			i := mustMint(t, p, c)
			if need := i.BodyNeed(req); need != tc.need {
				t.Errorf("BodyNeed is %d, want %d", need, tc.need)
			}
			err := i.Inject(req)
			if tc.fault {
				if !errors.Is(err, fault.InvalidRequest) || fault.From(err).Credential == "" {
					t.Errorf("got %v, want invalid_request", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := req.Header.Get(amzHash); got != tc.hash && !tc.place {
				t.Errorf("hash %q, want %q", got, tc.hash)
			}
			if tc.place && (req.Header.Get(amzHash) == other || !sha256Hex.MatchString(req.Header.Get(amzHash))) {
				t.Errorf("the hash of a body that was changed is %s", req.Header.Get(amzHash))
			}
			if got, _ := io.ReadAll(req.Body); tc.says != signedChunks && !tc.place && string(got) != text {
				t.Errorf("the body became %q", got)
			}
		})
	}
}

// S3 compares with the path that it would write; it is sent as it was signed.
func TestSigV4Paths(t *testing.T) {
	c := record("aws_sigv4", "access_key_id", "AKIA", "secret_access_key", "s")
	for sent, want := range map[string]string{
		"/a/b.txt":         "/a/b.txt",
		"/a+b":             "/a%2Bb",
		"/a%2bb":           "/a%2Bb",
		"/a(1)!*'":         "/a%281%29%21%2A%27",
		"/%41~_-.":         "/A~_-.",
		"/%C3%BC":          "/%C3%BC",
		"/a//b/../c/./":    "/a//b/../c/./",
		"/a%2Fb":           "/a%2Fb",
		"/a%20b":           "/a%20b",
		"/%25":             "/%25",
		"/a=b&c@d:e;f,g$h": "/a%3Db%26c%40d%3Ae%3Bf%2Cg%24h",
	} {
		req := rawRequest(t, "GET", "https://s3.eu-west-1.amazonaws.com", sent, "")
		before := req.URL
		if err := signedAt(t, crm(), c, "20130524T000000Z", req); err != nil {
			t.Fatal(err)
		}
		if got := req.URL.RequestURI(); got != want {
			t.Errorf("%s is sent as %s, want %s", sent, got, want)
		}
		if before.EscapedPath() != sent {
			t.Errorf("%s: the runner's own URL was changed", sent)
		}
	}
}

func TestSigV4Refuses(t *testing.T) {
	full := []string{"access_key_id", "AKIA", "secret_access_key", "canary-secret"}
	at := func(base string, hosts ...string) *provider.Provider {
		return &provider.Provider{Name: "crm", BaseURL: base, Hosts: hosts}
	}
	for _, tc := range []struct {
		name   string
		p      *provider.Provider
		fields []string
		says   string // empty: it is valid
	}{
		{"everything", at("https://objects.example"), append(full, "region", "us-east-1", "service", "s3"), ""},
		{"the base URL tells", at("https://email.eu-west-1.amazonaws.com"), full, ""},
		{"the base URL tells with a field", at("https://email.{region}.amazonaws.com", "email.{region}.amazonaws.com"), append(full, "region", "eu-west-1"), ""},
		{"a host tells", at("", "objects.example", "s3.eu-west-1.amazonaws.com:443"), full, ""},
		{"only a request tells", at("https://amazonaws.com", "*.amazonaws.com"), full, ""},
		{"no host at all", at(""), full, ""},
		{"no service", at("https://objects.example"), append(full, "region", "us-east-1"), "field service is missing, and the host objects.example does not tell it"},
		{"no region", at("https://objects.example:9000"), append(full, "service", "s3"), "field region is missing, and the host objects.example does not tell it"},
		{"a bucket behind a global name", at("https://b.s3-accelerate.amazonaws.com"), full, "field region is missing"},
		{"a region of two", at(""), append(full, "region", "us-east-1/evil", "service", "s3"), "field region has a character"},
		{"a service of two", at(""), append(full, "region", "us-east-1", "service", "s3 x"), "field service has a character"},
		{"no secret", at(""), full[:2], "field secret_access_key is missing"},
		{"an id that ends its place", at(""), append([]string{"access_key_id", "AKIA/x, SignedHeaders=host"}, full[2:]...), "field access_key_id has a character"},
		{"a secret with a newline", at(""), []string{"access_key_id", "AKIA", "secret_access_key", "canary\nsecret"}, "field secret_access_key has a control character"},
		{"a token that is no header", at(""), append(full, "session_token", "ü"), "field session_token has a character"},
	} {
		err := Validate(tc.p, record("aws_sigv4", tc.fields...))
		switch {
		case tc.says == "" && err != nil:
			t.Errorf("%s: %v", tc.name, err)
		case tc.says != "" && (!errors.Is(err, fault.InvalidRequest) || !strings.Contains(fault.From(err).Detail, tc.says)):
			t.Errorf("%s: got %v, want %q", tc.name, err, tc.says)
		case err != nil && strings.Contains(fmt.Sprint(err), "canary"):
			t.Errorf("%s: a secret is told: %v", tc.name, err)
		}
	}
}

// A request whose host tells no scope, or that cannot be signed, is not sent.
func TestSigV4RefusesRequests(t *testing.T) {
	p := &provider.Provider{Name: "crm", Hosts: []string{"*.amazonaws.com"}}
	i := mustMint(t, p, record("aws_sigv4", "access_key_id", "AKIA", "secret_access_key", "s"))
	for target, code := range map[string]fault.Code{
		"https://amazonaws.com/":                          fault.FieldMissing,
		"https://b.s3-accelerate.amazonaws.com/":          fault.FieldMissing,
		"https://s3.eu-west-1.amazonaws.com/?a=%zz":       fault.InvalidRequest,
		"https://s3.eu-west-1.amazonaws.com/?a=1;b=2&c=3": fault.InvalidRequest,
	} {
		req := request(t, target)
		if err := i.Inject(req); !errors.Is(err, code) || req.Header.Get("Authorization") != "" {
			t.Errorf("%s: %v, want %s", target, err, code)
		}
	}
	for n := range 3 * maxSigners { // what is kept for one credential is bounded
		if err := i.Inject(request(t, fmt.Sprintf("https://s%d.eu-west-1.amazonaws.com/", n))); err != nil {
			t.Fatal(err)
		}
	}
}
