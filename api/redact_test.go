package api

import (
	"net/http"
	"strings"
	"testing"

	"rapport/api/webhook"
	"rapport/internal/redact"
)

// newMask masks with all rules there are, and one of its own.
func newMask(t testing.TB) *redact.Rules {
	t.Helper()
	mask, err := redact.New(redact.BuiltIn, []string{"ticket=T-[0-9]+"})
	if err != nil {
		t.Fatal(err)
	}
	return mask
}

func TestADeliveryIsMaskedBeforeItIsKept(t *testing.T) {
	t.Parallel()
	log := &memoryLog{}
	h := newServer(t, options{log: log, config: Config{Redact: newMask(t)}})
	body := `{"event_type":"chat.push", "agent_id":"a1","timestamp":1790607268.5,"user":{"id":"jo@example.org","name":"jo\u0040example.org"},` +
		`"data":{"session_id":"s1","role":"user","message":"T-77: 4111 1111 1111 1111 or +49 151 1234567"}}`
	wantBody(t, post(h, body, "Idempotency-Key", "jo@example.org"), `{"status":"success","position":1}`)
	e := log.events[0]
	if e.Text != "[ticket]: [card] or [phone]" || e.UserID != "jo@example.org" || e.Headers["Idempotency-Key"] != "[email]" {
		t.Errorf("kept %+v", e)
	}
	want := strings.NewReplacer(`jo\u0040example.org`, "[email]", "T-77", "[ticket]", "4111 1111 1111 1111", "[card]", "+49 151 1234567", "[phone]").Replace(body)
	if got := string(e.Payload); got != want {
		t.Errorf("payload %s\nwant    %s", got, want)
	}
	again, err := webhook.Decode(e.Payload, e.ReceivedAt, noon)
	if err != nil || again.Fingerprint != e.Fingerprint || again.Text != e.Text {
		t.Errorf("the payload is %+v, %v", again, err)
	}
	wantBody(t, post(h, body), `{"status":"success","position":1,"duplicate":true}`)
}

func TestWhatIsQuarantinedIsMasked(t *testing.T) {
	t.Parallel()
	log := &memoryLog{}
	h := newServer(t, options{log: log, config: Config{Redact: newMask(t)}})
	for _, body := range []string{
		`jo@example.org`, `{"x":"jo@example.org"}`, `{"x":"jo\u0040example.org`, `{"event_type":"chat.push","timestamp":1,"x":"jo@example.org"}`,
		"\xffjo@example.org",
	} {
		w := post(h, body, "User-Agent", "jo@example.org")
		wantProblem(t, w, http.StatusUnprocessableEntity)
		if strings.Contains(w.Body.String(), "example") {
			t.Errorf("%q is answered %s", body, w.Body)
		}
	}
	for i := range log.bodies {
		if kept := log.bodies[i] + log.reasons[i] + log.headers[i]["User-Agent"]; strings.Contains(kept, "example") {
			t.Errorf("kept %q", kept)
		}
	}
}
