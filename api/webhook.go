package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"time"
	"unicode/utf8"

	"rapport"
	"rapport/api/webhook"
	"rapport/store/ingest"
)

const webhookPath = "/webhook"

// short takes deliveries past the router and what reads need: they are most of
// what comes, and the sender's visitor waits.
func (s *server) short(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost || r.URL.Path != webhookPath {
			next.ServeHTTP(w, r)
			return
		}
		w.Header()[requestIDHeader] = []string{requestID(r.Header.Get(requestIDHeader))}
		defer func() {
			if cause := recover(); cause != nil {
				s.recovered(&recorder{ResponseWriter: w}, r, cause)
			}
		}()
		s.receive(w, r)
	})
}

// receive is POST /webhook, the hot path.
func (s *server) receive(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	eventType, status := s.deliver(w, r)
	took := time.Since(start)
	s.Metrics.webhook(eventType, status, took)
	if s.Logger.Enabled(r.Context(), slog.LevelDebug) { // there are very many
		s.Logger.LogAttrs(r.Context(), slog.LevelDebug, "delivery",
			slog.String("event_type", eventType), slog.String("status", status), tookMs(took),
			slog.String("request_id", w.Header().Get(requestIDHeader)))
	}
}

// deliver answers one delivery, and tells its labels in the metrics. It answers
// 200 only for what is durably kept.
func (s *server) deliver(w http.ResponseWriter, r *http.Request) (eventType, status string) {
	now := s.now()
	if err := s.Verifier.VerifyHeaders(r.Header, now); err != nil {
		s.refuseProof(w, r, err)
		return typeUnknown, statusError
	}
	body, failed := readBody(w, r, s.MaxBodyBytes)
	if failed != nil {
		s.refused(r, failed)
		failed.write(w)
		return typeUnknown, statusError
	}
	if err := s.Verifier.Verify(r.Header, body, now); err != nil {
		s.refuseProof(w, r, err)
		return typeUnknown, statusError
	}
	event, err := webhook.Decode(body, now, s.DB.NewestReceipt())
	if err != nil {
		return typeUnknown, s.quarantine(w, r, body, err.Error(), now)
	}
	event.Headers = keptHeaders(r.Header, eventHeaders)
	return event.Type, s.append(w, r, &event)
}

// refuseProof keeps nothing of a delivery that is not authentic.
func (s *server) refuseProof(w http.ResponseWriter, r *http.Request, err error) {
	s.Metrics.unauthorized.WithLabelValues("webhook").Inc()
	p := unauthorized(err.Error())
	s.refused(r, p)
	p.write(w)
}

// refused tells the operator of a delivery that is not kept as an event: most
// senders send once. A flood of them is told of by some.
func (s *server) refused(r *http.Request, p *problem) {
	s.refusals.Do(func() {
		s.Logger.Warn("a delivery was refused", "status", p.Status, "reason", p.Detail, "remote", r.RemoteAddr)
	})
}

// quarantine keeps what is authentic but no event. It is kept though the sender
// may have left: most send once.
func (s *server) quarantine(w http.ResponseWriter, r *http.Request, body []byte, reason string, now time.Time) string {
	headers := keptHeaders(r.Header, quarantineHeaders)
	err := s.Ingest.Quarantine(context.WithoutCancel(r.Context()), body, reason, headers, now)
	if err != nil {
		return s.notKept(w, r, err)
	}
	p := newProblem(http.StatusUnprocessableEntity, reason)
	s.refused(r, p)
	p.write(w)
	return statusQuarantined
}

// append answers for an event, once it is in the log or in the spool.
func (s *server) append(w http.ResponseWriter, r *http.Request, event *rapport.Event) string {
	kept, err := s.Ingest.Append(r.Context(), event)
	if _, refused := errors.AsType[*ingest.RefusedError](err); refused {
		newProblem(http.StatusUnprocessableEntity, "the database refused the event; the quarantine has it, with the reason").write(w)
		return statusQuarantined
	}
	if err != nil {
		return s.notKept(w, r, err)
	}
	writeKept(w, kept)
	switch {
	case kept.Spooled:
		return statusSpooled
	case kept.Duplicate:
		return statusDuplicate
	}
	return statusSuccess
}

