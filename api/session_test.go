package api

import (
	"bytes"
	"encoding/json"
	"slices"
	"testing"
	"time"

	"rapport"
	"rapport/store"
)

// sessionFields are all of a session's, in their order.
var sessionFields = []string{
	"agent_id", "session_id", "started_at", "last_activity_at", "closes_at", "status", "end_reason", "duration_s",
	"active_s", "event_count", "join_count", "message_count", "error_count", "user_message_count",
	"agent_message_count", "user_char_count", "agent_char_count", "turn_count", "answered_turn_count",
	"response_ms_total", "response_ms_max", "first_response_ms", "avg_response_s", "quick_answer_count",
	"repeat_count", "friction_count", "sentiment", "peak_participants", "room_name", "user_id", "rating",
	"engagement_tier", "engagement_score", "quality_score", "score_version", "first_position", "last_position",
	"erased_at",
}

// fieldsOf are the names of a JSON object's fields, in their order.
func fieldsOf(t *testing.T, text []byte) []string {
	t.Helper()
	decoder := json.NewDecoder(bytes.NewReader(text))
	if _, err := decoder.Token(); err != nil {
		t.Fatal(err)
	}
	var names []string
	for decoder.More() {
		name, err := decoder.Token()
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, name.(string))
		if err := decoder.Decode(new(json.RawMessage)); err != nil {
			t.Fatal(err)
		}
	}
	return names
}

func shown(t *testing.T, row store.SessionRow, now time.Time) (string, map[string]json.RawMessage) {
	t.Helper()
	text, err := json.Marshal(sessionAt(&row, now))
	if err != nil {
		t.Fatal(err)
	}
	if got := fieldsOf(t, text); !slices.Equal(got, sessionFields) {
		t.Errorf("fields %q, want %q", got, sessionFields)
	}
	fields := map[string]json.RawMessage{}
	if err := json.Unmarshal(text, &fields); err != nil {
		t.Fatal(err)
	}
	return string(text), fields
}

func TestAFullSession(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 9, 28, 12, 0, 0, 5000, time.FixedZone("", 7200))
	row := store.SessionRow{ClosesAt: start.Add(30 * time.Minute), Session: rapport.Session{
		AgentID: "a<1>", SessionID: "s", StartedAt: start, LastActivityAt: start.Add(90050 * time.Millisecond),
		EventCount: 9, JoinCount: 1, ErrorCount: 2, MessageCount: 6, UserMessageCount: 3, AgentMessageCount: 2,
		UserCharCount: 30, AgentCharCount: 20, ActiveUs: 61_999_999, TurnCount: 2, AnsweredTurnCount: 1,
		QuickAnswerCount: 1, ResponseMsTotal: 1005, ResponseMsMax: 1005, FirstResponseMs: 1005, RepeatCount: 1,
		FrictionCount: 1, SentimentSum: -7, PeakParticipants: 3, RoomName: "r", UserID: "u", Rating: new(4.5),
		FirstPosition: 4, LastPosition: 17, ScoreVersion: 1,
	}}
	_, fields := shown(t, row, start)
	for name, want := range map[string]string{
		"started_at": `"2026-09-28T10:00:00.000005Z"`, "last_activity_at": `"2026-09-28T10:01:30.050005Z"`,
		"closes_at": `"2026-09-28T10:30:00.000005Z"`, "status": `"open"`, "end_reason": `null`,
		"duration_s": `90.050`, "active_s": `61.999`, "avg_response_s": `1.005`, "response_ms_total": `1005`,
		"sentiment": `-0.002`, "rating": `4.5`, "engagement_score": `38.7`, "quality_score": `66.7`,
		"engagement_tier": `"continued"`, "last_position": `17`,
	} {
		if got := string(fields[name]); got != want {
			t.Errorf("%s = %s, want %s", name, got, want)
		}
	}
}

func TestASessionWithoutMessagesHasNulls(t *testing.T) {
	t.Parallel()
	_, fields := shown(t, store.SessionRow{ClosesAt: noon}, noon)
	for _, name := range []string{
		"response_ms_total", "response_ms_max", "first_response_ms", "avg_response_s", "sentiment", "rating", "quality_score",
	} {
		if got := string(fields[name]); got != "null" {
			t.Errorf("%s = %s", name, got)
		}
	}
	for name, want := range map[string]string{
		"duration_s": "0.000", "engagement_score": "0.0", "engagement_tier": `"bounced"`, "user_id": `""`,
	} {
		if got := string(fields[name]); got != want {
			t.Errorf("%s = %s, want %s", name, got, want)
		}
	}
}

func TestStatusIsTheReadersNow(t *testing.T) {
	t.Parallel()
	idle := store.SessionRow{ClosesAt: noon}
	ended := store.SessionRow{ClosesAt: noon, Session: rapport.Session{EndedAt: noon, EndReason: "user_disconnect"}}
	for name, test := range map[string]struct {
		row            store.SessionRow
		now            time.Time
		status, reason string
	}{
		"open until it closes":         {idle, noon.Add(-time.Microsecond), `"open"`, `null`},
		"closed from then on":          {idle, noon, `"closed"`, `"idle"`},
		"an end tells the reason":      {ended, noon, `"closed"`, `"user_disconnect"`},
		"but not before it took place": {ended, noon.Add(-time.Microsecond), `"open"`, `null`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, fields := shown(t, test.row, test.now)
			if status, reason := string(fields["status"]), string(fields["end_reason"]); status != test.status || reason != test.reason {
				t.Errorf("%s %s, want %s %s", status, reason, test.status, test.reason)
			}
		})
	}
}

func TestDecimals(t *testing.T) {
	t.Parallel()
	for n, want := range map[int64]string{0: "0.000", 1: "0.001", -1: "-0.001", 999: "0.999", 1000: "1.000", -12345: "-12.345"} {
		if got := string(appendNumber(nil, n, 3)); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
	if got := string(appendNumber(nil, 1000, 1)); got != "100.0" {
		t.Errorf("1000 tenths: %s", got)
	}
}
