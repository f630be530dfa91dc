package e2e

import (
	"bytes"
	"crypto/rand"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/testserver"
)

// objects is a daemon in front of a real S3 server, with one right and one wrong credential.
type objects struct {
	*testserver.Daemon
	s3  *testserver.Versity
	url string
}

func newObjects(t *testing.T, secure bool) *objects {
	t.Helper()
	ca := testserver.NewCA(t)
	o := &objects{}
	scheme, cert := "http", ""
	if secure {
		scheme = "https"
		_, cert = ca.Leaf(t, "localhost", "127.0.0.1")
	}
	o.s3 = testserver.StartVersity(t, cert)
	o.url = scheme + "://" + o.s3.Addr
	o.Daemon = testserver.Sallyport(t, open+`
[[provider]]
name = "objects"
hosts = ["`+o.s3.Addr+`"]
base_url = "`+o.url+`"
type = "aws_sigv4"
allow_cleartext = `+fmt.Sprint(!secure)+`
ca_file = "`+ca.File+`"
[provider.verify]
path = "/"
[[provider.signal]]
status = 403
body = "SignatureDoesNotMatch"
means = "invalid"
[[provider.signal]]
body = "No user exists with the provided access key ID"
means = "invalid"
[[provider.signal]]
body = "AuthorizationHeaderMalformed"
means = "invalid"
`)
	o.Put(t, "default/production/objects/default", "aws_sigv4", o.fields(o.s3.Secret))
	return o
}

func (o *objects) fields(secret string) map[string]string {
	return map[string]string{"access_key_id": o.s3.AccessKey, "secret_access_key": secret, "region": o.s3.Region, "service": "s3"}
}

// curl sends the runner's own signature along, which is a dummy's.
func (o *objects) curl(t *testing.T, args ...string) (status, body string) {
	t.Helper()
	out, errs, exit := testserver.Curl(t, o.CurlEnv(t), append([]string{
		"-w", "\n%{http_code}", "-H", "Authorization: AWS4-HMAC-SHA256 Credential=AKIADUMMY/20200101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=00",
		"-H", "X-Amz-Date: 20200101T000000Z", "-H", "X-Amz-Security-Token: dummy",
	}, args...)...)
	if exit != 0 {
		t.Fatalf("curl %v: exit %d %s\n%s", args, exit, errs, o.Log())
	}
	i := strings.LastIndex(out, "\n")
	return out[i+1:], out[:i]
}

// want fails unless curl gets that status.
func (o *objects) want(t *testing.T, status string, args ...string) string {
	t.Helper()
	got, body := o.curl(t, args...)
	if got != status {
		t.Errorf("curl %v: status %s, want %s: %s", args, got, status, body)
	}
	return body
}

// A real S3 server takes what is signed here: names that need encoding, queries in any order, bodies of every size.
func TestSigV4Curl(t *testing.T) {
	for name, secure := range map[string]bool{"TLS": true, "in the clear": false} {
		t.Run(name, func(t *testing.T) {
			o := newObjects(t, secure)
			o.want(t, "200", "-X", "PUT", o.url+"/bucket")
			for _, key := range []string{"plain.txt", "a+b", "a%2Bb", "a%20b", "%C3%BC.txt", "a(1)!*'~", "deep/er/k=v&w", "a,b;c@d:e$f", "%41%7e"} {
				if got := roundTrip(t, o, key); got != "body of "+key {
					t.Errorf("%s came back as %q", key, got)
				}
			}
			list := o.want(t, "200", o.url+"/bucket?prefix=a%2B&list-type=2&max-keys=9&fetch-owner=")
			if strings.Count(list, "<Key>") != 1 || !strings.Contains(list, "<Key>a+b</Key>") { // a plus is one, encoded or not
				t.Errorf("the list is %s", list)
			}
			o.want(t, "200", o.url+"/bucket?acl&X-Amz-Signature=00&X-Amz-Credential=AKIADUMMY&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-SignedHeaders=host&X-Amz-Date=20200101T000000Z&X-Amz-Expires=9")
			gateway := []string{"-u", "default:" + o.Token(t, "default"), "http://" + o.Proxy + "/gateway/objects/bucket/a%20b?x-id=GetObject"}
			if out, errs, exit := testserver.Curl(t, nil, gateway...); exit != 0 || out != "body of a%20b" {
				t.Errorf("the gateway: exit %d %s %s", exit, errs, out)
			}
			o.want(t, "204", "-X", "DELETE", o.url+"/bucket/plain.txt")
			o.want(t, "404", o.url+"/bucket/plain.txt")
			o.bodies(t, secure)
		})
	}
}

func roundTrip(t *testing.T, o *objects, key string) string {
	t.Helper()
	o.want(t, "200", "--path-as-is", "-X", "PUT", "--data-binary", "body of "+key, o.url+"/bucket/"+key)
	return o.want(t, "200", "--path-as-is", o.url+"/bucket/"+key)
}

