package heal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// DefaultURL is where the sender keeps its record.
const DefaultURL = "https://api.bithuman.ai"

// Options say where the record is, and whose.
type Options struct {
	URL     string        // base URL, to which the paths are added
	User    string        // the user_id of the paths
	Secret  string        // for the header api-secret; it is in no error and no log
	Timeout time.Duration // of one request; 0 is 30 s
}

// Record is the sender's own record of its sessions, read over HTTP. Its methods
// may be used by many goroutines.
type Record struct {
	base   string // without a slash at its end
	secret string
	client *http.Client
	pause  func(context.Context, time.Duration) error
}

// Bounds of an answer, in bytes.
const (
	maxListBytes       = 32 << 20
	maxTranscriptBytes = 64 << 20
)

const defaultTimeout = 30 * time.Second

// NewRecord checks the options. It does not connect.
func NewRecord(o Options) (*Record, error) {
	base, err := url.Parse(o.URL)
	switch {
	case err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https":
		return nil, errors.New("the URL of the record can't be read: give it like " + DefaultURL)
	case base.User != nil || base.RawQuery != "" || base.Fragment != "":
		return nil, errors.New("the URL of the record must have no user, query or fragment: the secret has its own setting")
	case o.User == "":
		return nil, errors.New("the record needs a user: set --record-user (RAPPORT_RECORD_USER)")
	case o.Secret == "":
		return nil, errors.New("the record needs a secret: set --record-secret (RAPPORT_RECORD_SECRET)")
	case strings.ContainsFunc(o.Secret, func(r rune) bool { return r <= ' ' || r > '~' }):
		return nil, errors.New("the record's secret has a space or a character that no header can carry")
	}
	timeout := o.Timeout
	if timeout <= 0 {
		timeout = defaultTimeout
	}
	return &Record{
		base:   strings.TrimRight(base.String(), "/") + "/v2/" + url.PathEscape(o.User) + "/runtime-sessions",
		secret: o.Secret,
		client: &http.Client{
			Timeout: timeout,
			// A redirection would take the secret to somebody else.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		pause: pause,
	}, nil
}

// Sessions lists the sessions that the record has, at most limit: the record offers
// no way to those behind. An entry that can't be read is left out, and counted.
func (r *Record) Sessions(ctx context.Context, limit int) (sessions []Session, unreadable int, err error) {
	body, err := r.get(ctx, r.base+"?window=all&limit="+strconv.Itoa(limit), maxListBytes)
	if err != nil {
		return nil, 0, fmt.Errorf("reading the list of sessions: %w", err)
	}
	return parseSessions(body)
}

// Transcript is what was said in a session.
func (r *Record) Transcript(ctx context.Context, sessionID string) ([]Message, error) {
	body, err := r.get(ctx, r.TranscriptURL(sessionID), maxTranscriptBytes)
	if err != nil {
		return nil, err
	}
	return parseTranscript(body)
}

// TranscriptURL is where a transcript is read. It has no secret in it.
func (r *Record) TranscriptURL(sessionID string) string {
	return r.base + "/" + url.PathEscape(sessionID) + "/messages"
}

// How often, and how patiently, a request is tried again.
const (
	maxTries   = 5
	firstDelay = time.Second
	maxDelay   = time.Minute // that an answer may ask for
)

// errUnavailable says that the record could not serve just now.
var errUnavailable = errors.New("the record is not available")

// get reads a URL, trying again what may pass.
func (r *Record) get(ctx context.Context, link string, maxBytes int64) ([]byte, error) {
	for try := 1; ; try++ {
		body, asked, err := r.try(ctx, link, maxBytes)
		if err == nil || !errors.Is(err, errUnavailable) || ctx.Err() != nil {
			return body, err
		}
		if asked > maxDelay {
			return nil, fmt.Errorf("%w, and asks to be left alone for %s", err, asked.Round(time.Second))
		}
		if try == maxTries {
			return nil, fmt.Errorf("%w, after %d tries", err, try)
		}
		if err := r.pause(ctx, max(asked, firstDelay<<(try-1))); err != nil {
			return nil, err
		}
	}
}

// try reads a URL once. asked is for how long the record wants to be left alone.
func (r *Record) try(ctx context.Context, link string, maxBytes int64) (body []byte, asked time.Duration, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, link, nil)
	if err != nil {
		return nil, 0, errors.New("the URL of the record can't be used: check --record-url and --record-user")
	}
	request.Header.Set("api-secret", r.secret)
	request.Header.Set("Accept", "application/json")
	request.Header.Set("User-Agent", "rapport-heal")
	response, err := r.client.Do(request)
	if err != nil {
		return nil, 0, fmt.Errorf("%w: %w", errUnavailable, err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return nil, retryAfter(response.Header, time.Now()), refused(response)
	}
	body, err = io.ReadAll(io.LimitReader(response.Body, maxBytes+1))
	if err != nil {
		return nil, 0, fmt.Errorf("%w: %w", errUnavailable, err)
	}
	if int64(len(body)) > maxBytes {
		return nil, 0, fmt.Errorf("the record answered with more than %d MiB", maxBytes>>20)
	}
	return body, 0, nil
}

// refused says what to do about an answer that is no success. It repeats nothing of
// the body, which may repeat the secret.
func refused(response *http.Response) error {
	status := response.StatusCode
	switch {
	case status == http.StatusTooManyRequests || status >= 500:
		return fmt.Errorf("%w: it answered %d", errUnavailable, status)
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return fmt.Errorf("the record refused the secret (%d): check --record-secret and --record-user", status)
	case status == http.StatusNotFound:
		return fmt.Errorf("the record does not know the address (%d): check --record-url and --record-user", status)
	case status >= 300 && status < 400:
		return fmt.Errorf("the record is elsewhere (%d), and the secret goes nowhere but to --record-url: correct that", status)
	default:
		return fmt.Errorf("the record answered %d", status)
	}
}

// retryAfter reads the header of that name (RFC 9110, section 10.2.3): seconds, or a
// date.
func retryAfter(header http.Header, now time.Time) time.Duration {
	value := header.Get("Retry-After")
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(0, at.Sub(now))
	}
	return 0
}

// pause waits, or ends early with the context's error.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
