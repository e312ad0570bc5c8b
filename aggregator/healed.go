package aggregator

import (
	"rapport"
	"rapport/store"
)

// judged tells which of the healed messages are not among those events that count.
func judged(healed, counted []*rapport.Event) []store.HealedMessage {
	if len(healed) == 0 {
		return nil
	}
	superseded := make(map[*rapport.Event]bool)
	for _, e := range rapport.Superseded(healed, counted) {
		superseded[e] = true
	}
	judged := make([]store.HealedMessage, len(healed))
	for i, e := range healed {
		judged[i] = store.HealedMessage{Conversation: conversationOf(e), Position: e.Position, Superseded: superseded[e]}
	}
	return judged
}

func conversationOf(e *rapport.Event) store.Conversation {
	return store.Conversation{AgentID: e.AgentID, SessionID: e.SessionID}
}
