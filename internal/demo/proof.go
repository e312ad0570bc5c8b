package demo

import (
	"net/http"
	"time"

	"rapport/api/webhook"
)

// proof is what shows a server that a delivery is authentic. Either may be
// empty.
type proof struct{ secret, token string }

// set adds the headers of a delivery that is sent now: what its generation
// proves itself with, or the other of the two if that is all there is.
func (p proof) set(h http.Header, d *delivery, now time.Time) {
	if d.generation == account {
		h.Set("X-BitHuman-Event", d.event)
		h.Set("X-BitHuman-Delivery", d.id)
	}
	switch {
	case p.token != "" && (d.generation == current || p.secret == ""):
		h.Set("Authorization", "Bearer "+p.token)
	case p.secret == "":
	case d.generation == account:
		timestamp, signature := webhook.SignAccount(p.secret, now, d.body)
		h.Set("X-BitHuman-Timestamp", timestamp)
		h.Set("X-BitHuman-Signature", signature)
	default:
		h.Set("X-bitHuman-Signature", webhook.SignLegacy(p.secret, d.body))
	}
}
