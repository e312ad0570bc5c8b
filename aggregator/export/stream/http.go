package stream

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// The bounds of a request.
const (
	httpRecords = 500
	httpBytes   = 512 << 10 // of the events, well below what servers take by default; one that is larger goes alone
	httpTimeout = 30 * time.Second
	maxAnswer   = 64 << 10 // that is read of an answer, so that its connection can be used again
)

// HTTPOptions are those of an HTTP endpoint.
type HTTPOptions struct {
	URL       string
	Name      string // of the stream
	Secret    string // signs; the key is the secret as it is, or what its base64 stands for if it starts with whsec_
	Transport http.RoundTripper
	Now       func() time.Time // the time that is signed; time.Now if nil
}

// HTTP posts CloudEvents 1.0 in JSON, many at a time (application/cloudevents-batch+json),
// signed by Standard Webhooks. Whatever is answered 2xx is acknowledged. Redirects are not
// followed: the signature was meant for the one that is named.
type HTTP struct {
	url    string
	name   string
	key    *standardwebhooks.Webhook
	client *http.Client
	now    func() time.Time
}

// NewHTTP makes the destination.
func NewHTTP(o HTTPOptions) (*HTTP, error) {
	key, err := signingKey(o.Secret)
	if err != nil {
		return nil, err
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	client := &http.Client{
		Transport: o.Transport, Timeout: httpTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return &HTTP{url: o.URL, name: o.Name, key: key, client: client, now: o.Now}, nil
}

func signingKey(secret string) (*standardwebhooks.Webhook, error) {
	if secret == "" {
		return nil, errors.New("it needs a secret that signs")
	}
	raw := []byte(secret)
	if encoded, found := strings.CutPrefix(secret, "whsec_"); found {
		if decoded, err := base64.StdEncoding.DecodeString(encoded); err == nil && len(decoded) > 0 {
			raw = decoded
		}
	}
	return standardwebhooks.NewWebhookRaw(raw)
}

// Send posts the records in their order, some at a time. Where a request is refused for
// what is in it, smaller ones find the event to blame, and what is before it gets through.
func (h *HTTP) Send(ctx context.Context, records []*Record) error {
	rest, most := records, httpRecords
	for len(rest) > 0 {
		batch := firstOf(rest, most)
		err := h.post(ctx, batch)
		switch {
		case err == nil:
			rest = rest[len(batch):]
		case isOfContent(err) && len(batch) > 1:
			most = len(batch) / 2
		case errors.Is(err, ErrTooLarge):
			return &PartialError{Rest: rest, TooLarge: batch, Err: err}
		default:
			return &PartialError{Rest: rest, Err: err}
		}
	}
	return nil
}

// firstOf are the first records, of so many and so many bytes at most, but one at least.
func firstOf(records []*Record, most int) []*Record {
	n, size := 0, 0
	for n < min(len(records), most) {
		size += len(records[n].Data)
		if n > 0 && size > httpBytes {
			break
		}
		n++
	}
	return records[:n]
}

// cloudEvent is one in JSON: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md
type cloudEvent struct {
	SpecVersion     string          `json:"specversion"`
	ID              string          `json:"id"`
	Source          string          `json:"source"`
	Type            string          `json:"type"`
	Subject         string          `json:"subject,omitempty"`
	Time            string          `json:"time"`
	DataContentType string          `json:"datacontenttype"`
	Data            json.RawMessage `json:"data"`
}

func (h *HTTP) body(batch []*Record) ([]byte, error) {
	events := make([]cloudEvent, len(batch))
	for i, r := range batch {
		events[i] = cloudEvent{
			SpecVersion: "1.0", ID: strconv.FormatInt(r.Position, 10), Source: "urn:rapport:" + h.name,
			Type: cmp.Or(attribute(r.Type), "rapport.event"), Subject: attribute(r.SessionID),
			Time: r.OccurredAt.UTC().Format(time.RFC3339Nano), DataContentType: "application/json", Data: r.Data,
		}
	}
	return encode(events)
}

// attribute is a text as an attribute may have it: no control characters, and no
// noncharacters. CloudEvents 1.0.2, type system.
func attribute(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r&0xFFFE == 0xFFFE || 0xFDD0 <= r && r <= 0xFDEF {
			return unicode.ReplacementChar
		}
		return r
	}, cut(text, maxAttribute))
}

// maxAttribute is how long one may be, in bytes: ids are not longer.
const maxAttribute = 512

// post sends a batch. It is ErrTooLarge if the answer is 413.
func (h *HTTP) post(ctx context.Context, batch []*Record) error {
	body, err := h.body(batch)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, h.url, bytes.NewReader(body))
	if err != nil {
		return withoutURL(err)
	}
	id, at := h.messageID(batch, body), h.now()
	signature, err := h.key.Sign(id, at, body)
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/cloudevents-batch+json")
	request.Header.Set("User-Agent", "rapport")
	request.Header.Set("Webhook-Id", id)
	request.Header.Set("Webhook-Timestamp", strconv.FormatInt(at.Unix(), 10))
	request.Header.Set("Webhook-Signature", signature)
	answer, err := h.client.Do(request)
	if err != nil {
		return withoutURL(err)
	}
	defer func() { _ = answer.Body.Close() }()
	_, _ = io.CopyN(io.Discard, answer.Body, maxAnswer)
	return judge(answer, h.now())
}

// messageID is the same whenever the same events are sent, and another one for others.
func (h *HTTP) messageID(batch []*Record, body []byte) string {
	sum := sha256.Sum256(body)
	return fmt.Sprintf("%s_%d_%d_%s", h.name, batch[0].Position, batch[len(batch)-1].Position, hex.EncodeToString(sum[:6]))
}

// withoutURL is an error of net/http without the URL, which may hold a secret.
func withoutURL(err error) error {
	if of, ok := errors.AsType[*url.Error](err); ok {
		return of.Err
	}
	return err
}

// statusError is an answer that acknowledges nothing.
type statusError struct {
	status int
	after  time.Duration // for which to wait; 0 if not told
}

func (e *statusError) Error() string {
	return fmt.Sprintf("the destination answered %d %s", e.status, http.StatusText(e.status))
}

// isOfContent reports whether a request was refused for what is in it.
func isOfContent(err error) bool {
	of, isStatus := errors.AsType[*statusError](err)
	return errors.Is(err, ErrTooLarge) ||
		isStatus && (of.status == http.StatusBadRequest || of.status == http.StatusUnprocessableEntity)
}

// RetryAfter is for how long the destination wants to be left alone; 0 if it doesn't tell.
func (e *statusError) RetryAfter() time.Duration { return e.after }

func judge(answer *http.Response, now time.Time) error {
	switch {
	case answer.StatusCode/100 == 2:
		return nil
	case answer.StatusCode == http.StatusRequestEntityTooLarge:
		return fmt.Errorf("the destination answered 413: %w", ErrTooLarge)
	}
	return &statusError{status: answer.StatusCode, after: retryAfter(answer.Header.Get("Retry-After"), now)}
}

// retryAfter reads the header: seconds, or a time. RFC 9110, 10.2.3.
func retryAfter(text string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseUint(text, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(0, at.Sub(now))
	}
	return 0
}
