package api

import (
	"fmt"
	"maps"
	"math"
	"math/big"
	"math/rand/v2"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"rapport"
)

// visits is a server with conversations of several agents over some days, of visitors
// and in rooms, with errors and ratings.
func visits(t *testing.T, config Config) *live {
	t.Helper()
	l := newLive(t, config)
	rng := rand.New(rand.NewPCG(7, 8))
	events := randomEvents(rng, 600)
	for i, e := range events {
		day := rng.IntN(6)
		e.OccurredAt = e.OccurredAt.Add(time.Duration(-24*day)*time.Hour + time.Duration(rng.IntN(7_000_000))*time.Microsecond)
		e.SessionID = fmt.Sprint(e.SessionID, "-", day)
		e.UserID = []string{"", "ann", "bob"}[rng.IntN(3)]
		e.RoomName = []string{"", "lobby", "hall", "garden"}[rng.IntN(4)]
		switch {
		case i%17 == 0:
			e.Type, e.Role, e.Text = rapport.AgentError, "", ""
			e.ErrorCode = []string{"E1", "E2", "E3", ""}[rng.IntN(4)]
			e.ErrorSeverity, e.ErrorCategory = "high", "llm"
		case i%19 == 0:
			e.Type, e.Role, e.Text, e.Rating = "session.userSatisfaction", "", "", new(float64(rng.IntN(50))/10+0.0005)
		}
	}
	l.appendAll(t, events)
	l.now.Store(new(noon.Add(6 * time.Hour)))
	return l
}

const (
	visitsFrom = "2026-09-20T00:00:00Z"
	visitsTo   = "2026-09-29T00:00:00Z"
)

func statsOf(t *testing.T, l http.Handler, target string) row {
	t.Helper()
	w := get(l, target)
	if w.Code != http.StatusOK {
		t.Fatalf("GET %s: %d %s", target, w.Code, w.Body)
	}
	return decodeJSON(t, w)
}

// TestStatistics asks one server whatever only reads.
func TestStatistics(t *testing.T) {
	t.Parallel()
	l := visits(t, Config{})
	for name, holds := range map[string]func(*testing.T, *live){
		"stats are what the list of sessions says":      statsAreWhatTheListOfSessionsSays,
		"one metric and the query that was understood":  oneMetricAndTheQueryThatWasUnderstood,
		"the answer has both ranges":                    theAnswerHasBothRanges,
		"a time series adds up and leaves nothing out":  aTimeSeriesAddsUpAndLeavesNothingOut,
		"a breakdown is the list of sessions in groups": aBreakdownIsTheListOfSessionsInGroups,
		"the rest of a breakdown is one row":            theRestOfABreakdownIsOneRow,
		"events by type and by error code":              eventsByTypeAndByErrorCode,
		"the funnel":                                    theFunnel,
		"the sessions of a visitor":                     theSessionsOfAVisitor,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			holds(t, l)
		})
	}
}

// statsAreWhatTheListOfSessionsSays computes each number from GET /sessions: for
// agents from totals that are kept, for other filters from the sessions in SQL.
func statsAreWhatTheListOfSessionsSays(t *testing.T, l *live) {
	for _, filters := range []string{
		"from=" + visitsFrom + "&to=" + visitsTo,
		"from=2026-09-24T11:13:14.151617Z&to=2026-09-28T12:30:00Z",
		"from=2026-09-24T11:13:14Z&to=2026-09-28T12:30:00Z&agent_id=agent1",
		"from=" + visitsFrom + "&to=" + visitsTo + "&engagement_tier=engaged",
		"from=" + visitsFrom + "&to=" + visitsTo + "&user_id=ann&agent_id=agent2",
		"from=" + visitsFrom + "&to=" + visitsTo + "&room_name=lobby&min_messages=2",
		"from=" + visitsFrom + "&to=" + visitsTo + "&min_messages=1",
		"from=" + visitsFrom + "&to=" + visitsTo + "&agent_id=nobody",
	} {
		t.Run(filters, func(t *testing.T) {
			t.Parallel()
			want := metricsOf(allRows(t, l, "/sessions?"+filters, 1000))
			got := statsOf(t, l, "/stats?"+filters)["data"].(row)
			wantNumbers(t, got, want)
			if len(got) != len(metrics) {
				t.Errorf("%d metrics, want %d", len(got), len(metrics))
			}
		})
	}
}

