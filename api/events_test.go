package api

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"rapport/store"
)

// follow asks for what is behind a position. Its Data is nil if that fails.
func follow(t *testing.T, h http.Handler, after int64, query string, headers ...string) followedPage {
	t.Helper()
	w := get(h, fmt.Sprintf("/events?after=%d&%s", after, query), headers...)
	var p followedPage
	err := json.Unmarshal(w.Body.Bytes(), &p)
	if err != nil || w.Code != http.StatusOK || p.Data == nil || p.HasMore != (p.NextAfter < p.Head) {
		t.Errorf("after %d, %s: %d %s %v", after, query, w.Code, w.Body, err)
	}
	return p
}

type followedPage struct {
	Data      []row `json:"data"`
	NextAfter int64 `json:"next_after"`
	Head      int64 `json:"head"`
	HasMore   bool  `json:"has_more"`
}

func TestAFollowerGetsExactlyTheLog(t *testing.T) {
	t.Parallel()
	l := newLive(t, Config{})
	ctx, stop := context.WithCancel(t.Context())
	watching := make(chan struct{})
	go func() { defer close(watching); _ = l.db.Watch.Run(ctx) }()
	t.Cleanup(func() { stop(); <-watching })
	go func() { _ = l.db.Announce(ctx) }()

	const writers, each = 6, 40
	var writing sync.WaitGroup
	for n := range writers {
		writing.Go(func() {
			for i := range each {
				body := said("A", fmt.Sprintf("s%d", n), "user", fmt.Sprintf("%d of %d", i, n), float64(i))
				if w := post(l, body); w.Code != http.StatusOK {
					t.Errorf("%d %s", w.Code, w.Body)
				}
				if i%10 == 0 { // a retry
					post(l, body)
				}
			}
		})
	}
	var following sync.WaitGroup
	for _, query := range []string{"wait=20s", "wait=20s&limit=7", "wait=20&limit=1000", "limit=3"} {
		following.Go(func() {
			var got []int64
			for after := int64(0); len(got) < writers*each; {
				p := follow(t, l, after, query)
				if p.Data == nil {
					return
				}
				for _, e := range p.Data {
					got = append(got, int64(e["position"].(float64)))
				}
				after = p.NextAfter
				if len(p.Data) > 0 && got[len(got)-1] != after {
					t.Errorf("%s: next_after %d behind %d", query, after, got[len(got)-1])
				}
			}
			for i, position := range got { // from 1 on, without a gap
				if position != int64(i+1) {
					t.Errorf("%s: event %d is at %d", query, i, position)
					return
				}
			}
		})
	}
	writing.Wait()
	following.Wait()
	if p := follow(t, l, writers*each, "wait=10ms"); len(p.Data) > 0 || p.NextAfter != writers*each {
		t.Errorf("behind the log: %v", p)
	}
}

func TestFollowingSomeEvents(t *testing.T) {
	t.Parallel()
	l := newLive(t, Config{APIToken: "s3cret"})
	for i := range 10 {
		post(l, said([]string{"A", "B"}[i%2], fmt.Sprintf("s%d", i), "user", "Hi", float64(i)))
	}
	token, ofB := bearerOf("s3cret"), bearerOf(l.key(t, "b", readScope, "B"))
	for name, test := range map[string]struct {
		query   string
		headers []string
		want    string // positions, and next_after
	}{
		"all":                             {"", token, "[1 2 3 4 5 6 7 8 9 10] 10"},
		"behind":                          {"after=7", token, "[8 9 10] 10"},
		"some":                            {"after=2&limit=3", token, "[3 4 5] 5"},
		"of an agent":                     {"agent_id=A&limit=3", token, "[1 3 5] 5"},
		"the last of an agent":            {"agent_id=A&after=8", token, "[9] 10"},
		"of a session":                    {"session_id=s3", token, "[4] 10"},
		"of a type":                       {"event_type=chat.push&after=8", token, "[9 10] 10"},
		"of none":                         {"event_type=test", token, "[] 10"},
		"a key of one agent":              {"", ofB, "[2 4 6 8 10] 10"},
		"a key of one, another asked for": {"agent_id=A", ofB, "[] 10"},
	} {
		w := get(l, "/events?"+test.query, test.headers...)
		var p followedPage
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
			t.Fatal(err)
		}
		positions := []any{}
		for _, e := range p.Data {
			positions = append(positions, e["position"])
		}
		if got := fmt.Sprint(positions, p.NextAfter); got != test.want {
			t.Errorf("%s: %s, want %s", name, got, test.want)
		}
		// A stream has the same rows, whatever the limit of a page.
		target := "/events?format=ndjson&" + test.query
		lines := 0
		for scanner := bufio.NewScanner(get(l, target, test.headers...).Body); scanner.Scan(); lines++ {
			var e row
			if err := json.Unmarshal(scanner.Bytes(), &e); err != nil || lines >= len(positions) || e["position"] != positions[lines] {
				t.Errorf("%s, streamed: line %d is %s", name, lines, scanner.Text())
			}
		}
		if lines != len(positions) {
			t.Errorf("%s, streamed: %d lines of %d", name, lines, len(positions))
		}
	}
	for query, name := range map[string]string{"after=11": "after", "after=-1": "after", "wait=61s": "wait", "format=csv&wait=1s": "wait", "cursor=x": "cursor"} {
		wantBadParameter(t, get(l, "/events?"+query, token...), name)
	}
}

