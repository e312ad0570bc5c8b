package aggregator_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"rapport"
	"rapport/aggregator"
	"rapport/store"
	"rapport/store/storetest"
)

// made is what followers.made_with tells.
type made struct {
	rapport.Settings
	Totals bool
}

// rebuilt is what a rebuild leaves: no sessions yet, to be made with other settings.
func rebuilt(t *testing.T, db *storetest.Database, with any) {
	t.Helper()
	text, err := json.Marshal(with)
	if err != nil {
		t.Fatal(err)
	}
	db.Exec(t, "rapport_owner", `WITH sessions AS (DELETE FROM sessions), texts AS (DELETE FROM session_texts)
		UPDATE followers SET position = 0, made_with = $1`, string(text))
}

func TestAFollowerAdoptsTheSettingsOfARebuild(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	events := say("s", 0, "one", "two", "three")
	events[2].OccurredAt = events[2].OccurredAt.Add(time.Minute)
	put(t, db, events...)
	_, log := running(t, db, newSessions(t))
	caughtUp(t, db)
	wantSessions(t, db, "s", events)

	settings := rapport.DefaultSettings()
	settings.IdleTimeout = 30 * time.Second
	rebuilt(t, db, made{settings, true})
	caughtUp(t, db)
	var want []rapport.Session
	for _, w := range rapport.NewFold(settings).Windows(events) {
		want = append(want, w.Session)
	}
	if len(want) != 2 {
		t.Fatal("the settings make no difference")
	}
	if diff := cmp.Diff(want, stored(t, db, "s")); diff != "" {
		t.Errorf("the rollups are not of the new settings (-want +got):\n%s", diff)
	}
	if !strings.Contains(log.String(), "the settings have changed, following with the new ones") {
		t.Errorf("the log does not tell:\n%s", log)
	}
}

func newSessions(t *testing.T) *aggregator.Sessions {
	t.Helper()
	sessions, err := aggregator.NewSessions(rapport.DefaultSettings())
	if err != nil {
		t.Fatal(err)
	}
	return sessions
}

func TestAnOlderBinaryLeavesNewerRollupsAlone(t *testing.T) {
	t.Parallel()
	newer := rapport.DefaultSettings()
	newer.ScoreVersion++
	for name, settings := range map[string]any{
		"of a newer score version": made{newer, true},
		"of rules that it does not know": struct {
			made
			Moon bool
		}{made{rapport.DefaultSettings(), true}, true},
		"of an older one, which keeps no totals": rapport.DefaultSettings(),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := storetest.New(t)
			rebuilt(t, db, settings)
			events := say("s", 0, "one")
			put(t, db, events...)
			_, log := running(t, db, newSessions(t))
			eventually(t, "the alarm", func() bool { return strings.Contains(log.String(), "the sessions stand still") })
			if !strings.Contains(log.String(), "run ") {
				t.Errorf("the log does not say what to do:\n%s", log)
			}
			if got := stored(t, db, "s"); len(got) != 0 {
				t.Errorf("%d sessions were made", len(got))
			}
			put(t, db, say("s", 1, "two")...) // deliveries go on
			wantLetters(t, db)
			rebuilt(t, db, made{rapport.DefaultSettings(), true})
			caughtUp(t, db)
		})
	}
}

func TestNothingIsDoneWithOtherSettings(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	put(t, db, say("s", 0, "one")...)
	sessions := newSessions(t)
	if _, err := db.Follow(t.Context(), store.SessionsFollower, sessions.Settings(), 10, sessions.Apply); err != nil {
		t.Fatal(err)
	}
	put(t, db, say("s", 1, "two")...)
	other := sessions.Settings()
	other.QuickAnswer++
	_, err := db.Follow(t.Context(), store.SessionsFollower, other, 10, sessions.Apply)
	if !errors.Is(err, store.ErrSettingsChanged) {
		t.Errorf("followed with other settings: %v", err)
	}
	_, err = db.FollowAgain(t.Context(), store.SessionsFollower, other, 10, sessions.Apply)
	if !errors.Is(err, store.ErrSettingsChanged) {
		t.Errorf("tried again with other settings: %v", err)
	}
	if at, err := db.FollowerPosition(t.Context(), store.SessionsFollower); err != nil || at != 1 {
		t.Errorf("the checkpoint is at %d, %v", at, err)
	}
	if got, err := db.MadeWith(t.Context(), store.SessionsFollower); err != nil || !cmp.Equal(got, sessions.Settings()) {
		t.Errorf("made with %+v, %v", got, err)
	}
}