// wantNumbers compares what are numbers in what was got with what is wanted; what is
// within 1 % is not compared more closely.
func wantNumbers(t *testing.T, got, want row) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(want)) {
		g, w := got[name], want[name]
		if strings.HasPrefix(name, "p50") || strings.HasPrefix(name, "p95") {
			if (g == nil) != (w == nil) || g != nil && math.Abs(g.(float64)-w.(float64)) > 0.01*w.(float64)+1e-9 {
				t.Errorf("%s = %v, want about %v", name, g, w)
			}
			continue
		}
		if !reflect.DeepEqual(g, w) {
			t.Errorf("%s = %v, want %v", name, g, w)
		}
	}
}

// metricsOf computes every metric from rows of GET /sessions, with fractions.
func metricsOf(sessions []row) row {
	sum := func(name string) *big.Rat {
		total := new(big.Rat)
		for _, s := range sessions {
			if v, ok := s[name].(float64); ok {
				total.Add(total, new(big.Rat).SetFrac64(int64(math.Round(v*1000)), 1000))
			}
		}
		return total
	}
	where := func(holds func(row) bool) *big.Rat {
		n := int64(0)
		for _, s := range sessions {
			if holds(s) {
				n++
			}
		}
		return big.NewRat(n, 1)
	}
	has := func(name string) *big.Rat { return where(func(s row) bool { return s[name] != nil }) }
	tier := func(name string) *big.Rat { return where(func(s row) bool { return s["engagement_tier"] == name }) }
	all := big.NewRat(int64(len(sessions)), 1)
	per := func(num, den *big.Rat, decimals int) any {
		if den.Sign() == 0 {
			return nil
		}
		return rounded(new(big.Rat).Quo(num, den), decimals)
	}
	exact := func(r *big.Rat) any { f, _ := r.Float64(); return f }
	quantile := func(name string, q float64) any {
		var values []float64
		for _, s := range sessions {
			if v, ok := s[name].(float64); ok {
				values = append(values, v)
			}
		}
		if len(values) == 0 {
			return nil
		}
		slices.Sort(values)
		return values[max(0, int(math.Ceil(q*float64(len(values))))-1)]
	}
	return row{
		"sessions": exact(all), "engaged_sessions": exact(where(func(s row) bool { return s["user_message_count"].(float64) > 0 })),
		"bounce_rate": per(tier("bounced"), all, 4), "bounced": exact(tier("bounced")), "engaged": exact(tier("engaged")),
		"continued": exact(tier("continued")), "deep": exact(tier("deep")), "messages": exact(sum("message_count")),
		"user_messages": exact(sum("user_message_count")), "agent_messages": exact(sum("agent_message_count")),
		"turns": exact(sum("turn_count")), "answered_turns": exact(sum("answered_turn_count")),
		"avg_duration_s": per(sum("duration_s"), all, 3), "avg_active_s": per(sum("active_s"), all, 3),
		"avg_messages": per(sum("message_count"), all, 3), "avg_turns": per(sum("turn_count"), all, 3),
		"avg_response_s": per(new(big.Rat).Quo(sum("response_ms_total"), big.NewRat(1000, 1)), sum("answered_turn_count"), 3),
		"answer_rate":    per(sum("answered_turn_count"), sum("turn_count"), 4), "quick_answer_rate": per(sum("quick_answer_count"), sum("answered_turn_count"), 4),
		"repeat_rate": per(sum("repeat_count"), sum("user_message_count"), 4), "friction_rate": per(sum("friction_count"), sum("user_message_count"), 4),
		"avg_engagement": per(sum("engagement_score"), all, 3), "avg_quality": per(sum("quality_score"), has("quality_score"), 3),
		"avg_sentiment": per(sum("sentiment"), has("sentiment"), 3), "avg_rating": per(sum("rating"), has("rating"), 3),
		"errors": exact(sum("error_count")), "error_rate": per(sum("error_count"), all, 4),
		"p50_duration_s": quantile("duration_s", 0.5), "p95_duration_s": quantile("duration_s", 0.95),
		"p50_response_s": quantile("avg_response_s", 0.5), "p95_response_s": quantile("avg_response_s", 0.95),
	}
}

