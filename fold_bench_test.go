package rapport_test

import (
	"testing"
	"time"

	"rapport"
)

// BenchmarkFoldMessage is the cost of one message of a conversation that is
// folded at once, the sentiment of a user message included.
func BenchmarkFoldMessage(b *testing.B) {
	const messages = 1000
	events := conversationOf(messages)
	fold := rapport.NewFold(rapport.DefaultSettings())
	b.ReportAllocs()
	for b.Loop() {
		fold.Windows(events)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/messages, "ns/message")
}

// BenchmarkContinueMessage is the cost of carrying a stored session on by one
// user message, however long it is already.
func BenchmarkContinueMessage(b *testing.B) {
	events := conversationOf(1001)
	fold := rapport.NewFold(rapport.DefaultSettings())
	stored := fold.Windows(events[:1000])[0].Session
	b.ReportAllocs()
	for b.Loop() {
		fold.Continue(rapport.Resume(stored, nil), events[1000:])
	}
}

// conversationOf alternates between user and agent, 5 seconds apart.
func conversationOf(messages int) []*rapport.Event {
	var events []*rapport.Event
	for i := range messages {
		e := &rapport.Event{
			OccurredAt: day.Add(time.Duration(i) * 5 * time.Second),
			AgentID:    "a", SessionID: "s", Type: rapport.ChatPush,
			Role: rapport.RoleUser, Text: "Please find me a restaurant in San Jose, for two people at half past 11.",
		}
		if i%2 == 1 {
			e.Role, e.Text = rapport.RoleAgent, "Confirming: a table for two at Sino in San Jose. Is that right?"
		}
		events = append(events, e)
	}
	return events
}
