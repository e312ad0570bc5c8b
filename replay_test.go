package rapport_test

import (
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"rapport"
)

func TestAReplayFoldsAsAllAtOnce(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		fold := rapport.NewFold(drawSettings(t))
		dense := slices.Concat(drawDense(t, "healed", true), drawDense(t, "delivered", false))
		groups := append(slices.Collect(maps.Values(byConversation(drawEvents(t)))), dense)
		for _, events := range groups {
			slices.SortFunc(events, rapport.Compare)
			events = slices.CompactFunc(events, func(a, b *rapport.Event) bool { return rapport.Compare(a, b) == 0 }) // as the log does
			for i, e := range events {
				e.Position = int64(i + 1)
			}
			events = rapid.Permutation(events).Draw(t, "arrival")
			slices.SortStableFunc(events, func(a, b *rapport.Event) int { return a.OccurredAt.Compare(b.OccurredAt) })
			replay := fold.Replay()
			for _, e := range events {
				replay.Add(e)
			}
			got := sessionsOf(replay.Windows())
			healed := rapport.HealedAmong(events)
			counted, _ := rapport.Reconcile(slices.Clone(events))
			if diff := cmp.Diff(sessionsOf(fold.Windows(slices.Clone(events))), got); diff != "" {
				t.Fatalf("want -, got +:\n%s", diff)
			}
			var superseded []int64
			for _, e := range rapport.Superseded(healed, counted) {
				superseded = append(superseded, e.Position)
			}
			if !sameSet(superseded, replay.Superseded()) {
				t.Fatalf("superseded %v, want %v", replay.Superseded(), superseded)
			}
		}
	})
}

func sessionsOf(windows []*rapport.Window) []rapport.Session {
	sessions := make([]rapport.Session, len(windows))
	for i, w := range windows {
		sessions[i] = w.Session
	}
	return sessions
}

func sameSet(a, b []int64) bool {
	a, b = slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b))
	return slices.Equal(a, b)
}
