package verify_test

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"rapport"
	"rapport/aggregator"
	"rapport/store"
	"rapport/store/storetest"
)

// followAll folds everything, in steps of at most limit events.
func followAll(t testing.TB, db *storetest.Database, limit int) {
	t.Helper()
	for {
		step, err := db.Follow(t.Context(), store.SessionsFollower, settings(t, db), limit, projection(t, db).Apply)
		if err != nil {
			t.Fatal(err)
		}
		if step.Position == step.Head && !step.Counted {
			return
		}
	}
}

// fail is an error with a code, which may be of no session.
func fail(t testing.TB, agent, session, code string, at time.Time) *rapport.Event {
	t.Helper()
	return event(t, fmt.Sprintf(`{"event":"agent_error","agentId":%q,"sessionId":%q,"timestamp":"%s","error":{"code":%q,"severity":"high","category":"llm"}}`,
		agent, session, at.Format(time.RFC3339Nano), code), "", noon)
}

// monthEnd is half a day before the end of a month.
var monthEnd = time.Date(2026, 8, 31, 12, 0, 0, 0, time.UTC)

// someTalk is of several agents, across days and the end of a month, with healed
// messages, errors and whatever else is counted.
func someTalk(t testing.TB, seed uint64) []*rapport.Event {
	t.Helper()
	random := rand.New(rand.NewPCG(seed, 3))
	events := append(conversations(t, seed, 12), oddities(t)...)
	for i := range 12 {
		agent, session := fmt.Sprint("agent ", i%3), fmt.Sprint("talk ", i)
		at := monthEnd.Add(time.Duration(random.IntN(80)) * time.Hour).Add(time.Duration(random.IntN(3600_000)) * time.Millisecond)
		for n := range 3 + random.IntN(20) {
			at = at.Add([]time.Duration{0, time.Second, time.Minute, 14 * time.Minute, 31 * time.Minute}[random.IntN(5)])
			switch random.IntN(6) {
			case 0:
				events = append(events, fail(t, agent, session, fmt.Sprint("E", n%3), at))
			case 1:
				text := fmt.Sprint("I came after all ", n)
				events = append(events, healed(t, agent, session, "user", text, at), says(t, agent, session, "user", text+", whole", at.Add(time.Millisecond)))
			case 2:
				events = append(events, healed(t, agent, session, "agent", fmt.Sprint("I was lost ", n), at))
			default:
				events = append(events, says(t, agent, session, []string{"user", "agent", "guest"}[n%3], fmt.Sprint("words ", n%4), at))
			}
		}
		events = append(events, fail(t, agent, "", "LOOSE", at))
	}
	random.Shuffle(len(events), func(i, j int) { events[i], events[j] = events[j], events[i] })
	return events
}

func TestTotalsAreTheSumsWhateverHappens(t *testing.T) {
	t.Parallel()
	for seed := range uint64(2) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			db, random, events := bound(t), rand.New(rand.NewPCG(seed, 4)), someTalk(t, seed)
			for i := 0; len(events) > 0; i++ {
				n := min(1+random.IntN(60), len(events))
				batch := events[:n]
				events = events[n:]
				appendAll(t, db, batch...)
				happens(t, db, random, batch, i)
			}
			followAll(t, db, 1000)
			requireClean(t, run(t, db))
			requireReadable(t, db, random)
			rebuildAll(t, db)
			requireClean(t, run(t, db))
		})
	}
}

// happens does something that changes what is counted.
func happens(t testing.TB, db *storetest.Database, random *rand.Rand, batch []*rapport.Event, i int) {
	t.Helper()
	switch random.IntN(7) {
	case 0:
		e := batch[random.IntN(len(batch))]
		if e.SessionID != "" {
			followAll(t, db, 1000)
			erase(t, db, store.ErasureRequest{Kind: store.EraseSession, SessionID: e.SessionID})
		}
	case 1:
		followAll(t, db, 1000)
		putAside(t, db, says(t, "agent 1", fmt.Sprint("talk ", i%12), "user", fmt.Sprint("aside ", i), monthEnd.Add(time.Duration(i)*time.Hour)))
	case 2:
		if _, err := db.RetryAllDeadLetters(t.Context(), "cli:test"); err != nil {
			t.Fatal(err)
		}
		followAll(t, db, 1000)
		if _, err := db.FollowAgain(t.Context(), store.SessionsFollower, settings(t, db), 10, projection(t, db).Apply); err != nil {
			t.Fatal(err)
		}
	case 3:
		rebuildAll(t, db)
	case 4: // they wait
	default:
		follow(t, db, 1+random.IntN(80))
	}
}

// requireReadable compares what is read for random times with sums over all sessions,
// and with the log.
func requireReadable(t testing.TB, db *storetest.Database, random *rand.Rand) {
	t.Helper()
	page, _, err := db.Sessions(t.Context(), store.SessionQuery{Limit: 10_000, Sort: store.SortStartedAt})
	if err != nil || len(page) < 20 {
		t.Fatal(len(page), err)
	}
	for range 12 {
		bounds := someBounds(random)
		filter := []store.TotalsFilter{
			{Percentiles: true}, {}, {AgentID: "agent 1"}, {Agents: []string{"agent 1", "agent 2"}},
			{Agents: []string{"agent 1", "agent 2"}, Percentiles: true}, {Agents: []string{"agent 1"}, AgentID: "agent 2"},
		}[random.IntN(6)]
		requireTotals(t, db, filter, bounds, page)
		requireCounts(t, db, filter, bounds)
	}
}

