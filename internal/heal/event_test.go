package heal_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"rapport/internal/heal"
	"rapport/internal/heal/recordtest"
	"rapport/store"
	"rapport/store/storetest"
)

func TestAHealedMessageIsMadeAgainFromWhatTheLogHas(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	session := said("s/1", line(0, "Assistant", "a\x00b \"<c>\""), line(0, "assistant", "a\uFFFDb \"<c>\""), line(0, "", "yes"))
	h := newHealer(t, db, recordtest.New(t, session))
	requireHealed(t, h, 3)
	requireHealed(t, h, 0)
	events, _, err := db.Events(t.Context(), store.TranscriptQuery{SessionID: "s/1", Limit: 10})
	if err != nil || len(events) != 3 {
		t.Fatal(len(events), err)
	}
	for _, want := range events {
		got, err := heal.Decode(want.Payload, want.HealedFrom, want.ReceivedAt)
		if err != nil {
			t.Fatal(err)
		}
		got.Position = want.Position
		if !bytes.Equal(got.Payload, want.Payload) {
			t.Errorf("payload %s, want %s", got.Payload, want.Payload)
		}
		got.Payload = nil
		if diff := cmp.Diff(want.Event, got); diff != "" {
			t.Errorf("the event differs (-want +got):\n%s", diff)
		}
		if want.HealedFrom != h.Record.TranscriptURL("s/1") {
			t.Errorf("healed from %s", want.HealedFrom)
		}
	}
	received := storetest.Query(t, db, "rapport_server", pgx.RowTo[time.Time], "SELECT DISTINCT received_at FROM events")
	if len(received) != 1 || !received[0].Equal(now) {
		t.Errorf("received at %v", received)
	}
}

func TestAPayloadThatHealingDidNotWriteIsRefused(t *testing.T) {
	t.Parallel()
	const good = `{"source":"runtime-sessions","agent_id":"a","agent_code":"a","session_id":"s","room_name":"",` +
		`"timestamp":"2026-09-28T12:00:00Z","role":"user","message":"Hi","ordinal":0}`
	if _, err := heal.Decode([]byte(good), "https://record.test", now); err != nil {
		t.Fatal(err)
	}
	for name, payload := range map[string]string{
		"no JSON":         `{`,
		"a delivery":      `{"event_type":"chat.push","data":{"role":"user","message":"Hi"}}`,
		"a space":         " " + good,
		"another source":  string(bytes.Replace([]byte(good), []byte("runtime-sessions"), []byte("elsewhere"), 1)),
		"another field":   string(bytes.Replace([]byte(good), []byte(`"ordinal"`), []byte(`"x":1,"ordinal"`), 1)),
		"no time":         string(bytes.Replace([]byte(good), []byte("2026"), []byte("XX26"), 1)),
		"an escaped text": string(bytes.Replace([]byte(good), []byte("Hi"), []byte(`\u0048i`), 1)),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if e, err := heal.Decode([]byte(payload), "https://record.test", now); err == nil {
				t.Errorf("taken for %+v", e)
			}
		})
	}
}
