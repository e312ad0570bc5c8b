package aggregator_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"testing"
	"time"

	"rapport"
	"rapport/aggregator"
	"rapport/store"
	"rapport/store/storetest"
)

// BenchmarkRebuild compares a rebuild with following the same log: 5,000
// conversations of 20 messages, 100 of them at once.
func BenchmarkRebuild(b *testing.B) {
	db := storetest.New(b)
	var events []*rapport.Event
	for n := range 100_000 {
		events = append(events, &rapport.Event{
			Fingerprint: sha256.Sum256(fmt.Append(nil, n)), OccurredAt: noon.Add(time.Duration(n) * 50 * time.Millisecond),
			ReceivedAt: noon, Type: rapport.ChatPush, AgentID: "agent", SessionID: fmt.Sprintf("%x", sha256.Sum256(fmt.Append(nil, n/2000, n%100))),
			Role: []string{rapport.RoleUser, rapport.RoleAgent}[n/100%2],
			Text: fmt.Sprint("I would like to book a table for ", n, " people, please."), Payload: []byte("{}"),
		})
	}
	for batch := range slices.Chunk(events, 2000) {
		if _, err := db.Append(context.Background(), batch); err != nil {
			b.Fatal(err)
		}
	}
	settings := rapport.DefaultSettings()
	b.Run("following", func(b *testing.B) {
		sessions, err := aggregator.NewSessions(settings)
		if err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			db.Exec(b, "rapport_owner", "TRUNCATE sessions, session_texts, session_totals, event_counts; UPDATE followers SET position = 0 WHERE name = 'sessions'")
			for {
				step, err := db.Follow(context.Background(), store.SessionsFollower, settings, 2000, sessions.Apply)
				if err != nil {
					b.Fatal(err)
				}
				if step.Position == step.Head {
					break
				}
			}
		}
		b.ReportMetric(float64(len(events)*b.N)/b.Elapsed().Seconds(), "events/s")
	})
	b.Run("rebuilding", func(b *testing.B) {
		for b.Loop() {
			if _, err := rebuild(context.Background(), db, settings, quietly); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(len(events)*b.N)/b.Elapsed().Seconds(), "events/s")
	})
}