func someBounds(random *rand.Rand) []time.Time {
	unit := []time.Duration{24 * time.Hour, time.Hour, 15 * time.Minute, time.Minute, time.Microsecond}[random.IntN(5)]
	bounds := []time.Time{monthEnd.Add(time.Duration(random.Int64N(int64(100 * time.Hour)))).Truncate(unit)}
	for range 1 + random.IntN(5) {
		bounds = append(bounds, bounds[len(bounds)-1].Add(time.Duration(random.Int64N(int64(60*time.Hour)))).Truncate(unit))
	}
	return bounds
}

func matches(filter store.TotalsFilter, agent string) bool {
	return (filter.AgentID == "" || filter.AgentID == agent) && (len(filter.Agents) == 0 || slices.Contains(filter.Agents, agent))
}

func requireTotals(t testing.TB, db *storetest.Database, filter store.TotalsFilter, bounds []time.Time, all []*store.SessionRow) {
	t.Helper()
	want, wantByAgent := make([]rapport.Totals, len(bounds)-1), make(map[string]rapport.Totals)
	for _, row := range all {
		for i := range want {
			if at := row.StartedAt; !at.Before(bounds[i]) && at.Before(bounds[i+1]) && matches(filter, row.AgentID) {
				one := rapport.TotalsOf(&row.Session)
				if !filter.Percentiles {
					one.Duration, one.Response = rapport.Histogram{}, rapport.Histogram{}
				}
				want[i].Add(one)
				sum := wantByAgent[row.AgentID]
				sum.Add(one)
				wantByAgent[row.AgentID] = sum
			}
		}
	}
	equal := gocmp.Comparer(func(a, b rapport.Totals) bool { return a.Equal(b) })
	got, err := db.SessionTotals(t.Context(), filter, bounds)
	if diff := gocmp.Diff(want, got, equal); err != nil || diff != "" {
		t.Fatalf("%v, %+v of %v: %s", err, filter, bounds, diff)
	}
	ofAgents, err := db.SessionTotalsByAgent(t.Context(), filter, bounds[0], bounds[len(bounds)-1])
	byAgent := make(map[string]rapport.Totals)
	for agent, totals := range ofAgents {
		byAgent[agent] = *totals
	}
	if diff := gocmp.Diff(wantByAgent, byAgent, equal); err != nil || diff != "" {
		t.Fatalf("%v, by agent, %+v of %v: %s", err, filter, bounds, diff)
	}
}

func requireCounts(t testing.TB, db *storetest.Database, filter store.TotalsFilter, bounds []time.Time) {
	t.Helper()
	cut := make([]time.Time, len(bounds))
	for i, b := range bounds {
		cut[i] = b.Truncate(15 * time.Minute)
	}
	got, err := db.EventCountsByBucket(t.Context(), filter, bounds)
	if err != nil {
		t.Fatal(err)
	}
	for i := range got {
		if diff := gocmp.Diff(countsOf(t, db, filter, cut[i], cut[i+1], true), sorted(got[i])); diff != "" {
			t.Fatalf("%+v from %v to %v: %s", filter, cut[i], cut[i+1], diff)
		}
	}
	all, err := db.EventCounts(t.Context(), filter, bounds[0], bounds[len(bounds)-1])
	if diff := gocmp.Diff(countsOf(t, db, filter, cut[0], cut[len(cut)-1], false), sorted(all)); err != nil || diff != "" {
		t.Fatalf("%v, %+v of %v: %s", err, filter, cut, diff)
	}
}

// countsOf counts in the log.
func countsOf(t testing.TB, db *storetest.Database, filter store.TotalsFilter, from, to time.Time, together bool) []store.EventCount {
	t.Helper()
	rows := storetest.Query(t, db, "postgres", pgx.RowToStructByPos[store.EventCount], `
		SELECT CASE WHEN $3 THEN '' ELSE agent_id END, event_type, role, error_code, error_severity, error_category, count(*)
		FROM events e
		WHERE occurred_at >= $1 AND occurred_at < $2
		  AND ($4 = '' OR agent_id = $4) AND (cardinality($5::text[]) = 0 OR agent_id = ANY($5))
		  AND position NOT IN (SELECT position FROM superseded UNION SELECT position FROM dead_letters WHERE follower = 'sessions')
		GROUP BY 1, 2, 3, 4, 5, 6`, from, to, together, filter.AgentID, append([]string{}, filter.Agents...))
	return sorted(rows)
}

