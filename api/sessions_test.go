package api

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"rapport"
	"rapport/internal/reference"
	"rapport/store/storetest"
)

func TestSessionsAreWhatAnIndependentComputationSays(t *testing.T) {
	t.Parallel()
	l := newLive(t, Config{})
	events := randomEvents(rand.New(rand.NewPCG(1, 2)), 400)
	l.appendAll(t, events)
	now := noon.Add(80 * time.Minute) // some are open
	l.now.Store(&now)

	want := referenceRows(t, events, now)
	if len(want) < 30 {
		t.Fatalf("%d sessions", len(want))
	}
	for _, limit := range []int{1, 7, 1000} {
		requireRows(t, allRows(t, l, "/sessions", limit), want)
	}
}

// TestPagesThatAreAskedForAgainAreAsTheyAreThen asks for the same pages, which are kept,
// while sessions come, close, and are open again by a clock that was set back.
func TestPagesThatAreAskedForAgainAreAsTheyAreThen(t *testing.T) {
	t.Parallel()
	l := newLive(t, Config{})
	events := randomEvents(rand.New(rand.NewPCG(3, 4)), 400)
	appended := 0
	for part := range slices.Chunk(events, 100) {
		for _, e := range part {
			e.SessionID += fmt.Sprint(" of ", appended)
		}
		l.appendAll(t, part)
		appended += len(part)
		for _, later := range []time.Duration{0, time.Minute, 80 * time.Minute, 0, 100 * time.Hour} {
			now := noon.Add(later)
			l.now.Store(&now)
			want := referenceRows(t, events[:appended], now)
			requireRows(t, allRows(t, l, "/sessions", 7), want)
			requireRows(t, allRows(t, l, "/sessions", 100), want)
		}
	}
}

// TestReadersOfOnePageDoNotDisturbEachOther is for the race detector, too.
func TestReadersOfOnePageDoNotDisturbEachOther(t *testing.T) {
	t.Parallel()
	l := newLive(t, Config{})
	l.appendAll(t, randomEvents(rand.New(rand.NewPCG(5, 6)), 200))
	for _, now := range []time.Time{noon, noon.Add(100 * time.Hour)} { // open ones, and all closed
		l.now.Store(&now)
		want := decodeJSON(t, get(l, "/sessions?limit=100"))["data"]
		var readers sync.WaitGroup
		for range 4 {
			readers.Go(func() {
				for range 20 {
					var page struct{ Data any }
					if err := json.Unmarshal(get(l, "/sessions?limit=100").Body.Bytes(), &page); err != nil || !reflect.DeepEqual(page.Data, want) {
						t.Errorf("another page: %v", err)
					}
				}
			})
		}
		readers.Wait()
	}
}

// referenceRows are the sessions of events as /sessions should show them at a time.
func referenceRows(t *testing.T, events []*rapport.Event, now time.Time) []row {
	t.Helper()
	var all []rapport.Event
	for _, e := range events {
		all = append(all, *e)
	}
	text, err := json.Marshal(reference.Sessions(all, rapport.DefaultSettings(), now))
	if err != nil {
		t.Fatal(err)
	}
	var rows []row
	if err := json.Unmarshal(text, &rows); err != nil {
		t.Fatal(err)
	}
	return rows
}

func requireRows(t *testing.T, got, want []row) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d sessions, want %d", len(got), len(want))
	}
	for i := range want {
		if !reflect.DeepEqual(got[i], want[i]) {
			t.Fatalf("session %d:\n%v\nwant\n%v", i, got[i], want[i])
		}
	}
}

// compareRows is the order that a list promises.
func compareRows(a, b row, column string, descending bool) int {
	if c := compareValues(a[column], b[column], descending); c != 0 {
		return c
	}
	for _, name := range []string{"agent_id", "session_id", "started_at"} {
		if c := strings.Compare(a[name].(string), b[name].(string)); c != 0 {
			return c
		}
	}
	return 0
}

