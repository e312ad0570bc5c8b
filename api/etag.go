package api

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"mime"
	"net/http"
	"strings"
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
	body     bytes.Buffer
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
		return a.body.Write(p)
	}
	return a.ResponseWriter.Write(p)
}

// Unwrap is for http.ResponseController.
func (a *heldAnswer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// finish sends what was held back, unless the client has it.
func (a *heldAnswer) finish(ifNoneMatch []string) {
	if !a.isHeld {
		return
	}
	header := a.Header()
	tag := etagOf(a.body.Bytes(), a.volatile)
	header.Set("Cache-Control", "private, no-cache") // keep it, for this client alone, and ask before each use
	if known := knownTag(ifNoneMatch, tag); known != "" {
		header.Set("ETag", known)
		header.Del("Content-Type")
		a.ResponseWriter.WriteHeader(http.StatusNotModified)
		return
	}
	header.Set("ETag", tag)
	a.ResponseWriter.WriteHeader(http.StatusOK)
	_, _ = a.body.WriteTo(a.ResponseWriter) // it fails only if the client is gone
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

// digestOf is that of two parts together.
func digestOf(before, behind []byte) string {
	hash := sha256.New()
	hash.Write(before)
	hash.Write(behind)
	return base64.RawURLEncoding.EncodeToString(hash.Sum(nil)[:18])
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
