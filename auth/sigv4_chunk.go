package auth

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"io"
	"strconv"
	"strings"
	"time"

	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// maxChunkSize bounds one chunk, which is in memory while it is signed. Clients
// of S3 send 64 or 128 KiB.
const maxChunkSize = 1 << 20

// chunkSigner reads a body in S3's signed chunks and gives it with the
// signatures of ours. It is as long as it was: nothing but the signatures'
// digits changes
// (https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html).
type chunkSigner struct {
	src    *bufio.Reader
	closer io.Closer
	signer *v4.StreamSigner
	now    time.Time

	out bytes.Buffer // signed, and not yet read
	end error        // after that
}

func newChunkSigner(body io.ReadCloser, s *v4.StreamSigner, now time.Time) *chunkSigner {
	return &chunkSigner{src: bufio.NewReader(body), closer: body, signer: s, now: now}
}

// Close implements io.Closer.
func (c *chunkSigner) Close() error { return c.closer.Close() }

// Read implements io.Reader. Its errors are those of the body, or *fault.Fault:
// invalid_request where that is not what was announced.
func (c *chunkSigner) Read(p []byte) (int, error) {
	for c.out.Len() == 0 {
		if c.end != nil {
			return 0, c.end
		}
		c.end = c.next()
	}
	return c.out.Read(p)
}

var errChunks = refuse("the body is not in the signed chunks that X-Amz-Content-Sha256 announces")

const chunkSignature = ";chunk-signature="

// next signs one chunk; io.EOF after the last.
func (c *chunkSigner) next() error {
	line, err := c.line()
	if err != nil {
		return err
	}
	digits, signature, ok := strings.Cut(line, chunkSignature)
	size, bad := strconv.ParseUint(digits, 16, 32)
	if !ok || bad != nil || len(signature) != 64 {
		return errChunks
	}
	if size > maxChunkSize {
		return refuse("a signed chunk of the body is larger than 1 MiB")
	}
	data := make([]byte, size)
	if _, err := io.ReadFull(c.src, data); err != nil {
		return cutShort(err)
	}
	if end, err := c.line(); err != nil || end != "" {
		return errors.Join(err, errChunks)
	}
	made, err := c.signer.GetSignature(context.Background(), nil, data, c.now)
	if err != nil {
		return refuse("a chunk of the body could not be signed")
	}
	c.out.WriteString(digits + chunkSignature + hex.EncodeToString(made) + "\r\n")
	c.out.Write(data)
	c.out.WriteString("\r\n")
	if size > 0 {
		return nil
	}
	if _, err := c.src.ReadByte(); !errors.Is(err, io.EOF) {
		return errors.Join(err, errChunks)
	}
	return io.EOF
}

// line gives what stands before the next CRLF.
func (c *chunkSigner) line() (string, error) {
	b, err := c.src.ReadSlice('\n')
	if err != nil {
		return "", cutShort(err)
	}
	text, ok := strings.CutSuffix(string(b), "\r\n")
	if !ok {
		return "", errChunks
	}
	return text, nil
}

// cutShort tells of a body that ends within a chunk, or whose line is too long.
func cutShort(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, bufio.ErrBufferFull) {
		return errChunks
	}
	return err
}
