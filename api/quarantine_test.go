package api

import (
	"net/http"
	"slices"
	"testing"
)

func TestTheQuarantine(t *testing.T) {
	t.Parallel()
	l := newLive(t, Config{})
	for _, body := range []string{"one", "\xff\x00", "three", "one"} {
		wantProblem(t, post(l, body, "User-Agent", "sender/1"), http.StatusUnprocessableEntity)
	}
	for _, limit := range []int{1, 2, 50} {
		rows := allRows(t, l, "/quarantine", limit)
		wantColumn(t, rows, "body", "three", "<nil>", "one")
		wantColumn(t, rows, "body_base64", "<nil>", "/wA=", "<nil>")
		wantColumn(t, rows, "seen_count", "1", "1", "2")
		wantColumn(t, rows, "size", "5", "2", "3")
		wantColumn(t, rows, "first_seen_at", slices.Repeat([]string{"2026-09-28T12:00:00.123456Z"}, 3)...)
		if reason, _ := rows[0]["reason"].(string); reason == "" || rows[0]["headers"].(row)["User-Agent"] != "sender/1" {
			t.Errorf("%v", rows[0])
		}
	}
	wantFields(t, l, "/quarantine", "id", "reason", "seen_count", "first_seen_at", "last_seen_at", "size", "body", "body_base64", "headers")
}
