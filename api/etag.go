package api

import (
	"bytes"
	"mime"
	"net/http"
	"strconv"
	"strings"

	"github.com/cespare/xxhash/v2"
)

// revalidated gives the JSON answers of reads an ETag, so that who has one already
// need not be sent it again: RFC 9110, 13.1.2. It holds an answer back until it is
// whole, which JSON is before it is written anyway; what is streamed goes by.
func revalidated(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !isSafe(r.Method) || probes[r.URL.Path] {
			next.ServeHTTP(w, r)
			return
		}
		held := &heldAnswer{ResponseWriter: w}
		next.ServeHTTP(held, r)
		held.finish(r.Header.Values("If-None-Match"))
	})
}

// heldAnswer is a 200 of JSON that is held back until it is whole. What else is
// written to it goes on at once.
type heldAnswer struct {
	http.ResponseWriter
	isHeld   bool
	isBegun  bool // what goes on at once
	body     []byte
	volatile string // a part of the body that may differ between answers that mean the same
}

func (a *heldAnswer) WriteHeader(status int) {
	if a.isBegun || a.isHeld {
		return
	}
	mediaType, _, _ := mime.ParseMediaType(a.Header().Get("Content-Type"))
	if status == http.StatusOK && (mediaType == "application/json" || mediaType == openapiType) {
		a.isHeld = true
		return
	}
	a.isBegun = status >= http.StatusOK // 1xx are followed by another
	a.ResponseWriter.WriteHeader(status)
}

func (a *heldAnswer) Write(p []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	if a.isHeld {
		a.body = append(a.body, p...)
		return len(p), nil
	}
	return a.ResponseWriter.Write(p)
}

// hand is Write of a whole body, which is the answer's from here on.
func (a *heldAnswer) hand(body []byte) error {
	a.WriteHeader(http.StatusOK)
	if a.isHeld && a.body == nil {
		a.body = body
		return nil
	}
	_, err := a.Write(body)
	return err
}

// Unwrap is for http.ResponseController.
func (a *heldAnswer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// finish sends what was held back, unless the client has it.
func (a *heldAnswer) finish(ifNoneMatch []string) {
	if !a.isHeld {
		return
	}
	defer reuse(a.body)
	header := a.Header()
	tag := etagOf(a.body, a.volatile)
	header.Set("Cache-Control", "private, no-cache") // keep it, for this client alone, and ask before each use
	if known := knownTag(ifNoneMatch, tag); known != "" {
		header.Set("ETag", known)
		header.Del("Content-Type")
		a.ResponseWriter.WriteHeader(http.StatusNotModified)
		return
	}
	header.Set("ETag", tag)
	header.Set("Content-Length", strconv.Itoa(len(a.body))) // in one piece, unless it is compressed
	a.ResponseWriter.WriteHeader(http.StatusOK)
	_, _ = a.ResponseWriter.Write(a.body) // it fails only if the client is gone
}

// etagOf is a strong tag of a body. It is a weak one, of what remains, if a part of it
// is left out: bodies with the same tag then mean the same, but are not the same.
func etagOf(body []byte, without string) string {
	at := bytes.LastIndex(body, []byte(without))
	if without == "" || at < 0 {
		return `"` + digestOf(body, nil) + `"`
	}
	return `W/"` + digestOf(body[:at], body[at+len(without):]) + `"`
}

// digestOf is that of two parts together. It tells answers of one client apart, and
// proves nothing, so that it need not be a cryptographic one.
func digestOf(before, behind []byte) string {
	var hash xxhash.Digest
	hash.Reset()
	_, _ = hash.Write(before) // it never fails
	_, _ = hash.Write(behind)
	return strconv.FormatUint(hash.Sum64(), 36) + "-" + strconv.FormatInt(int64(len(before)+len(behind)), 36)
}

// knownTag is the tag among those of a client that is ours; empty if there is none. Of
// a compressed answer it has a suffix, for the bytes are others.
func knownTag(ifNoneMatch []string, tag string) string {
	opaque := strings.TrimPrefix(tag, "W/")
	for _, field := range ifNoneMatch {
		for sent := range strings.SplitSeq(field, ",") {
			sent = strings.TrimSpace(sent)
			if sent == "*" {
				return tag
			}
			bare := strings.TrimPrefix(sent, "W/")
			for _, suffix := range tagSuffixes {
				bare = strings.Replace(bare, suffix+`"`, `"`, 1)
			}
			if bare == opaque {
				return sent
			}
		}
	}
	return ""
}