// rounded is a fraction with so many decimals, half away from zero.
func rounded(r *big.Rat, decimals int) float64 {
	var f float64
	_, _ = fmt.Sscan(r.FloatString(decimals), &f)
	return f
}

func oneMetricAndTheQueryThatWasUnderstood(t *testing.T, l *live) {
	got := statsOf(t, l, "/stats?metrics=sessions,avg_quality,sessions&agent_id=agent1&tz=Asia/Kolkata")
	if data := got["data"].(row); len(data) != 2 || data["sessions"] == nil {
		t.Errorf("data %v", data)
	}
	want := row{
		"from": "2026-08-29T18:01:00.000000Z", "to": "2026-09-28T18:01:00.000000Z", "tz": "Asia/Kolkata",
		"metrics": []any{"sessions", "avg_quality"}, "agent_id": "agent1", "engagement_tier": nil, "user_id": nil,
		"room_name": nil, "min_messages": float64(0), "compare": nil,
	}
	if !reflect.DeepEqual(got["query"], want) {
		t.Errorf("query %v\nwant  %v", got["query"], want)
	}
	if got["previous"] != nil || got["change_percent"] != nil {
		t.Errorf("compared with something: %v", got)
	}
}

func TestWhatIsUnknownIsRefusedWithWhatIsKnown(t *testing.T) {
	t.Parallel()
	h := newServer(t, options{})
	for query, want := range map[string]string{
		"/stats?metrics=sesions":   "avg_engagement",
		"/stats?metrics=sessions,": "avg_engagement",
		"/stats?tz=Europe/Nowhere": "Europe/Berlin",
		"/stats?tz=Local":          "IANA",
		"/stats?tz=right/UTC":      "IANA",
		"/stats?compare=next":      "previous",
		"/stats?from=2026-01-02T00:00:00Z&to=2026-01-02T00:00:00Z":                         "before to",
		"/stats?from=2030-01-02T00:00:00Z":                                                 "before to",
		"/stats/timeseries?interval=second":                                                "quarter_hour",
		"/stats/timeseries?interval=minute":                                                "10000",
		"/stats/breakdown?by=color":                                                        "hour_of_day",
		"/stats/breakdown?sort=color":                                                      "-sessions",
		"/stats/breakdown?sort=events":                                                     "event_type",
		"/stats/breakdown?by=event_type&sort=sessions":                                     "events",
		"/stats/breakdown?by=event_type&user_id=ann":                                       "agent_id",
		"/stats/breakdown?by=event_type&metrics=errors":                                    "events",
		"/stats/breakdown?by=error_code&from=2026-01-02T00:01:00Z&to=2026-01-02T00:14:00Z": "quarter hour",
		"/stats/breakdown?limit=1001":                                                      "1000",
		"/agents?sort=color":                                                               "last_seen_at",
		"/users/ann/sessions?sort=message_count":                                           "started_at",
	} {
		p := wantProblem(t, get(h, query), http.StatusBadRequest)
		if !strings.Contains(p["detail"].(string), want) {
			t.Errorf("%s: %v doesn't tell of %s", query, p["detail"], want)
		}
	}
}

func TestComparedWithTheTimeBefore(t *testing.T) {
	t.Parallel()
	berlin := placeNamed(t, "Europe/Berlin")
	for _, c := range []struct{ from, to, want string }{
		{"2025-04-01T00:00:00Z", "2025-04-02T06:00:00Z", "2025-03-30T18:00:00Z"},
		{"2025-03-31T00:00:00+02:00", "2025-04-01T00:00:00+02:00", "2025-03-30T00:00:00+01:00"}, // which had 23 hours
		{"2025-03-24T00:00:00+01:00", "2025-03-31T00:00:00+02:00", "2025-03-17T00:00:00+01:00"},
		{"2025-03-01T00:00:00+01:00", "2025-04-01T00:00:00+02:00", "2025-02-01T00:00:00+01:00"},
		{"2025-01-01T00:00:00+01:00", "2025-04-01T00:00:00+02:00", "2024-10-01T00:00:00+02:00"},
		{"2025-01-01T00:00:00+01:00", "2026-01-01T00:00:00+01:00", "2024-01-01T00:00:00+01:00"},
		{"1970-01-02T00:00:00Z", "1970-02-01T00:00:00Z", "1970-01-01T00:00:00Z"},
	} {
		if got := before(instant(t, c.from), instant(t, c.to), berlin); !got.Equal(instant(t, c.want)) {
			t.Errorf("before %s to %s is from %s, want %s", c.from, c.to, got, c.want)
		}
	}
	for _, c := range []struct {
		now, before figure
		want        string
	}{
		{figure{3, 0, true}, figure{2, 0, true}, "50.0"},
		{figure{2, 0, true}, figure{3, 0, true}, "-33.3"},
		{figure{-100, 3, true}, figure{-200, 3, true}, "50.0"},
		{figure{100, 3, true}, figure{-200, 3, true}, "150.0"},
		{figure{0, 0, true}, figure{7, 0, true}, "-100.0"},
		{figure{7, 0, true}, figure{0, 0, true}, "null"},
		{figure{7, 3, true}, figure{}, "null"},
		{figure{}, figure{7, 3, true}, "null"},
		{figure{math.MaxInt64, 0, true}, figure{math.MaxInt64 - 1, 0, true}, "0.0"},
	} {
		if got, _ := percentChange(c.now, c.before).MarshalJSON(); string(got) != c.want {
			t.Errorf("from %v to %v: %s, want %s", c.before, c.now, got, c.want)
		}
	}
}

