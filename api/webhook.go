package api

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"rapport"
	"rapport/api/webhook"
	"rapport/internal/redact"
	"rapport/store/ingest"
)

const webhookPath = "/webhook"

// short takes deliveries past the router and what reads need: they are most of
// what comes, and the sender's visitor waits.
func (s *server) short(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost || !isDeliveryPath(r.URL.Path) {
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

// isDeliveryPath tells of /webhook, and of /webhook/{source}.
func isDeliveryPath(path string) bool {
	if path == webhookPath {
		return true
	}
	source, found := strings.CutPrefix(path, webhookPath+"/")
	return found && source != "" && !strings.Contains(source, "/")
}

// sourceIn is the source that a delivery's path names; empty if it names none.
func sourceIn(path string) string { return strings.TrimPrefix(path[len(webhookPath):], "/") }

// receive is POST /webhook, the hot path, and POST /webhook/{source}.
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
	if p := encodedBody(r); p != nil {
		s.refused(r, p)
		p.write(w)
		return typeUnknown, statusError
	}
	sources := s.Sources.current.Load()
	claim, err := sources.verifier.Screen(webhook.Delivery{
		Source: sourceIn(r.URL.Path), Client: clientOf(r), Header: r.Header,
	}, now)
	if err != nil {
		s.refuseProof(w, r, err)
		return typeUnknown, statusError
	}
	body, failed := s.readBody(w, r, s.bodyLimit(claim.Hashes()), claim.IsProven())
	if failed != nil {
		s.refused(r, failed)
		failed.write(w)
		return typeUnknown, statusError
	}
	source, err := claim.Verify(body)
	if err != nil {
		s.refuseProof(w, r, err)
		return typeUnknown, statusError
	}
	s.countProven(sources.of[source], source, now)
	body = s.Redact.Body(body) // nothing unmasked goes further than here
	event, err := webhook.Decode(body, now, s.DB.NewestReceipt())
	if err != nil {
		return typeUnknown, s.quarantine(w, r, body, err.Error(), now)
	}
	event.Headers = keptHeaders(r.Header, eventHeaders, s.Redact)
	return event.Type, s.append(w, r, &event)
}

// refuseProof keeps nothing of a delivery that is not authentic.
func (s *server) refuseProof(w http.ResponseWriter, r *http.Request, err error) {
	if p := s.limitUnprovenDelivery(w, r); p != nil {
		p.write(w) // and nothing else: there may be very many
		return
	}
	p := newProblem(http.StatusForbidden, err.Error())
	if err == webhook.ErrAddress {
		s.Metrics.outOfRange.Inc()
	} else {
		s.Metrics.unauthorized.WithLabelValues("webhook").Inc()
		p = unauthorized(err.Error())
	}
	s.refused(r, p)
	p.write(w)
}

// maxHashes is how often a body of the greatest length is hashed to find out whose
// it is. Where more secrets may have signed it, it has to be shorter: so a request
// without a proof costs less than most that have one.
const maxHashes = 8

// bodyLimit is how long a body may be that is hashed so often, in bytes.
func (s *server) bodyLimit(hashes int) int64 {
	if hashes <= maxHashes {
		return s.MaxBodyBytes
	}
	return s.MaxBodyBytes / int64(hashes) * maxHashes
}

// countProven counts a delivery of a source. Above the expected rate it is told of,
// and taken all the same: its sender may send it only once.
func (s *server) countProven(of *sourceState, source string, now time.Time) {
	if of == nil || !of.count(now) {
		return
	}
	of.reports.Do(func() {
		s.Logger.Warn("a webhook source sends more than expected; all of it is kept",
			"source", source, "expected_per_second", of.expected, "over_rate_total", of.overRate.Load())
	})
}

// refused tells the operator of a delivery that is not kept as an event: most
// senders send once. A flood of them is told of by some.
func (s *server) refused(r *http.Request, p *problem) {
	s.refusals.Do(func() {
		s.Logger.Warn("a delivery was refused", "status", p.Status, "reason", p.Detail, "remote", clientOf(r))
	})
}

// quarantine keeps what is authentic but no event. It is kept though the sender
// may have left: most send once.
func (s *server) quarantine(w http.ResponseWriter, r *http.Request, body []byte, reason string, now time.Time) string {
	headers := keptHeaders(r.Header, quarantineHeaders, s.Redact)
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
	case kept.Duplicate, kept.Erased:
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
	switch {
	case kept.Spooled: // where it will be in the log is not known yet
		body = append(body, `,"spooled":true`...)
	case kept.Erased: // it is in no log, and is not to be
		body = append(body, `,"erased":true`...)
	default:
		body = strconv.AppendInt(append(body, `,"position":`...), kept.Position, 10)
	}
	if kept.Duplicate {
		body = append(body, `,"duplicate":true`...)
	}
	body = append(body, "}\n"...)
	w.Header()["Content-Type"] = jsonType
	_, _ = w.Write(body) // it fails only if the sender is gone
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

func keptHeaders(header http.Header, worthKeeping []keptHeader, mask *redact.Rules) map[string]string {
	var kept map[string]string
	for _, h := range worthKeeping {
		values := header[h.key]
		if len(values) == 0 {
			continue
		}
		if kept == nil {
			kept = make(map[string]string, len(worthKeeping))
		}
		kept[h.name] = bounded(mask.Text(rapport.CleanText(values[0])))
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
