package history_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"rapport"
	"rapport/aggregator"
	"rapport/api/webhook"
	"rapport/internal/bench/history"
	"rapport/internal/verify"
	"rapport/store"
	"rapport/store/storetest"
)

func TestMain(m *testing.M) { storetest.Main(m) }

var plan = history.Plan{Sessions: 300, Seed: 1, Until: time.Date(2026, 9, 28, 12, 0, 0, 0, time.UTC), Days: 40}

func quietly(int64, time.Time) {}

func eventsOf(t *testing.T, p history.Plan) []*rapport.Event {
	t.Helper()
	var events []*rapport.Event
	err := p.Events(t.Context(), func(stretch []*rapport.Event) error {
		events = append(events, stretch...)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return events
}

func TestEqualPlansGiveEqualLogs(t *testing.T) {
	t.Parallel()
	same := func(a, b *rapport.Event) bool {
		return a.Position == b.Position && a.ReceivedAt.Equal(b.ReceivedAt) && string(a.Payload) == string(b.Payload)
	}
	if !slices.EqualFunc(eventsOf(t, plan), eventsOf(t, plan), same) {
		t.Error("they differ")
	}
	other := plan
	other.Seed++
	if slices.EqualFunc(eventsOf(t, plan), eventsOf(t, other), same) {
		t.Error("another seed gives the same")
	}
}

func TestALogIsBelievable(t *testing.T) {
	t.Parallel()
	events := eventsOf(t, plan)
	if mean := float64(len(events)) / float64(plan.Sessions); mean < 18 || mean > 22 {
		t.Errorf("%.1f events a conversation, want about 20", mean)
	}
	seen := make(map[string]int)
	for i, e := range events {
		if e.Position != int64(i)+1 || i > 0 && e.ReceivedAt.Before(events[i-1].ReceivedAt) {
			t.Fatalf("event %d is at position %d, received at %v", i, e.Position, e.ReceivedAt)
		}
		if !e.OccurredAt.Before(plan.Until) || e.OccurredAt.Before(plan.Until.AddDate(0, 0, -plan.Days-1)) {
			t.Errorf("event %d is of %v", i, e.OccurredAt)
		}
		seen[e.Type]++
		seen["agent "+e.AgentID]++
		seen["code "+e.ErrorCode]++
		if e.Rating != nil {
			seen["rated"]++
		}
	}
	for _, want := range []string{
		rapport.RoomJoin, rapport.ChatPush, rapport.SessionEnd, rapport.AgentError, "agent.ready", "rated",
		"code AUDIO_PROCESSING_FAILED", "agent " + history.BiggestAgent,
	} {
		if seen[want] == 0 {
			t.Errorf("nothing is %q", want)
		}
	}
}

func TestALoadedLogIsVerified(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	interrupted, stop := context.WithCancel(t.Context())
	begun, err := plan.Load(interrupted, db.URL("rapport_owner"), func(int64, time.Time) { stop() })
	if begun == 0 || err == nil {
		t.Fatalf("%d events before the interruption, error %v", begun, err)
	}
	loaded, err := plan.Load(t.Context(), db.URL("rapport_owner"), quietly)
	if err != nil {
		t.Fatal(err)
	}
	rebuild(t, db)
	report, err := verify.Run(t.Context(), verify.Options{DB: db.DB, Decode: decode, MaxDifferences: 10})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range report.Differences {
		t.Error(d.Kind, d.Text)
	}
	if report.Events != loaded || loaded <= begun || report.Sessions < int64(plan.Sessions)*9/10 {
		t.Errorf("%d events and %d sessions verified, %d events loaded", report.Events, report.Sessions, loaded)
	}
}

func rebuild(t *testing.T, db *storetest.Database) {
	t.Helper()
	settings, err := db.Settings(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r, err := store.BeginRebuild(t.Context(), db.URL("rapport_owner"))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := aggregator.Rebuild(t.Context(), r, settings, func(aggregator.RebuildProgress) {}); err != nil {
		t.Fatal(err)
	}
}

func decode(payload []byte, _ string, receivedAt time.Time) (rapport.Event, error) {
	return webhook.Decode(payload, receivedAt, receivedAt)
}