func theAnswerHasBothRanges(t *testing.T, l *live) {
	got := statsOf(t, l, "/stats?from=2026-09-27T00:00:00Z&to=2026-09-29T00:00:00Z&compare=previous&metrics=sessions,avg_quality")
	earlier := statsOf(t, l, "/stats?from=2026-09-25T00:00:00Z&to=2026-09-27T00:00:00Z&metrics=sessions,avg_quality")
	if !reflect.DeepEqual(got["previous"], earlier["data"]) || got["previous_from"] != "2026-09-25T00:00:00.000000Z" || got["previous_to"] != "2026-09-27T00:00:00.000000Z" {
		t.Errorf("%v, want %v", got, earlier)
	}
	now, then := got["data"].(row)["sessions"].(float64), earlier["data"].(row)["sessions"].(float64)
	if change := got["change_percent"].(row)["sessions"].(float64); now == then || math.Abs(change-100*(now-then)/then) > 0.06 {
		t.Errorf("from %v to %v is %v %%", then, now, change)
	}
	if all := statsOf(t, l, "/stats?from=1970-01-01T00:00:00Z&compare=previous"); all["previous"].(row)["sessions"] != float64(0) {
		t.Errorf("before 1970 there was %v", all["previous"])
	}
}

func aTimeSeriesAddsUpAndLeavesNothingOut(t *testing.T, l *live) {
	for _, filters := range []string{"", "&agent_id=agent0", "&room_name=lobby", "&engagement_tier=bounced"} {
		for _, interval := range []string{"auto", "quarter_hour", "hour", "day", "week", "month"} {
			query := "from=2026-09-22T10:07:08Z&to=2026-09-28T13:02:00Z" + filters
			got := statsOf(t, l, "/stats/timeseries?metrics=sessions,messages,avg_quality,p50_duration_s&tz=Europe/Berlin&interval="+interval+"&"+query)
			total := statsOf(t, l, "/stats?metrics=sessions,messages&"+query)["data"].(row)
			sessions, messages, end := 0.0, 0.0, "2026-09-22T10:07:08.000000Z"
			for _, r := range rowsIn(got) {
				if r["from"] != end {
					t.Fatalf("%s: from %v behind %v", interval, r["from"], end)
				}
				end = r["to"].(string)
				sessions, messages = sessions+r["sessions"].(float64), messages+r["messages"].(float64)
				if r["sessions"] == float64(0) && (r["avg_quality"] != nil || r["p50_duration_s"] != nil) {
					t.Errorf("%s: an average of nothing: %v", interval, r)
				}
			}
			if end != "2026-09-28T13:02:00.000000Z" || sessions != total["sessions"] || messages != total["messages"] || sessions < 3 {
				t.Errorf("%s%s: until %s %v sessions and %v messages, want %v", interval, filters, end, sessions, messages, total)
			}
		}
	}
}

func rowsIn(answer row) []row {
	var rows []row
	for _, r := range answer["data"].([]any) {
		rows = append(rows, r.(row))
	}
	return rows
}