// bodies puts objects below and above what is kept in memory (1 MiB).
func (o *objects) bodies(t *testing.T, secure bool) {
	t.Helper()
	for what, size := range map[string]int{"empty": 0, "small": 10, "the limit": 1 << 20, "large": 5 << 20} {
		data := make([]byte, size)
		_, _ = rand.Read(data)
		file := filepath.Join(t.TempDir(), "data")
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, version := range []string{"--http1.1", "--http2"} {
			status, body := o.curl(t, version, "-X", "PUT", "-H", "Content-Type: application/octet-stream", "--data-binary", "@"+file, o.url+"/bucket/"+fmt.Sprint(size))
			if size > 1<<20 && !secure {
				if status != "400" || !strings.Contains(body, `"code":"invalid_request"`) {
					t.Errorf("%s in the clear: status %s %s, want invalid_request", what, status, body)
				}
				continue
			}
			if got := o.want(t, "200", o.url+"/bucket/"+fmt.Sprint(size)); status != "200" || got != string(data) {
				t.Errorf("%s %s: status %s %s; %d bytes came back of %d", what, version, status, body, len(got), size)
			}
		}
	}
}

// Each wrong part of a credential is refused by the server, and the runner is told in the server's own words.
func TestSigV4Wrong(t *testing.T) {
	o := newObjects(t, true)
	for what, tc := range map[string]struct {
		field, value, status, says string
	}{
		"secret": {"secret_access_key", "wrong" + canary, "403", "SignatureDoesNotMatch"},
		"id":     {"access_key_id", "AKIANOBODY", "404", "No user exists"},
		"region": {"region", "us-west-1", "400", "AuthorizationHeaderMalformed"},
	} {
		f := o.fields(o.s3.Secret)
		f[tc.field] = tc.value
		status, body := o.Call(t, http.MethodPut, "/api/v1/credentials/default/production/objects/wrong-"+what, map[string]any{"type": "aws_sigv4", "fields": f})
		if status != http.StatusUnprocessableEntity || strings.Contains(body, canary) {
			t.Errorf("%s: PUT: status %d, want 422: %s", what, status, body)
		}
		if status, body = o.Call(t, http.MethodPut, "/api/v1/credentials/default/production/objects/wrong-"+what+"?force=true", map[string]any{"type": "aws_sigv4", "fields": f}); status != http.StatusCreated && status != http.StatusOK {
			t.Fatalf("%s: PUT: status %d: %s", what, status, body)
		}
		if body := o.want(t, tc.status, "-H", "Sallyport-Credential: wrong-"+what, o.url+"/"); !strings.Contains(body, tc.says) {
			t.Errorf("%s: %s, want %s", what, body, tc.says)
		}
	}
	if strings.Contains(o.Log(), canary) || strings.Contains(o.Log(), o.s3.Secret) {
		t.Error("the log shows a secret")
	}
}

// A client that signs chunks with dummy keys has them signed anew; the server checks each.
func TestSigV4Chunked(t *testing.T) {
	for name, secure := range map[string]bool{"TLS": true, "in the clear": false} {
		t.Run(name, func(t *testing.T) {
			o := newObjects(t, secure)
			o.want(t, "200", "-X", "PUT", o.url+"/bucket")
			data := make([]byte, 3<<20+17)
			_, _ = rand.Read(data)
			body := chunked(data, 64<<10)
			send := func(body []byte, hash string) (int, string) {
				req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, o.url+"/bucket/chunks", bytes.NewReader(body))
				if err != nil {
					t.Fatal(err)
				}
				for k, v := range map[string]string{
					"X-Amz-Content-Sha256": hash, "Content-Encoding": "aws-chunked", "X-Amz-Decoded-Content-Length": fmt.Sprint(len(data)),
					"Authorization": "AWS4-HMAC-SHA256 Credential=AKIADUMMY, Signature=00", "X-Amz-Date": "20200101T000000Z",
				} {
					req.Header.Set(k, v)
				}
				resp, err := o.Client(t).Do(req)
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = resp.Body.Close() }()
				said, _ := io.ReadAll(resp.Body)
				return resp.StatusCode, string(said)
			}
			if status, said := send(body, "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"); status != http.StatusOK {
				t.Fatalf("status %d: %s", status, said)
			}
			if got := o.want(t, "200", o.url+"/bucket/chunks"); got != string(data) {
				t.Errorf("%d bytes came back of %d", len(got), len(data))
			}
			body[len(body)/2] = 0
			broken := bytes.Replace(body, []byte("10000;"), []byte("1000g;"), 1)
			for what, send := range map[string]func() (int, string){
				"no chunks":        func() (int, string) { return send(broken, "STREAMING-AWS4-HMAC-SHA256-PAYLOAD") },
				"a signed trailer": func() (int, string) { return send(body, "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER") },
			} {
				if status, said := send(); status != fault.New(fault.InvalidRequest, "", nil).Status() || !strings.Contains(said, `"code":"invalid_request"`) {
					t.Errorf("%s: status %d: %s", what, status, said)
				}
			}
		})
	}
}