func TestAFollowerWhoseFiltersMatchLittleMakesProgress(t *testing.T) {
	t.Parallel()
	l := newLive(t, Config{})
	l.db.Exec(t, "rapport_server", `SELECT create_events_month('2026-09-01')`)
	l.db.Exec(t, "rapport_owner", fmt.Sprintf(`
		INSERT INTO events (position, occurred_at, received_at, undated, event_type, agent_id, session_id, user_id, role, message,
			message_type, language, room_name, error_code, error_severity, error_category, end_reason, fingerprint, headers, payload)
		SELECT n, '2026-09-28', '2026-09-28', false, 'test', CASE WHEN n = %d THEN 'B' ELSE 'A' END, '', '', '', '', '', '', '', '', '', '', '',
			sha256(n::text::bytea), '{}', '{}'
		FROM generate_series(1, %[1]d) n`, store.MaxScan*maxScans+1))
	l.db.Exec(t, "rapport_owner", `UPDATE log_head SET position = (SELECT max(position) FROM events)`)
	first := follow(t, l, 0, "agent_id=B")
	if len(first.Data) > 0 || first.NextAfter != store.MaxScan*maxScans {
		t.Errorf("%d events, next_after %d", len(first.Data), first.NextAfter)
	}
	if second := follow(t, l, first.NextAfter, "agent_id=B"); len(second.Data) != 1 || second.HasMore {
		t.Errorf("%v", second)
	}
	if w := get(l, "/events?format=csv&agent_id=B"); strings.Count(w.Body.String(), "\n") != 2 {
		t.Errorf("streamed: %s", w.Body)
	}
}

func TestAFollowerWaits(t *testing.T) {
	t.Parallel()
	l := newLive(t, Config{Limits: Limits{Reads: 1}})
	ctx, stop := context.WithCancel(t.Context())
	watching := make(chan struct{})
	go func() { defer close(watching); _ = l.db.Watch.Run(ctx) }()
	t.Cleanup(func() { stop(); <-watching })
	go func() { _ = l.db.Announce(ctx) }()

	post(l, said("A", "s1", "user", "Hi", 1))
	answered := make(chan followedPage, 1)
	go func() { answered <- follow(t, l, 1, "wait=60s&agent_id=B") }()
	for i := range 3 { // the one seat is others' meanwhile
		if w := get(l, "/sessions"); w.Code != http.StatusOK {
			t.Fatal(w.Code, w.Body)
		}
		post(l, said("A", "s1", "user", "Hi", float64(i+2)))
	}
	post(l, said("B", "s2", "user", "Hi", 9))
	if p := <-answered; len(p.Data) != 1 || p.Data[0]["position"] != 5.0 || p.NextAfter != 5 {
		t.Errorf("%v", p)
	}
}

func TestAFollowerIsToldOfWhatIsErased(t *testing.T) {
	t.Parallel()
	l := newLive(t, Config{})
	l.deliver(t, said("A", "s1", "user", "secret", 1), said("A", "s2", "user", "Hi", 2))
	if w := send(l, newRequest(http.MethodDelete, "/sessions/s1", nil)); w.Code != http.StatusOK {
		t.Fatal(w.Code, w.Body)
	}
	p := follow(t, l, 0, "")
	if len(p.Data) != 3 {
		t.Fatalf("%v", p.Data)
	}
	for i, want := range []struct {
		kind   string
		erased bool
	}{{"chat.push", true}, {"chat.push", false}, {"rapport.erased", false}} {
		if e := p.Data[i]; e["event_type"] != want.kind || e["erased"] != want.erased || want.erased && (e["message"] != "" || e["erasure"] == nil) {
			t.Errorf("%v, want %v", e, want)
		}
	}
}
