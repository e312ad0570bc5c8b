package api

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"rapport/store"
)

func TestMessages(t *testing.T) {
	t.Parallel()
	l := newLive(t, Config{})
	join := fmt.Sprintf(`{"event_type":"room.join","agent_id":"a","timestamp":%d,"data":{"session_id":"s"}}`, noon.Unix())
	l.deliver(t,
		said("a", "s", "user", "later", 7200), said("a", "s", "assistant", "né 👋", 5.25), join,
		said("a", "s", "user", "first", 0), said("a", "s", "user", "again", 5.25), said("b", "s", "user", "elsewhere", 1),
		strings.Replace(join, `"s"`, `"silent"`, 1), said("a", "both", "user", "of a", 0), said("b", "both", "user", "of b", 0))
	post(l, said("a", "s", "user", "not folded", 7201)) // and so of no session yet
	for _, limit := range []int{1, 2, 50} {
		rows := allRows(t, l, "/sessions/s/messages", limit)
		wantColumn(t, rows, "text", "first", "elsewhere", "again", "né 👋", "later", "not folded")
		wantColumn(t, rows, "started_at",
			"2026-09-28T12:00:00.000000Z", "2026-09-28T12:00:01.000000Z", "2026-09-28T12:00:00.000000Z",
			"2026-09-28T12:00:00.000000Z", "2026-09-28T14:00:00.000000Z", "<nil>")
		wantColumn(t, rows, "char_count", "5", "9", "5", "4", "5", "10")
		wantColumn(t, rows, "role", "user", "user", "user", "agent", "user", "user")
	}
	wantColumn(t, allRows(t, l, "/sessions/s/messages?agent_id=b", 5), "text", "elsewhere")
	wantColumn(t, allRows(t, l, "/sessions/s/messages?started_at=2026-09-28T14:00:00Z", 5), "text", "later")
	wantColumn(t, allRows(t, l, "/sessions/s/messages?started_at=2026-09-28T12:00:00Z&agent_id=a", 1), "text", "first", "again", "né 👋")
	wantProblem(t, get(l, "/sessions/s/messages?started_at=2026-09-28T14:00:00.000001Z"), http.StatusNotFound)
	wantProblem(t, get(l, "/sessions/s/messages?agent_id=c"), http.StatusNotFound)
	wantFields(t, l, "/sessions/s/messages", "position", "agent_id", "session_id", "started_at", "occurred_at", "role",
		"text", "char_count", "message_type", "language", "user_id")
	t.Run("a cursor of messages is none of events", func(t *testing.T) {
		next := decodeJSON(t, get(l, "/sessions/s/messages?limit=1"))["next_cursor"].(string)
		wantBadParameter(t, get(l, "/sessions/s/events?limit=1&cursor="+next), "cursor")
		wantBadParameter(t, get(l, "/sessions/x/messages?limit=1&cursor="+next), "cursor")
	})
	t.Run("a session without messages has an empty list", func(t *testing.T) {
		if got := allRows(t, l, "/sessions/silent/messages", 5); len(got) != 0 {
			t.Errorf("%v", got)
		}
	})
	t.Run("two agents' sessions of one start need the agent", func(t *testing.T) {
		start := "/sessions/both/messages?started_at=2026-09-28T12:00:00Z"
		wantProblem(t, get(l, start), http.StatusBadRequest)
		wantColumn(t, allRows(t, l, start+"&agent_id=b", 5), "text", "of b")
	})
}

func TestEvents(t *testing.T) {
	t.Parallel()
	l := newLive(t, Config{})
	invalid := `{"event_type":"chat.push","timestamp":1790596801,"data":{"session_id":"s","role":"user","message":"` + "\xff" + `"}}`
	exact := `{"event_type":"custom","timestamp":1790596802.0,"data":{"session_id":"s"},"more":[1,1.0,"\u0000 é"],"more":{}}`
	probe := `{"event_type":"test","timestamp":1790596803,"data":{"session_id":"s"}}`
	l.deliver(t, said("", "s", "user", "hi", 0), invalid, exact, probe)
	for _, limit := range []int{1, 3, 50} {
		rows := allRows(t, l, "/sessions/s/events", limit)
		wantColumn(t, rows, "event_type", "chat.push", "chat.push", "custom", "test")
		wantColumn(t, rows, "occurred_at", "2026-09-28T12:00:00.000000Z", "2026-09-28T12:00:01.000000Z",
			"2026-09-28T12:00:02.000000Z", "2026-09-28T12:00:03.000000Z")
	}
	body := get(l, "/sessions/s/events").Body.String()
	if !strings.Contains(body, `"payload":`+exact+`,"payload_raw":null`) {
		t.Errorf("the payload is not as it came: %s", body)
	}
	rows := allRows(t, l, "/sessions/s/events", 50)
	if rows[1]["payload"] != nil || rows[1]["payload_raw"] == nil || rows[1]["message"] != "\uFFFD" {
		t.Errorf("of invalid UTF-8: %v", rows[1])
	}
	if len(rows[0]["fingerprint"].(string)) != 64 || rows[0]["received_at"] != "2026-09-28T12:00:00.123456Z" {
		t.Errorf("%v", rows[0])
	}
	wantFields(t, l, "/sessions/s/events", "position", "occurred_at", "received_at", "undated", "event_type", "agent_id",
		"session_id", "user_id", "role", "message", "message_type", "language", "participants", "room_name", "error_code",
		"error_severity", "error_category", "end_reason", "rating", "fingerprint", "payload", "payload_raw", "healed_from", "erased", "erasure")
	t.Run("events of no session_id are found under none", func(t *testing.T) {
		l.deliver(t, `{"event_type":"ping"}`)
		for _, path := range []string{"/sessions/", "/sessions//events", "/sessions//messages"} {
			wantProblem(t, get(l, path), http.StatusNotFound)
		}
	})
}

func TestALargePageEndsEarly(t *testing.T) {
	t.Parallel()
	const rows, large = 203, 100_000
	read := func(_ context.Context, query store.TranscriptQuery) (part []int, behind *store.EventPlace, _ error) {
		from := 0
		if query.After != nil {
			from = int(query.After.Rank)
		}
		for i := from; i < rows && len(part) < query.Limit; i++ {
			part = append(part, i)
		}
		if last := from + len(part); last < rows {
			behind = &store.EventPlace{Rank: int32(last)}
		}
		return part, behind, nil
	}
	for _, c := range []struct{ limit, size, want int }{
		{1, 1, 1}, {50, 1, 50}, {120, 1, 120}, {rows, 1, rows}, {1000, 1, rows}, {1000, large, 84}, {7, large, 7},
	} {
		var all []int
		query := store.TranscriptQuery{Limit: c.limit}
		for first := true; first || query.After != nil; first = false {
			page, behind, err := inParts(t.Context(), query, read, func(*int) int { return c.size })
			if err != nil || first && len(page) != c.want {
				t.Errorf("%+v: %d rows, %v", c, len(page), err)
			}
			all, query.After = append(all, page...), behind
		}
		for i, row := range all {
			if row != i || len(all) != rows {
				t.Fatalf("%+v: %d rows, %d instead of %d", c, len(all), row, i)
			}
		}
	}
}