// chunked gives data in S3's signed chunks, with signatures that are wrong.
func chunked(data []byte, size int) []byte {
	var b bytes.Buffer
	for {
		n := min(size, len(data))
		fmt.Fprintf(&b, "%x;chunk-signature=%064d\r\n", n, 0)
		b.Write(data[:n])
		b.WriteString("\r\n")
		if data = data[n:]; n == 0 {
			return b.Bytes()
		}
	}
}

// boto is what a flow would do, with keys that are nobody's.
const boto = `
import io, os, botocore, botocore.session, botocore.config
c = botocore.session.get_session().create_client("s3", region_name="us-east-1", endpoint_url=os.environ["ENDPOINT"],
    aws_access_key_id="AKIADUMMY", aws_secret_access_key="dummy", aws_session_token="dummy",
    config=botocore.config.Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1}))
c.create_bucket(Bucket="flows")
small, large = b"small", os.urandom(3 << 20)
for key, data in {"small": small, "large file+1.bin": large, "\u00fc/\u00e4(1)": small}.items():
    c.put_object(Bucket="flows", Key=key, Body=io.BytesIO(data), ContentType="text/plain", Metadata={"origin": "a  b"})
    got = c.get_object(Bucket="flows", Key=key)
    assert got["Body"].read() == data, key
    assert [v for k, v in got["Metadata"].items() if k.lower() == "origin"] == ["a  b"], got["Metadata"]
    assert c.head_object(Bucket="flows", Key=key)["ContentLength"] == len(data), key
c.copy_object(Bucket="flows", Key="copy", CopySource={"Bucket": "flows", "Key": "large file+1.bin"})
up = c.create_multipart_upload(Bucket="flows", Key="parts")["UploadId"]
part = os.urandom(5 << 20)
tags = [c.upload_part(Bucket="flows", Key="parts", UploadId=up, PartNumber=n, Body=io.BytesIO(part))["ETag"] for n in (1, 2)]
c.complete_multipart_upload(Bucket="flows", Key="parts", UploadId=up, MultipartUpload={"Parts": [{"PartNumber": n + 1, "ETag": t} for n, t in enumerate(tags)]})
assert c.get_object(Bucket="flows", Key="parts")["Body"].read() == part * 2
keys = [o["Key"] for p in c.get_paginator("list_objects_v2").paginate(Bucket="flows", PaginationConfig={"PageSize": 2}) for o in p["Contents"]]
assert len(keys) == 5, keys
url = c.generate_presigned_url("get_object", Params={"Bucket": "flows", "Key": "small"})
import urllib3
p = urllib3.ProxyManager(os.environ["HTTPS_PROXY"].split("@")[0].split("//")[0] + "//" + os.environ["HTTPS_PROXY"].split("@")[1],
    proxy_headers=urllib3.make_headers(proxy_basic_auth=os.environ["HTTPS_PROXY"].split("//")[1].split("@")[0]), ca_certs=os.environ["AWS_CA_BUNDLE"])
assert p.request("GET", url).data == small
c.delete_objects(Bucket="flows", Delete={"Objects": [{"Key": k} for k in keys]})
assert "Contents" not in c.list_objects_v2(Bucket="flows")
c.delete_bucket(Bucket="flows")
print("botocore", botocore.__version__)
`

// AWS's own client for Python works with dummy keys, over TLS and in the clear.
func TestSigV4Boto(t *testing.T) {
	o := newObjects(t, true)
	ca, _ := o.CA(t)
	proxy := o.ProxyURL(t, "default").String()
	out, err := testserver.PythonScript(t, "botocore", boto, "ENDPOINT="+o.url, "HTTP_PROXY="+proxy, "HTTPS_PROXY="+proxy,
		"AWS_CA_BUNDLE="+ca, "AWS_EC2_METADATA_DISABLED=true", "AWS_MAX_ATTEMPTS=1")
	if err != nil {
		t.Fatalf("%v\n%s\n%s", err, out, o.Log())
	}
	testserver.Took(t, strings.TrimSpace(out))
	var listed struct {
		Buckets []struct{ Name string } `xml:"Buckets>Bucket"`
	}
	if err := xml.Unmarshal([]byte(o.want(t, "200", o.url+"/")), &listed); err != nil || len(listed.Buckets) != 0 {
		t.Errorf("%v; left are %v", err, listed.Buckets)
	}
}