func TestWhatIsCutSaysSo(t *testing.T) {
	t.Parallel()
	l := newLive(t, Config{})
	got := statsOf(t, l, "/stats/timeseries?metrics=sessions&interval=day&tz=America/New_York&from=2025-03-08T12:00:00Z&to=2025-03-10T04:00:00Z")
	want := []row{
		{"start": "2025-03-08T00:00:00-05:00", "from": "2025-03-08T12:00:00.000000Z", "to": "2025-03-09T05:00:00.000000Z", "partial": true, "sessions": 0.0},
		{"start": "2025-03-09T00:00:00-05:00", "from": "2025-03-09T05:00:00.000000Z", "to": "2025-03-10T04:00:00.000000Z", "partial": false, "sessions": 0.0},
	}
	if rows := rowsIn(got); !reflect.DeepEqual(rows, want) {
		t.Errorf("%v\nwant %v", rows, want)
	}
	for _, c := range []struct {
		from, to string
		partial  []any
	}{
		{"2025-03-08T05:00:00Z", "2025-03-09T06:00:00Z", []any{false, true}},
		{"2025-03-08T06:00:00Z", "2025-03-08T07:00:00Z", []any{true}},
		{"2025-03-08T05:00:00Z", "2025-03-08T07:00:00Z", []any{true}},
		{"2025-03-08T06:00:00Z", "2025-03-09T05:00:00Z", []any{true}},
	} {
		var partial []any
		for _, r := range rowsIn(statsOf(t, l, "/stats/timeseries?interval=day&tz=America/New_York&from="+c.from+"&to="+c.to)) {
			partial = append(partial, r["partial"])
		}
		if !slices.Equal(partial, c.partial) {
			t.Errorf("%s to %s: %v, want %v", c.from, c.to, partial, c.partial)
		}
	}
	if interval := got["query"].(row)["interval"]; interval != "day" {
		t.Errorf("interval %v", interval)
	}
	auto := statsOf(t, l, "/stats/timeseries")
	if auto["query"].(row)["interval"] != "day" || len(rowsIn(auto)) != 31 {
		t.Errorf("30 days by %v are %d rows", auto["query"].(row)["interval"], len(rowsIn(auto)))
	}
}

// aBreakdownIsTheListOfSessionsInGroups computes each group from GET /sessions.
func aBreakdownIsTheListOfSessionsInGroups(t *testing.T, l *live) {
	place := placeNamed(t, "Asia/Kolkata")
	startOf := func(s row) time.Time { return instant(t, s["started_at"].(string)).In(place) }
	for by, keyOf := range map[string]func(row) string{
		"agent":       func(s row) string { return s["agent_id"].(string) },
		"tier":        func(s row) string { return s["engagement_tier"].(string) },
		"room":        func(s row) string { return s["room_name"].(string) },
		"hour_of_day": func(s row) string { return fmt.Sprint(startOf(s).Hour()) },
		"weekday":     func(s row) string { return strings.ToLower(startOf(s).Weekday().String()) },
	} {
		for _, filters := range []string{"", "&agent_id=agent1", "&min_messages=2"} {
			t.Run(by+filters, func(t *testing.T) {
				t.Parallel()
				query := "from=2026-09-23T12:30:01Z&to=" + visitsTo + filters
				groups := map[string][]row{}
				sessions := allRows(t, l, "/sessions?"+query, 1000)
				for _, s := range sessions {
					groups[keyOf(s)] = append(groups[keyOf(s)], s)
				}
				got := statsOf(t, l, "/stats/breakdown?tz=Asia/Kolkata&by="+by+"&"+query)
				for _, r := range rowsIn(got) {
					wantNumbers(t, r, metricsOf(groups[r["key"].(string)]))
					delete(groups, r["key"].(string))
				}
				if len(groups) > 0 || got["other"] != nil {
					t.Errorf("left out: %d groups, other %v", len(groups), got["other"])
				}
				wantNumbers(t, got["total"].(row), metricsOf(sessions))
			})
		}
	}
}