func sorted(counts []store.EventCount) []store.EventCount {
	list := append([]store.EventCount{}, counts...)
	slices.SortFunc(list, func(a, b store.EventCount) int {
		return cmp.Or(cmp.Compare(a.AgentID, b.AgentID), cmp.Compare(a.EventType, b.EventType), cmp.Compare(a.Role, b.Role),
			cmp.Compare(a.ErrorCode, b.ErrorCode), cmp.Compare(a.ErrorSeverity, b.ErrorSeverity), cmp.Compare(a.ErrorCategory, b.ErrorCategory))
	})
	return list
}

// TestWhatWasThereBeforeTheTotalsIsCounted: after an upgrade, month by month.
func TestWhatWasThereBeforeTheTotalsIsCounted(t *testing.T) {
	t.Parallel()
	for name, finish := range map[string]func(testing.TB, *storetest.Database){
		"by the follower": func(t testing.TB, db *storetest.Database) { followAll(t, db, 1000) },
		"by a rebuild":    rebuildAll,
		"by both": func(t testing.TB, db *storetest.Database) {
			follow(t, db, 1000) // one month
			rebuildAll(t, db)
			followAll(t, db, 1000)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := filled(t, 6, 20)
			tamper(t, db, "TRUNCATE session_totals, event_counts; UPDATE followers SET to_count = '2015-01-01' WHERE name = 'sessions'")
			appendAll(t, db, says(t, "agent", "late", "user", "meanwhile", noon))
			finish(t, db)
			requireClean(t, run(t, db))
		})
	}
}

// TestWhatIsErasedDuringARebuildIsNotCountedByItsCode: the rebuild has counted it before.
func TestWhatIsErasedDuringARebuildIsNotCountedByItsCode(t *testing.T) {
	t.Parallel()
	db := bound(t)
	appendAll(t, db, secretEvents(t, "agent", "s", noon)...)
	appendAll(t, db, fail(t, "agent", "", secret, noon), fail(t, "agent", "other", "E1", noon))
	followAll(t, db, 1000)
	r, err := store.BeginRebuild(t.Context(), db.URL("rapport_owner"))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	erased := false
	_, err = aggregator.Rebuild(t.Context(), r, settings(t, db), func(p aggregator.RebuildProgress) {
		if p.Phase == aggregator.PhaseCatchUp && !erased {
			erased = true
			erase(t, db, store.ErasureRequest{Kind: store.EraseAgent, AgentID: "agent"})
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	followAll(t, db, 1000)
	requireClean(t, run(t, db))
	requireGone(t, db, secret)
}

// TestAStepOfManyDays: what is filled in at once touches thousands of rows.
func TestAStepOfManyDays(t *testing.T) {
	t.Parallel()
	db := bound(t)
	var events []*rapport.Event
	for i := range 1500 {
		at := noon.Add(-time.Duration(i) * 5 * time.Hour)
		events = append(events, says(t, fmt.Sprint("agent ", i%7), fmt.Sprint("s ", i), "user", "hello", at))
	}
	appendAll(t, db, events...)
	if _, err := db.Follow(context.Background(), store.SessionsFollower, settings(t, db), 10_000, projection(t, db).Apply); err != nil {
		t.Fatal(err)
	}
	requireClean(t, run(t, db))
	if n := value[int64](t, db, "SELECT count(*) FROM session_totals"); n < 5000 {
		t.Errorf("%d rows", n)
	}
}

// TestTotalsOutliveWhatTheyAreOf: sessions and months that go for their age.
func TestTotalsOutliveWhatTheyAreOf(t *testing.T) {
	t.Parallel()
	db := olden(t)
	rows := func() []string {
		return storetest.Query(t, db, "postgres", pgx.RowTo[string], `
			SELECT t::text FROM (SELECT * FROM session_totals ORDER BY grain, of_all, agent_id, starts_at) t
			UNION ALL SELECT c::text FROM (SELECT * FROM event_counts ORDER BY grain, starts_at, agent_id, event_type, role) c`)
	}
	before := rows()
	retain(t, db, store.Retention{Events: upTo(date(time.April, 9)), Sessions: upTo(date(time.March, 9))}, noon)
	if diff := gocmp.Diff(before, rows()); diff != "" {
		t.Errorf("retention changed totals (-before +after):\n%s", diff)
	}
	rebuilt(t, db)
	if diff := gocmp.Diff(before, rows()); diff != "" {
		t.Errorf("a rebuild changed totals (-before +after):\n%s", diff)
	}
	requireClean(t, run(t, db))
}

// TestNothingGoesBeforeItIsCounted: after an upgrade.
func TestNothingGoesBeforeItIsCounted(t *testing.T) {
	t.Parallel()
	db := olden(t)
	tamper(t, db, "TRUNCATE session_totals, event_counts; UPDATE followers SET to_count = '2015-01-01' WHERE name = 'sessions'")
	before := months(t, db)
	done, err := db.Retain(t.Context(), store.Retention{Events: upTo(date(time.April, 9))}, "cli:test", noon)
	if err != nil || !done.Postponed || months(t, db) != before {
		t.Errorf("%v, %+v, months %s", err, done, months(t, db))
	}
	followAll(t, db, 1000)
	requireClean(t, run(t, db))
}
