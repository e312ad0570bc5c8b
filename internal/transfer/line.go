package transfer

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"rapport"
	"rapport/api/webhook"
	"rapport/internal/heal"
	"rapport/internal/redact"
)

// line is what an import needs of an exported event: see eventRow.
type line struct {
	Position    *int64            `json:"position"`
	ReceivedAt  *time.Time        `json:"received_at"`
	Fingerprint *string           `json:"fingerprint"`
	Headers     map[string]string `json:"headers"`
	Payload     *string           `json:"payload"`
	PayloadRaw  []byte            `json:"payload_raw"`
	HealedFrom  string            `json:"healed_from"`
	Erasure     *int64            `json:"erasure"`
}

// isExported tells an exported event from a delivery, which has no position, receipt
// and fingerprint.
func (l *line) isExported() bool {
	return l.Position != nil && l.ReceivedAt != nil && l.Fingerprint != nil
}

// names reports whether a line has the three all the same, even if they can't be read: it
// is then no delivery, which would become another event.
func names(text []byte) bool {
	var fields map[string]json.RawMessage
	if json.Unmarshal(text, &fields) != nil {
		return false
	}
	for _, name := range []string{"position", "received_at", "fingerprint"} {
		if _, ok := fields[name]; !ok {
			return false
		}
	}
	return true
}

// mayBeExported is quick, for most lines of deliveries.
func mayBeExported(text []byte) bool {
	return bytes.Contains(text, []byte(`"fingerprint"`)) && bytes.Contains(text, []byte(`"received_at"`))
}

// quarantined is what no event could be made of, as a live delivery would be kept.
type quarantined struct {
	body    []byte
	reason  string
	headers map[string]string
	seenAt  time.Time
}

// read is what became of a line: one of them, or none for what is no event any more.
type read struct {
	number     int64
	event      *rapport.Event
	quarantine *quarantined
	refused    error // it is kept nowhere
	undated    bool  // a delivery that tells no time
}

// decoder makes events of lines.
type decoder struct {
	mask    *redact.Rules
	now     time.Time // receipt of a delivery
	undated time.Time // receipt of a delivery that tells no time: always the same for the same file
	newest  time.Time // newest receipt in the log
	maxBody int64
}

// decode reads one line.
func (d *decoder) decode(number int64, text []byte) read {
	r := read{number: number}
	if mayBeExported(text) {
		var l line
		err := json.Unmarshal(text, &l) // what is of another kind leaves the rest readable
		if l.isExported() || names(text) {
			d.exported(&l, err, &r)
			return r
		}
	}
	d.delivery(text, &r)
	return r
}

// delivery decodes a body as it may come from the sender.
func (d *decoder) delivery(body []byte, r *read) {
	if int64(len(body)) > d.maxBody {
		r.refused = fmt.Errorf("the body has %d bytes: the server takes %d", len(body), d.maxBody)
		return
	}
	body = d.mask.Body(body) // nothing unmasked goes further than here
	event, err := webhook.Decode(body, d.now, d.newest)
	if err == nil && event.Undated {
		r.undated = true
		event, err = webhook.Decode(body, d.undated, d.newest)
	}
	if err != nil {
		r.quarantine = &quarantined{body: body, reason: err.Error(), seenAt: d.now}
		return
	}
	r.event = &event
}

// exported makes the event again that was exported.
func (d *decoder) exported(l *line, broken error, r *read) {
	if broken != nil {
		r.refused = fmt.Errorf("the exported event can't be read, export it with `rapport export events --format ndjson`: %w", broken)
		return
	}
	if !l.isExported() {
		r.refused = errors.New("the exported event is not as it was: its position, received_at or fingerprint is null")
		return
	}
	if l.Erasure != nil {
		return // a stub, or what announces one
	}
	body := l.PayloadRaw
	if l.Payload != nil {
		body = []byte(*l.Payload)
	}
	if err := d.check(l, body); err != nil {
		r.refused = err
		return
	}
	receivedAt := l.ReceivedAt.UTC().Truncate(time.Microsecond)
	event, err := d.event(l, body, receivedAt)
	if err == nil && hex.EncodeToString(event.Fingerprint[:]) != *l.Fingerprint {
		r.refused = errors.New("the exported event is not as it was: its fingerprint is not that of its payload")
		return
	}
	if masked := d.mask.Body(body); err == nil && !bytes.Equal(masked, body) {
		body = masked
		event, err = d.event(l, body, receivedAt)
	}
	if err != nil {
		r.quarantine = &quarantined{body: d.mask.Body(body), reason: err.Error(), headers: d.headers(l.Headers), seenAt: receivedAt}
		return
	}
	event.Headers = d.headers(l.Headers)
	r.event = &event
}

// earliest is before the sender existed: nothing can have been received earlier.
var earliest = time.Date(2015, time.January, 1, 0, 0, 0, 0, time.UTC)

// check looks at what surrounds the body.
func (d *decoder) check(l *line, body []byte) error {
	switch {
	case len(body) == 0:
		return errors.New("the exported event has no payload: export it with `rapport export events --format ndjson`")
	case int64(len(body)) > d.maxBody:
		return fmt.Errorf("the payload has %d bytes: the server takes %d", len(body), d.maxBody)
	case l.ReceivedAt.Before(earliest) || l.ReceivedAt.After(later(d.now, d.newest)):
		return fmt.Errorf("received_at %s can't be: check this machine's clock", l.ReceivedAt.Format(time.RFC3339))
	}
	return nil
}

func (d *decoder) event(l *line, body []byte, receivedAt time.Time) (rapport.Event, error) {
	if l.HealedFrom == "" {
		return webhook.Decode(body, receivedAt, d.newest)
	}
	event, err := heal.Decode(body, l.HealedFrom, receivedAt)
	if latest := later(receivedAt, d.newest).Add(24 * time.Hour); err == nil && (event.OccurredAt.Before(earliest) || event.OccurredAt.After(latest)) {
		err = errors.New("the healed message is of an impossible time")
	}
	return event, err
}

// headers masks what is kept of headers.
func (d *decoder) headers(headers map[string]string) map[string]string {
	for name, value := range headers {
		headers[name] = d.mask.Text(value)
	}
	return headers
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