func theRestOfABreakdownIsOneRow(t *testing.T, l *live) {
	query := "from=" + visitsFrom + "&to=" + visitsTo
	sessions := allRows(t, l, "/sessions?"+query, 1000)
	for _, by := range []string{"room", "agent"} {
		for _, sort := range []string{"-sessions", "avg_quality", "-p95_duration_s", "key", "-key"} {
			all := statsOf(t, l, "/stats/breakdown?by="+by+"&sort="+sort+"&"+query)
			first := statsOf(t, l, "/stats/breakdown?limit=2&by="+by+"&sort="+sort+"&"+query)
			if !reflect.DeepEqual(rowsIn(first), rowsIn(all)[:2]) || !reflect.DeepEqual(first["total"], all["total"]) {
				t.Errorf("by %s, sort %s: another first two, or another total", by, sort)
			}
			name := strings.TrimPrefix(sort, "-")
			if !slices.IsSortedFunc(rowsIn(all), func(a, b row) int { return compareValues(a[name], b[name], name != sort) }) {
				t.Errorf("by %s, sort %s: %v", by, sort, column(rowsIn(all), name))
			}
			shown := column(rowsIn(first), "key")
			rest := slices.DeleteFunc(slices.Clone(sessions), func(s row) bool {
				key := map[string]string{"room": "room_name", "agent": "agent_id"}[by]
				return slices.Contains(shown, s[key].(string))
			})
			wantNumbers(t, first["other"].(row), metricsOf(rest))
		}
	}
}

func TestTheHoursOfADayAreThoseOfTheLocalClock(t *testing.T) {
	t.Parallel()
	l := newLive(t, Config{})
	autumn := time.Date(2025, 10, 26, 0, 30, 0, 0, time.UTC).Sub(noon).Seconds() // 02:30 in Berlin, and an hour later 02:30 again
	l.deliver(t, said("a", "s1", "user", "hi", autumn), said("a", "s2", "user", "hi", autumn+3600), said("a", "s3", "user", "hi", autumn+7200))
	got := statsOf(t, l, "/stats/breakdown?by=hour_of_day&metrics=sessions&tz=Europe/Berlin&from=2015-01-01T00:00:00Z")
	rows := rowsIn(got)
	if len(rows) != 24 || rows[2]["sessions"] != 2.0 || rows[3]["sessions"] != 1.0 || rows[23]["key"] != "23" {
		t.Errorf("%v", rows)
	}
	week := rowsIn(statsOf(t, l, "/stats/breakdown?by=weekday&metrics=sessions&from=2015-01-01T00:00:00Z"))
	wantColumn(t, week, "key", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
	wantColumn(t, week, "sessions", "0", "0", "0", "0", "0", "0", "3")
}

func eventsByTypeAndByErrorCode(t *testing.T, l *live) {
	query := "from=2026-09-20T00:07:00Z&to=2026-09-29T00:14:59Z"
	types := statsOf(t, l, "/stats/breakdown?by=event_type&"+query)
	if q := types["query"].(row); q["from"] != "2026-09-20T00:00:00.000000Z" || q["to"] != "2026-09-29T00:00:00.000000Z" {
		t.Errorf("query %v", q)
	}
	if rows := rowsIn(types); rows[0]["key"] != "chat.push" || types["total"].(row)["events"] != 600.0 {
		t.Errorf("%v", types)
	}
	codes := statsOf(t, l, "/stats/breakdown?by=error_code&sort=key&limit=2&"+query)
	rows := rowsIn(codes)
	wantColumn(t, rows, "key", "", "E1")
	wantColumn(t, rows, "error_severity", "high", "high")
	wantColumn(t, rows, "error_category", "llm", "llm")
	errors := 0.0
	for _, r := range append(rows, codes["other"].(row)) {
		errors += r["events"].(float64)
	}
	if errors != codes["total"].(row)["events"] || errors != statsOf(t, l, "/stats?metrics=errors&"+query)["data"].(row)["errors"] {
		t.Errorf("%v errors: %v", errors, codes)
	}
	one := statsOf(t, l, "/stats/breakdown?by=event_type&agent_id=agent1&"+query)["total"].(row)["events"].(float64)
	if one <= 0 || one >= 600 {
		t.Errorf("%v events of one agent", one)
	}
}

func theFunnel(t *testing.T, l *live) {
	query := "from=" + visitsFrom + "&to=" + visitsTo
	m := metricsOf(allRows(t, l, "/sessions?"+query, 1000))
	counts := []float64{m["sessions"].(float64), m["engaged_sessions"].(float64), m["continued"].(float64) + m["deep"].(float64), m["deep"].(float64)}
	rows := rowsIn(statsOf(t, l, "/stats/funnel?"+query))
	wantColumn(t, rows, "step", "joined", "first_message", "second_turn", "deep")
	for i, r := range rows {
		before := counts[max(0, i-1)]
		if r["sessions"] != counts[i] || math.Abs(r["share_of_first"].(float64)-counts[i]/counts[0]) > 0.0001 ||
			math.Abs(r["share_of_previous"].(float64)-counts[i]/before) > 0.0001 {
			t.Errorf("%v, want %v of %v and %v", r, counts[i], counts[0], before)
		}
	}
	none := rowsIn(statsOf(t, l, "/stats/funnel?agent_id=nobody"))
	if none[0]["sessions"] != 0.0 || none[0]["share_of_first"] != nil || none[3]["share_of_previous"] != nil {
		t.Errorf("of nobody: %v", none)
	}
}

func TestTablesAsCSVAndNDJSON(t *testing.T) {
	t.Parallel()
	l := newLive(t, Config{})
	l.deliver(t, said("=a", "s1", "user", "hi", 0), said("b", "s2", "agent", "hi", 30))
	w := get(l, "/stats/breakdown?metrics=sessions,avg_quality&sort=key&limit=1&from=2026-09-28T12:00:00Z", "Accept", "text/csv")
	want := "kind,key,error_severity,error_category,sessions,avg_quality\ngroup,'=a,,,1,40.000\nother,,,,1,\ntotal,,,,2,40.000\n"
	if w.Body.String() != want || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/csv") || !strings.Contains(w.Header().Get("X-Query"), `"by":"agent"`) {
		t.Errorf("%s\nwant %s%v", w.Body, want, w.Header())
	}
	w = get(l, "/stats/timeseries?metrics=sessions&interval=hour&format=ndjson&from=2026-09-28T11:00:00Z")
	want = `{"start":"2026-09-28T11:00:00Z","from":"2026-09-28T11:00:00.000000Z","to":"2026-09-28T12:00:00.000000Z","partial":false,"sessions":0}` + "\n" +
		`{"start":"2026-09-28T12:00:00Z","from":"2026-09-28T12:00:00.000000Z","to":"2026-09-28T12:01:00.000000Z","partial":true,"sessions":2}` + "\n"
	if w.Body.String() != want {
		t.Errorf("%s\nwant %s", w.Body, want)
	}
	w = get(l, "/stats/funnel?format=csv&from=2026-09-28T11:00:00Z")
	want = "step,sessions,share_of_first,share_of_previous\njoined,2,1.0000,1.0000\nfirst_message,1,0.5000,0.5000\nsecond_turn,0,0.0000,0.0000\ndeep,0,0.0000,\n"
	if w.Body.String() != want {
		t.Errorf("%s\nwant %s", w.Body, want)
	}
}