func compareValues(a, b any, descending bool) int {
	sign := 1
	if descending {
		sign = -1
	}
	switch {
	case a == nil && b == nil:
		return 0
	case a == nil:
		return 1
	case b == nil:
		return -1
	}
	if a, ok := a.(string); ok {
		return sign * strings.Compare(a, b.(string))
	}
	switch x, y := a.(float64), b.(float64); {
	case x < y:
		return -sign
	case x > y:
		return sign
	}
	return 0
}

func TestEverySortPagesThroughEverySessionOnce(t *testing.T) {
	t.Parallel()
	l := newLive(t, Config{})
	l.appendAll(t, randomEvents(rand.New(rand.NewPCG(3, 4)), 300))
	all := allRows(t, l, "/sessions", 1000)
	for _, column := range []string{"started_at", "last_activity_at", "message_count", "engagement_score", "quality_score", "duration_s"} {
		for _, descending := range []bool{false, true} {
			sort := column
			if descending {
				sort = "-" + column
			}
			want := slices.SortedFunc(slices.Values(all), func(a, b row) int { return compareRows(a, b, column, descending) })
			for _, limit := range []int{3, 50} {
				if got := allRows(t, l, "/sessions?sort="+sort, limit); !reflect.DeepEqual(got, want) {
					t.Errorf("sort=%s in pages of %d: another order, or other sessions", sort, limit)
				}
			}
		}
	}
}

func TestFiltersOfSessions(t *testing.T) {
	t.Parallel()
	l := newLive(t, Config{})
	l.appendAll(t, randomEvents(rand.New(rand.NewPCG(5, 6)), 300))
	now := noon.Add(80 * time.Minute)
	l.now.Store(&now)
	all := allRows(t, l, "/sessions", 1000)
	middle := all[len(all)/2]["started_at"].(string)
	offset, err := time.Parse(time.RFC3339, middle)
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := url.QueryEscape(offset.In(time.FixedZone("", 5400)).Format(time.RFC3339Nano))
	for query, keep := range map[string]func(row) bool{
		"from=" + middle:                         func(r row) bool { return r["started_at"].(string) >= middle },
		"to=" + middle:                           func(r row) bool { return r["started_at"].(string) < middle },
		"from=" + elsewhere:                      func(r row) bool { return r["started_at"].(string) >= middle },
		"to=0001-01-01T00:00:00Z":                func(row) bool { return false },
		"agent_id=agent1":                        func(r row) bool { return r["agent_id"] == "agent1" },
		"agent_id=agent":                         func(row) bool { return false },
		"session_id=session2&agent_id=agent2":    func(r row) bool { return r["session_id"] == "session2" && r["agent_id"] == "agent2" },
		"status=open":                            func(r row) bool { return r["status"] == "open" },
		"status=closed":                          func(r row) bool { return r["status"] == "closed" },
		"engagement_tier=bounced":                func(r row) bool { return r["engagement_tier"] == "bounced" },
		"engagement_tier=engaged&min_messages=2": func(r row) bool { return r["engagement_tier"] == "engaged" && r["message_count"].(float64) >= 2 },
		"min_messages=3":                         func(r row) bool { return r["message_count"].(float64) >= 3 },
	} {
		t.Run(query, func(t *testing.T) {
			t.Parallel()
			var want []row
			for _, r := range all {
				if keep(r) {
					want = append(want, r)
				}
			}
			if got := allRows(t, l, "/sessions?"+query, 4); !reflect.DeepEqual(got, want) {
				t.Errorf("%d sessions, want %d", len(got), len(want))
			}
		})
	}
}

