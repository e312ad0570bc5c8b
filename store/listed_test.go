package store_test

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"rapport/store"
	"rapport/store/storetest"
)

// TestAListReadsWhatIsInARow compares what a list reads by hand with what Scan reads of
// the same rows, each column of which has a value of its own.
func TestAListReadsWhatIsInARow(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	const columns = `agent_id, session_id, started_at, last_activity_at, last_event_at, closes_at, ended_at, end_reason, event_count,
		end_count, join_count, error_count, message_count, user_message_count, agent_message_count, user_char_count, agent_char_count,
		duration_ms, active_us, turn_count, answered_turn_count, quick_answer_count, response_ms_total, response_ms_max,
		first_response_ms, awaits_answer, last_user_message_at, repeat_count, friction_count, sentiment_sum, peak_participants,
		room_name, user_id, rating, engagement_tier, engagement_tenths, quality_tenths, score_version, first_position,
		last_position, healed_until, erased_at`
	db.Exec(t, "rapport_owner", `INSERT INTO sessions (`+columns+`) VALUES
		('', 's', '2026-01-01 00:00:00.000001Z', '2026-01-02Z', '2026-01-02 00:00:01Z', '2026-01-03Z', NULL, '', 9,
		 10, 11, 12, 13, 14, 15, 16, 17, 86400000, 19, 20, 21, 22, 23, 24, 25, false, NULL, 28, 29, -30, 31,
		 '', '', NULL, 'deep', 36, NULL, 38, 39, 40, NULL, NULL),
		('Größe', 's', '1970-01-01Z', '9999-12-31 23:59:59.999999Z', '9999-12-31 23:59:59.999999Z', '2026-01-03Z', '2026-01-04Z', 'why', 0,
		 0, 9223372036854775807, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, true, '2026-01-05Z', 28, 29, -9223372036854775808, 2147483647,
		 'a room', 'you', -1.5e-300, 'deep', 36, 37, 38, 39, 40, '2026-01-06Z', '2026-01-07Z')`)
	want, err := db.SessionsOfID(t.Context(), "s", "")
	if err != nil {
		t.Fatal(err)
	}
	got, behind, err := db.Sessions(t.Context(), store.SessionQuery{SessionID: "s", Sort: store.SortStartedAt, Descending: true, Limit: 10})
	if err != nil || behind != nil || len(got) != 2 || len(want) != 2 {
		t.Fatalf("%d and %d sessions, behind %v: %v", len(got), len(want), behind, err)
	}
	for i, row := range want {
		if row.AgentID != got[i].AgentID {
			row = want[1-i]
		}
		// What a list leaves out.
		row.LastEventAt, row.EndCount, row.AwaitsAnswer = time.Time{}, 0, false
		row.LastUserMessageAt, row.HealedUntil = time.Time{}, time.Time{}
		if !reflect.DeepEqual(*got[i], row) {
			t.Errorf("%+v\nwant\n%+v", got[i], row)
		}
	}
}

func TestRowsAreReadHoweverAURLAsksToExecute(t *testing.T) {
	t.Parallel()
	db := withSessions(t, 10)
	for _, mode := range []string{"exec", "simple_protocol", "describe_exec", "cache_describe"} {
		url, separator := db.URL("rapport_server"), "?"
		if strings.Contains(url, "?") {
			separator = "&"
		}
		other, err := store.Open(t.Context(), url+separator+"default_query_exec_mode="+mode)
		if err != nil {
			t.Fatal(err)
		}
		defer other.Close()
		until := time.Date(2026, 9, 29, 0, 0, 1, 0, time.UTC) // the edge is read from sessions
		totals, err := other.SessionTotalsByAgent(t.Context(), store.TotalsFilter{Percentiles: true}, until.AddDate(0, 0, -5), until)
		if err != nil || len(totals) == 0 {
			t.Errorf("%s: %d agents, %v", mode, len(totals), err)
		}
		var session string
		for range 3 { // the second time it is kept
			rows, _, err := other.Sessions(t.Context(), store.SessionQuery{Sort: store.SortStartedAt, Limit: 5, Keep: true})
			if err != nil || len(rows) != 5 {
				t.Fatalf("%s: %d sessions, %v", mode, len(rows), err)
			}
			session = rows[0].SessionID
		}
		if rows, _, _, err := other.SessionsAndMessages(t.Context(), store.TranscriptQuery{SessionID: session, Limit: 5}); err != nil || len(rows) == 0 {
			t.Errorf("%s: %d sessions with their messages, %v", mode, len(rows), err)
		}
	}
}
