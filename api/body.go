package api

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// maxReserved is how much memory a declared length gets at once, in bytes:
// declaring costs nothing. What is longer is a large body.
const maxReserved = 64 << 10

// largeBodies is how much memory all large bodies may take that are being read, in
// bytes. bodyPatience is for how long one waits for its seat.
const (
	largeBodies  = 128 << 20
	bodyPatience = 5 * time.Second
)

// maxOtherBytes bounds bodies other than deliveries.
const maxOtherBytes = 1 << 20

// boundBody bounds the body of whatever is no delivery.
func boundBody(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(connection(w), r.Body, maxOtherBytes)
		next.ServeHTTP(w, r)
	})
}

// encodedBody refuses what is compressed, before it is read; nil if it is not. No
// sender compresses, and what is signed and kept are the bytes that came.
func encodedBody(r *http.Request) *problem {
	encodings := r.Header["Content-Encoding"]
	if len(encodings) == 0 || len(encodings) == 1 && (strings.EqualFold(encodings[0], "identity") || encodings[0] == "") {
		return nil
	}
	p := newProblem(http.StatusUnsupportedMediaType, "the body has a Content-Encoding: send it as it is")
	p.headers = http.Header{"Accept-Encoding": {"identity"}, "Connection": {"close"}}
	return p
}

// readBody reads a delivery, limit bytes at most. Of a body that is too long the
// rest is not read, and the connection is closed after the answer. Where a token has
// proven it already, it doesn't wait for those that strangers send.
func (s *server) readBody(w http.ResponseWriter, r *http.Request, limit int64, isProven bool) ([]byte, *problem) {
	if r.ContentLength > limit {
		return nil, s.tooLarge(limit)
	}
	if r.ContentLength >= 0 && r.ContentLength <= maxReserved {
		body := make([]byte, r.ContentLength)
		if _, err := io.ReadFull(r.Body, body); err != nil {
			return nil, unreadable()
		}
		return body, nil
	}
	body := http.MaxBytesReader(connection(w), r.Body, limit)
	buf := bytes.NewBuffer(make([]byte, 0, maxReserved+bytes.MinRead))
	_, err := io.CopyN(buf, body, maxReserved)
	if err == nil { // there may be more
		leave, ok := s.bodySeat(r, isProven)
		if !ok {
			return nil, tryAgain("as many large bodies are being read as the server has memory for; try again")
		}
		defer leave()
		_, err = buf.ReadFrom(body)
	}
	if _, long := errors.AsType[*http.MaxBytesError](err); long {
		// net/http would read on a bit before it closes, for the client's sake.
		_ = http.NewResponseController(w).SetReadDeadline(time.Now())
		return nil, s.tooLarge(limit)
	}
	if err != nil && err != io.EOF {
		return nil, unreadable()
	}
	return buf.Bytes(), nil
}

// bodySeat waits for a seat among the large bodies.
func (s *server) bodySeat(r *http.Request, isProven bool) (leave func(), ok bool) {
	if !isProven {
		return s.limits.bodies.take(r.Context(), limitKey(clientOf(r)), bodyPatience)
	}
	p := &seat{among: s.limits.proven}
	return p.leave, p.take(r.Context(), bodyPatience)
}

func unreadable() *problem {
	return newProblem(http.StatusBadRequest, "the body could not be read to its end")
}

func (s *server) tooLarge(limit int64) *problem {
	detail := fmt.Sprintf("the body has more than %d bytes", limit)
	if limit < s.MaxBodyBytes {
		detail += ", since so many secrets may have signed it: post it to /webhook/{source}, which names yours"
	}
	p := newProblem(http.StatusRequestEntityTooLarge, detail)
	p.headers = http.Header{"Connection": {"close"}}
	return p
}

// connection is net/http's own writer, which is what http.MaxBytesReader has to
// tell that the connection is not to be used again.
func connection(w http.ResponseWriter) http.ResponseWriter {
	for {
		wrapper, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return w
		}
		w = wrapper.Unwrap()
	}
}