func TestACursorKeepsTheNowOfItsFirstPage(t *testing.T) {
	t.Parallel()
	l := newLive(t, Config{})
	l.deliver(t, said("a", "s1", "user", "hi", 0), said("a", "s2", "user", "hi", 1))
	first := decodeJSON(t, get(l, "/sessions?limit=1&status=open"))
	later := noon.Add(time.Hour) // both are closed by now
	l.now.Store(&later)
	second := decodeJSON(t, get(l, "/sessions?limit=1&status=open&cursor="+first["next_cursor"].(string)))
	if data := second["data"].([]any); len(data) != 1 || data[0].(row)["status"] != "open" {
		t.Errorf("the second page: %v", second)
	}
	if got := allRows(t, l, "/sessions?status=open", 5); len(got) != 0 {
		t.Errorf("a new list has %v", got)
	}
}

func TestAnEmptyList(t *testing.T) {
	t.Parallel()
	l := newLive(t, Config{})
	for _, path := range []string{"/sessions", "/quarantine"} {
		w := get(l, path)
		if got := w.Body.String(); !strings.HasPrefix(got, `{"data":[],"next_cursor":null,"has_more":false,"query":{`) {
			t.Errorf("%s: %s", path, got)
		}
	}
	for _, path := range []string{"/sessions/x", "/sessions/x/messages", "/sessions/x/events"} {
		wantProblem(t, get(l, path), http.StatusNotFound)
	}
}

func TestIdsOfAnyCharacters(t *testing.T) {
	t.Parallel()
	l := newLive(t, Config{})
	ids := []string{"a/b", "a%b", "100%25", "a b", "a+b", "ünï/cödé", "日本", "..", "?x=1&y#z", "messages", `"quoted"\`, "\uFFFD"}
	for i, id := range ids {
		l.deliver(t, said(id, id, "user", "hi", float64(i)))
	}
	for _, id := range ids {
		path := "/sessions/" + url.PathEscape(id)
		wantColumn(t, decodeRows(t, l, path), "session_id", id)
		wantColumn(t, decodeRows(t, l, path+"?agent_id="+url.QueryEscape(id)), "agent_id", id)
		wantColumn(t, allRows(t, l, path+"/messages", 5), "session_id", id)
		wantColumn(t, allRows(t, l, path+"/events", 5), "session_id", id)
		wantColumn(t, allRows(t, l, "/sessions?session_id="+url.QueryEscape(id)+"&agent_id="+url.QueryEscape(id), 5), "session_id", id)
	}
	t.Run("what Postgres cannot hold finds what stands for it", func(t *testing.T) {
		for _, path := range []string{"/sessions/%00", "/sessions/%FF", "/sessions?session_id=%00", "/sessions/%00/messages?agent_id=%FF"} {
			wantColumn(t, decodeRows(t, l, path), "session_id", "\uFFFD")
		}
	})
	if got := allRows(t, l, "/sessions?sort=started_at", 1); len(got) != len(ids) {
		t.Errorf("%d sessions in pages of one, want %d", len(got), len(ids))
	}
}

func TestTheWindowsOfASession(t *testing.T) {
	t.Parallel()
	l := newLive(t, Config{})
	l.deliver(t,
		said("a", "s", "user", "later", 7200), said("a", "s", "user", "first", 0), said("a", "s", "agent", "answer", 5),
		said("b", "s", "user", "elsewhere", 3600), said("a", "other", "user", "no", 0))
	wantColumn(t, decodeRows(t, l, "/sessions/s"), "agent_id", "a", "b", "a")
	wantColumn(t, decodeRows(t, l, "/sessions/s?agent_id=a"), "message_count", "2", "1")
	wantProblem(t, get(l, "/sessions/s?agent_id=c"), http.StatusNotFound)
	wantProblem(t, get(l, "/sessions/S"), http.StatusNotFound)
}

func TestTheJSONOfSessionsIsTheViewsColumns(t *testing.T) {
	t.Parallel()
	l := newLive(t, Config{})
	columns := storetest.Query(t, l.db, "rapport_reader", pgx.RowTo[string], "SELECT attname::text FROM pg_attribute WHERE attrelid = 'analytics.sessions'::regclass AND attnum > 0 ORDER BY attnum")
	if !slices.Equal(columns, sessionFields) {
		t.Errorf("columns %q, want %q", columns, sessionFields)
	}
}