func TestAKeyOfAnAgentCountsNothingOfOthers(t *testing.T) {
	t.Parallel()
	l := visits(t, Config{APIToken: "s3cret"})
	everybody, mine := as(l, "s3cret"), as(l, l.key(t, "mine", readScope, "agent1", "agent7"))
	query := "from=" + visitsFrom + "&to=" + visitsTo
	for _, path := range []string{
		"/stats?", "/stats?user_id=ann&", "/stats/timeseries?interval=day&", "/stats/funnel?", "/stats/breakdown?by=tier&",
		"/stats/breakdown?by=room&", "/stats/breakdown?by=hour_of_day&", "/stats/breakdown?by=event_type&", "/stats/breakdown?by=agent&min_messages=1&",
	} {
		got, want := statsOf(t, mine, path+query), statsOf(t, everybody, path+query+"&agent_id=agent1")
		if !reflect.DeepEqual(got["data"], want["data"]) || !reflect.DeepEqual(got["total"], want["total"]) {
			t.Errorf("%s: %v\nwant %v", path, got, want)
		}
		if none := statsOf(t, mine, path+query+"&agent_id=agent2"); !reflect.DeepEqual(none["data"], statsOf(t, everybody, path+query+"&agent_id=nobody")["data"]) {
			t.Errorf("%s of another agent: %v", path, none)
		}
	}
	wantColumn(t, rowsIn(statsOf(t, mine, "/stats/breakdown?"+query)), "key", "agent1")
	wantColumn(t, allRows(t, mine, "/agents", 10), "agent_id", "agent1")
	wantProblem(t, get(mine, "/agents/agent2"), http.StatusNotFound)
	wantColumn(t, slices.CompactFunc(allRows(t, mine, "/users/ann/sessions", 100), func(a, b row) bool { return a["agent_id"] == b["agent_id"] }), "agent_id", "agent1")
}