// notKept asks the sender to send again: the delivery was not kept, or nobody
// knows. Where the sender has left, nobody reads the answer; but it may only have
// closed its half of the connection, so 200 would be wrong.
func (s *server) notKept(w http.ResponseWriter, r *http.Request, err error) (status string) {
	p := tryAgain("the answer was not waited for; send it again")
	for _, reason := range []error{ingest.ErrOverloaded, ingest.ErrUnavailable, ingest.ErrFull, ingest.ErrClosed} {
		if errors.Is(err, reason) {
			p = tryAgain(reason.Error() + "; send it again")
		}
	}
	s.refused(r, p)
	p.write(w)
	return statusError
}

// jsonType is shared by all answers: setting it then allocates nothing.
var jsonType = []string{"application/json"}

// writeKept is written without reflection: it is the answer to every delivery.
func writeKept(w http.ResponseWriter, kept ingest.Kept) {
	body := append(make([]byte, 0, 80), `{"status":"success"`...)
	if kept.Spooled { // where it will be in the log is not known yet
		body = append(body, `,"spooled":true`...)
	} else {
		body = strconv.AppendInt(append(body, `,"position":`...), kept.Position, 10)
	}
	if kept.Duplicate {
		body = append(body, `,"duplicate":true`...)
	}
	body = append(body, "}\n"...)
	w.Header()["Content-Type"] = jsonType
	_, _ = w.Write(body) // it fails only if the sender is gone
}

// maxReserved is how much memory a declared length gets at once, in bytes:
// declaring costs nothing.
const maxReserved = 64 << 10

// readBody reads at most limit bytes. Of a longer body the rest is not read, and
// the connection is closed after the answer.
func readBody(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, *problem) {
	if r.ContentLength > limit {
		return nil, tooLarge(limit)
	}
	if r.ContentLength >= 0 && r.ContentLength <= maxReserved {
		body := make([]byte, r.ContentLength)
		if _, err := io.ReadFull(r.Body, body); err != nil {
			return nil, newProblem(http.StatusBadRequest, "the body could not be read to its end")
		}
		return body, nil
	}
	buf := bytes.NewBuffer(make([]byte, 0, maxReserved+bytes.MinRead))
	_, err := buf.ReadFrom(http.MaxBytesReader(connection(w), r.Body, limit))
	if _, long := errors.AsType[*http.MaxBytesError](err); long {
		// net/http would read on a bit before it closes, for the client's sake.
		_ = http.NewResponseController(w).SetReadDeadline(time.Now())
		return nil, tooLarge(limit)
	}
	if err != nil {
		return nil, newProblem(http.StatusBadRequest, "the body could not be read to its end")
	}
	return buf.Bytes(), nil
}

func tooLarge(limit int64) *problem {
	p := newProblem(http.StatusRequestEntityTooLarge, fmt.Sprintf("the body has more than %d bytes", limit))
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

// maxHeaderBytes bounds the value of a header that is kept.
const maxHeaderBytes = 256

// A keptHeader is a header that may help to understand a delivery later, as it
// is kept and as net/http has it. None is a proof.
type keptHeader struct{ name, key string }

// eventHeaders tell deliveries apart. What is the same for all of them would be
// a burden on every row of the log.
var eventHeaders = []keptHeader{
	{"X-BitHuman-Event", "X-Bithuman-Event"},
	{"X-BitHuman-Delivery", "X-Bithuman-Delivery"},
	{"webhook-id", "Webhook-Id"},
	{"Idempotency-Key", "Idempotency-Key"},
}

// quarantineHeaders also tell where a body comes from that nobody understood.
var quarantineHeaders = append([]keptHeader{
	{"User-Agent", "User-Agent"},
	{"Content-Type", "Content-Type"},
}, eventHeaders...)

func keptHeaders(header http.Header, worthKeeping []keptHeader) map[string]string {
	var kept map[string]string
	for _, h := range worthKeeping {
		values := header[h.key]
		if len(values) == 0 {
			continue
		}
		if kept == nil {
			kept = make(map[string]string, len(worthKeeping))
		}
		kept[h.name] = bounded(rapport.CleanText(values[0]))
	}
	return kept
}

// bounded cuts a text at the end of a character.
func bounded(text string) string {
	if len(text) <= maxHeaderBytes {
		return text
	}
	end := maxHeaderBytes
	for !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end]
}
