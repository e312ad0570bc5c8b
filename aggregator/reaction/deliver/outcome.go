package deliver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"rapport/internal/guard"
)

// sendError is why an attempt failed.
type sendError struct {
	message string
	// isDown says that the destination can take nothing just now: it isn't there, or says
	// that it can't. Else it was this delivery that it did not take.
	isDown bool
	// wait is for how long it wants to be left alone; isLimit that it takes no more for now,
	// and that all is well otherwise.
	wait    time.Duration
	isLimit bool
}

func (e *sendError) Error() string { return e.message }

// answered is what an answer's status means; nil for 2xx.
func answered(status int, header http.Header) error {
	if status >= 200 && status < 300 {
		return nil
	}
	e := &sendError{message: fmt.Sprintf("answered %d %s", status, http.StatusText(status))}
	e.message = strings.TrimSpace(e.message)
	switch {
	case status >= 300 && status < 400:
		e.message += ": redirects are not followed, so name the address that it leads to"
	case status == http.StatusTooManyRequests:
		e.isLimit, e.wait = true, retryAfter(header)
	case status >= 500, status == http.StatusRequestTimeout:
		e.isDown, e.wait = true, retryAfter(header)
	}
	return e
}

// retryAfter is for how long to wait by the Retry-After of an answer (RFC 9110), at most
// maxWait; 0 if that says nothing.
func retryAfter(header http.Header) time.Duration {
	value := strings.TrimSpace(header.Get("Retry-After"))
	if seconds, err := strconv.ParseUint(value, 10, 64); err == nil || errors.Is(err, strconv.ErrRange) {
		return time.Duration(min(seconds, uint64(maxWait/time.Second))) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return min(max(0, time.Until(at)), maxWait)
	}
	return 0
}

// unsent is why there was no answer.
func (d *Destination) unsent(err error) error {
	var refused *guard.RefusedError
	var netError net.Error
	var dns *net.DNSError
	message := ""
	switch {
	case errors.As(err, &refused):
		message = refused.Error()
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &netError) && netError.Timeout():
		message = fmt.Sprintf("no answer within %v", d.Timeout)
	case errors.As(err, &dns):
		message = "its host is not found: " + dns.Err
	default:
		// The error of net/http names the URL.
		if wrapped, ok := errors.AsType[*url.Error](err); ok {
			err = wrapped.Err
		}
		message = d.shown(err)
	}
	return &sendError{message: message, isDown: true}
}
