package aggregator_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"testing"
	"time"

	"rapport"
	"rapport/aggregator"
	"rapport/store"
	"rapport/store/storetest"
)

// BenchmarkFollow tells what an event costs on its way into its session, with
// 200 conversations at once.
func BenchmarkFollow(b *testing.B) {
	db := storetest.New(b)
	sessions, err := aggregator.NewSessions(rapport.DefaultSettings())
	if err != nil {
		b.Fatal(err)
	}
	const size = 2000
	n := 0
	for b.Loop() {
		b.StopTimer()
		events := make([]*rapport.Event, size)
		for i := range events {
			n++
			events[i] = &rapport.Event{
				Fingerprint: sha256.Sum256(fmt.Append(nil, n)), OccurredAt: noon.Add(time.Duration(n) * time.Millisecond),
				ReceivedAt: noon, Type: rapport.ChatPush, AgentID: "agent", SessionID: fmt.Sprint("session ", n%200),
				Role: []string{rapport.RoleUser, rapport.RoleAgent}[n/200%2],
				Text: fmt.Sprint("I would like to book a table for ", n, " people, please."), Payload: []byte("{}"),
			}
		}
		if _, err := db.Append(context.Background(), events); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		if _, err := db.Follow(context.Background(), store.SessionsFollower, sessions.Settings(), size, sessions.Apply); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(n), "µs/event")
}