func TestAgents(t *testing.T) {
	t.Parallel()
	l := visits(t, Config{})
	l.deliver(t, said("ünï/cödé", "late", "user", "hi", 60))
	sessions := allRows(t, l, "/sessions?sort=started_at", 1000)
	query := "from=2026-09-25T00:00:00Z&to=2026-09-28T00:00:00Z"
	inRange := allRows(t, l, "/sessions?"+query, 1000)
	of := func(all []row, agent string) []row {
		return slices.DeleteFunc(slices.Clone(all), func(s row) bool { return s["agent_id"] != agent })
	}
	agents := allRows(t, l, "/agents?sort=agent_id&"+query, 2)
	wantColumn(t, agents, "agent_id", "agent0", "agent1", "agent2", "ünï/cödé")
	for _, a := range agents {
		id := a["agent_id"].(string)
		mine := of(sessions, id)
		if a["first_seen_at"] != mine[0]["started_at"] || a["last_seen_at"] != mine[len(mine)-1]["last_activity_at"] {
			t.Errorf("%s was seen from %v to %v, want %v to %v", id, a["first_seen_at"], a["last_seen_at"], mine[0]["started_at"], mine[len(mine)-1]["last_activity_at"])
		}
		want := metricsOf(of(inRange, id))
		for name := range want {
			if _, shown := a[name]; !shown {
				delete(want, name)
			}
		}
		wantNumbers(t, a, want)
		one := statsOf(t, l, "/agents/"+url.PathEscape(id)+"?"+query)["data"].(row)
		wantNumbers(t, one, metricsOf(of(inRange, id)))
		if one["agent_id"] != id || one["first_seen_at"] != a["first_seen_at"] || one["last_seen_at"] != a["last_seen_at"] {
			t.Errorf("%s: %v", id, one)
		}
	}
	wantProblem(t, get(l, "/agents/agent"), http.StatusNotFound)
}

func TestEverySortOfAgentsPagesThroughThemOnce(t *testing.T) {
	t.Parallel()
	l := newLive(t, Config{})
	var bodies []string
	for i := range 12 {
		agent := fmt.Sprintf("agent%02d", i)
		bodies = append(bodies, said(agent, agent, []string{"user", "agent"}[i%2], "hi", float64(i%3)), said(agent, agent, "agent", "ho", float64(i%4)))
	}
	l.deliver(t, bodies...)
	for _, name := range []string{"agent_id", "first_seen_at", "last_seen_at", "sessions", "messages", "errors", "bounce_rate", "avg_response_s", "avg_engagement", "avg_quality", "avg_rating"} {
		for _, sort := range []string{name, "-" + name} {
			got := allRows(t, l, "/agents?sort="+sort, 5)
			ids := column(got, "agent_id")
			slices.Sort(ids)
			if len(slices.Compact(ids)) != 12 || !slices.IsSortedFunc(got, func(a, b row) int { return compareValues(a[name], b[name], name != sort) }) {
				t.Errorf("sort=%s: %q by %q", sort, column(got, "agent_id"), column(got, name))
			}
		}
	}
}

func theSessionsOfAVisitor(t *testing.T, l *live) {
	var want []row
	for _, s := range allRows(t, l, "/sessions", 1000) {
		if s["user_id"] == "ann" {
			want = append(want, s)
		}
	}
	got := allRows(t, l, "/users/ann/sessions", 7)
	if len(got) < 10 || !reflect.DeepEqual(got, want) || !reflect.DeepEqual(allRows(t, l, "/sessions?user_id=ann", 50), want) {
		t.Errorf("%d sessions, want %d", len(got), len(want))
	}
	slices.Reverse(want)
	if got := allRows(t, l, "/users/ann/sessions?sort=started_at", 1000); !reflect.DeepEqual(got, want) {
		t.Error("not the other way round")
	}
	wantColumn(t, allRows(t, l, "/users/ann/sessions?to=2015-01-01T00:00:00Z", 5), "session_id")
	wantProblem(t, get(l, "/users/nobody/sessions"), http.StatusNotFound)
}
