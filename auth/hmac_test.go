package auth

import (
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
)

func TestHMACSchemes(t *testing.T) {
	var names []string
	for _, s := range schemes {
		names = append(names, s.name)
	}
	if !slices.Equal(names, provider.HMACSchemes) {
		t.Errorf("the schemes are %q, and the configuration takes %q", names, provider.HMACSchemes)
	}
}

func schemed(scheme string, places ...provider.Place) *provider.Provider {
	p := crm(places...)
	p.HMAC = scheme
	return p
}

func hmacRecord(id, key string) *credential.Credential {
	return record("hmac", "key_id", id, "key", key)
}

// The example of Hawk's API.md and README, with and without its payload.
func TestHawk(t *testing.T) {
	made, wrong := prepareHawk("dh37fgj492je", hmacRecord("", "werxhqb98rpaxn39848xrunpaw3489ruxnpa98w4rxn").Field("key"))
	if wrong != "" {
		t.Fatal(wrong)
	}
	s, _ := made.(hawk)
	req := request(t, "http://EXAMPLE.com:8000/resource/1?b=1&a=2")
	if err := s.signAt(req, "1353832234", "j4h3g2", "some-app-ext-data"); err != nil {
		t.Fatal(err)
	}
	want := `Hawk id="dh37fgj492je", ts="1353832234", nonce="j4h3g2", ext="some-app-ext-data", mac="6R4rV5iE+NPoym+WwjeHzjAGXUtLNIxmo1vpMofpLAE="`
	if got := req.Header.Get("Authorization"); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	req.Method = "post"
	req.Header.Set("Content-Type", "Text/Plain; charset=utf-8")
	HoldBody(req, []byte("Thank you for flying Hawk"))
	if err := s.signAt(req, "1353832234", "j4h3g2", "some-app-ext-data"); err != nil {
		t.Fatal(err)
	}
	want = `Hawk id="dh37fgj492je", ts="1353832234", nonce="j4h3g2", hash="Yi9LfIIFRtBEPt74PVmbTF/xVAwPn7ub15ePICfgnuY=", ext="some-app-ext-data", mac="aSe1DERmZuRl3pI36/9BdZmnErTw3sNzOOAUlfeKjVw="`
	if got := req.Header.Get("Authorization"); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// The example of Sinch's documentation, whose signature is over /v1/sms.
func TestSinch(t *testing.T) {
	i, err := Mint(t.Context(), Material{
		Provider: schemed("sinch"), Credential: hmacRecord("5F5C418A0F914BBC8234A9BF5EDDAD97", "JViE5vDor0Sw3WllZka15Q=="),
		Now: func() time.Time { return time.Date(2014, 6, 4, 13, 41, 58, 0, time.UTC) },
	})
	if err != nil {
		t.Fatal(err)
	}
	req := rawRequest(t, "POST", "https://messagingapi.sinch.com", "/v1/sms/+46700000000?x=1", "", "Content-Type", "application/json", "x_timestamp", "evil", "Authorization", "evil")
	body := `{"message":"Hello world"}`
	req.Body, req.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
	if need := i.BodyNeed(req); need != BodyInMemory {
		t.Errorf("BodyNeed is %d", need)
	}
	if err := i.Inject(req); err != nil {
		t.Fatal(err)
	}
	want := http.Header{
		"Authorization": {"Application 5F5C418A0F914BBC8234A9BF5EDDAD97:qDXMwzfaxCRS849c/2R0hg0nphgdHciTo7OdM6MsdnM="},
		"X-Timestamp":   {"2014-06-04T13:41:58Z"}, "Content-Type": {"application/json"},
	}
	if len(req.Header) != 3 || req.Header.Get("Authorization") != want.Get("Authorization") || req.Header.Get("X-Timestamp") != want.Get("X-Timestamp") {
		t.Errorf("the header is %v", req.Header)
	}
	if got := string(readAll(t, req.Body)); got != body {
		t.Errorf("the body became %s", got)
	}
}

// The minimal and the full example of Worldline's documentation, and its encoded query.
func TestWorldline(t *testing.T) {
	const gcs = "GCS v1HMAC:5e45c937b9db33ae:"
	for _, tc := range []struct {
		method, target string
		header         []string
		want           string
	}{
		{"GET", "/v1/9991/tokens/123456789", nil, gcs + "J5LjfSBvrQNhu7gG0gvifZt+IWNDReGCmHmBmth6ueI="},
		{"GET", "/v1/consumer/ANDR%C3%89E/?q=na%20me", nil, gcs + "x9S2hQmLhLTbpK0YdTuYCD8TB4D+Kf60tNW0Xw5Xls0="},
		{"DELETE", "/v1/9991/tokens/123456789", []string{
			"X-Gcs-Servermetainfo", "processed header value", "X-Gcs-Clientmetainfo", "processed header value", "Content-Type", "application/json",
			"X-Gcs-Customerheader", "processed header value", "Date", "Thu, 01 Jan 1970 00:00:00 GMT",
		}, gcs + "jGWLz3ouN4klE+SkqO5gO+KkbQNM06Rric7E3dcfmqw="},
	} {
		req := rawRequest(t, tc.method, "https://eu.sandbox.api-ingenico.com", tc.target, "", tc.header...)
		if err := signedAt(t, schemed("worldline"), hmacRecord("5e45c937b9db33ae", "I42Zf4pVnRdroHfuHnRiJjJ2B6+22h0yQt/R3nZR8Xg="), "20140606T133943Z", req); err != nil {
			t.Fatal(err)
		}
		if req.Header.Get("Authorization") != tc.want || req.Header.Get("Date") != "Fri, 06 Jun 2014 13:39:43 GMT" {
			t.Errorf("%s %s: %v, want %s", tc.method, tc.target, req.Header, tc.want)
		}
	}
}

// The example of "Sign a URL" of Google's documentation; the client id comes by a place.
func TestGoogleMaps(t *testing.T) {
	p := schemed("google-maps", provider.Place{In: provider.InQuery, Name: "client", Value: "{key_id}"})
	for _, query := range []string{"address=New+York", "address=New+York&signature=evil&client=evil"} {
		req := rawRequest(t, "GET", "https://maps.googleapis.com", "/maps/api/geocode/json?"+query, "")
		if err := signedAt(t, p, hmacRecord("clientID", "vNIXE0xscrmjlyV-12Nj_BvUPaw="), "20140606T133943Z", req); err != nil {
			t.Fatal(err)
		}
		if want := "address=New+York&client=clientID&signature=chaRF2hTJKOScPr-RQCEhZbSzIE="; req.URL.RawQuery != want {
			t.Errorf("got  %s\nwant %s", req.URL.RawQuery, want)
		}
	}
}

// The text of "Authorize with Shared Key" in Microsoft's documentation, and a signature that Azurite 3.37, Microsoft's
// emulator, takes for its public account.
func TestAzureStorage(t *testing.T) {
	req := rawRequest(t, "GET", "https://myaccount.blob.core.windows.net", "/mycontainer?restype=container&timeout=20&COMP=metadata", "",
		"X-Ms-Version", "2015-02-21", "X-Ms-Date", "Fri, 26 Jun 2015 23:39:12 GMT", "Accept", "*/*")
	want := "GET\n\n\n\n\n\n\n\n\n\n\n\nx-ms-date:Fri, 26 Jun 2015 23:39:12 GMT\nx-ms-version:2015-02-21\n/myaccount/mycontainer\ncomp:metadata\nrestype:container\ntimeout:20"
	if got, err := (azure{keyed{id: "myaccount"}}).text(req); err != nil || got != want {
		t.Errorf("got  %q %v\nwant %q", got, err, want)
	}
	req = rawRequest(t, "PUT", "http://127.0.0.1:10000", "/devstoreaccount1/box/a%20b.txt", "hello", "Content-Type", "text/plain",
		"X-Ms-Blob-Type", "BlockBlob", "X-Ms-Meta-B", "x  y", "X-Ms-Meta-A", "1", "X-Ms-Meta-A", "2", "x_ms_date", "evil", "If-None-Match", "*")
	c := hmacRecord("devstoreaccount1", "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==")
	if err := signedAt(t, schemed("azure-storage"), c, "20150626T233912Z", req); err != nil {
		t.Fatal(err)
	}
	if got := req.Header.Get("Authorization"); got != "SharedKey devstoreaccount1:VfsKGPfQA40MEC78xpl71ytNDaOee/IKI5VR7x5g65c=" || len(req.Header) != 8 || req.Header.Get("X-Ms-Meta-A") != "1,2" {
		t.Errorf("%v", req.Header)
	}
	unknown := request(t, "https://myaccount.blob.core.windows.net/box/file")
	unknown.Body, unknown.ContentLength = io.NopCloser(strings.NewReader("hello")), -1
	if i := mustMint(t, schemed("azure-storage"), c); i.BodyNeed(unknown) != BodyInMemory || i.Inject(unknown) != nil || unknown.ContentLength != 5 {
		t.Errorf("a body of unknown length is sent with length %d", unknown.ContentLength)
	}
}

func TestHMACRefuses(t *testing.T) {
	for _, tc := range []struct {
		name string
		p    *provider.Provider
		c    *credential.Credential
		says string
	}{
		{"no scheme", crm(), hmacRecord("a", "a2V5"), "names no signing scheme"},
		{"no id", schemed("hawk"), record("hmac", "key", "k"), "field key_id is missing, which hawk signs with"},
		{"an id that ends its place", schemed("hawk"), hmacRecord(`x", mac="`, "k"), "field key_id has a character"},
		{"a key that is not base64", schemed("sinch"), hmacRecord("a", "canary!"), "field key is not base64"},
		{"a key of the other alphabet", schemed("azure-storage"), hmacRecord("a", "a-_canary"), "field key is not base64"},
		{"a place and the signature", schemed("hawk", header("authorization", "{org}")), record("hmac", "key", "k", "key_id", "i", "org", "o"), "two places fill the header authorization"},
	} {
		err := Validate(tc.p, tc.c)
		if !errors.Is(err, fault.InvalidRequest) || !strings.Contains(fault.From(err).Detail, tc.says) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: got %v, want %q", tc.name, err, tc.says)
		}
	}
	for _, scheme := range []string{"worldline", "azure-storage"} {
		i := mustMint(t, schemed(scheme), hmacRecord("a", "a2V5"))
		if err := i.Inject(request(t, "https://crm.example/?a=%zz")); !errors.Is(err, fault.InvalidRequest) {
			t.Errorf("%s: a broken query: %v", scheme, err)
		}
	}
}
