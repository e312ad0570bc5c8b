package aggregator

import (
	"rapport"
	"rapport/store"
)

// healedAmong are the healed messages of some events.
func healedAmong(events []*rapport.Event) []*rapport.Event {
	var healed []*rapport.Event
	for _, e := range events {
		if e.IsHealed() {
			healed = append(healed, e)
		}
	}
	return healed
}

// judged tells which of the healed messages are not among those events that count.
func judged(healed, counted []*rapport.Event) []store.HealedMessage {
	if len(healed) == 0 {
		return nil
	}
	counts := make(map[int64]bool)
	for _, e := range counted {
		if e.IsHealed() {
			counts[e.Position] = true
		}
	}
	judged := make([]store.HealedMessage, len(healed))
	for i, e := range healed {
		of := store.Conversation{AgentID: e.AgentID, SessionID: e.SessionID}
		judged[i] = store.HealedMessage{Conversation: of, Position: e.Position, Superseded: !counts[e.Position]}
	}
	return judged
}
