package bi

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"rapport/store/storetest"
)

// viewsCountWhatIsInTheLogAndItsSessions, each in another way than the view does.
func viewsCountWhatIsInTheLogAndItsSessions(t *testing.T, db *storetest.Database) {
	conn := connect(t, db, "rapport_reader")
	for _, pair := range [][2]string{
		{
			`SELECT agent_id, starts_at::text, joins::text, user_messages::text, agent_messages::text, messages::text, errors::text, events::text
			 FROM analytics.activity_hourly WHERE events > 0 ORDER BY 1, starts_at`,
			`SELECT agent_id, date_trunc('hour', occurred_at)::text, (count(*) FILTER (WHERE event_type = 'room.join'))::text,
			        (count(*) FILTER (WHERE event_type = 'chat.push' AND role = 'user'))::text, (count(*) FILTER (WHERE event_type = 'chat.push' AND role = 'agent'))::text,
			        (count(*) FILTER (WHERE event_type = 'chat.push'))::text, (count(*) FILTER (WHERE event_type = 'agent.error'))::text, count(*)::text
			 FROM analytics.events GROUP BY agent_id, date_trunc('hour', occurred_at) ORDER BY agent_id, date_trunc('hour', occurred_at)`,
		}, {
			`SELECT agent_id, starts_at::text, sessions::text FROM analytics.activity_hourly WHERE sessions > 0 ORDER BY 1, starts_at`,
			`SELECT agent_id, date_trunc('hour', started_at)::text, count(*)::text FROM analytics.sessions
			 GROUP BY agent_id, date_trunc('hour', started_at) ORDER BY agent_id, date_trunc('hour', started_at)`,
		}, {
			`SELECT agent_id, starts_at::text, sessions::text, engaged_sessions::text, deep::text, messages::text, errors::text, turns::text, answered_turns::text,
			        duration_s::text, active_s::text, response_s::text, engagement_sum::text, quality_sum::text, quality_sessions::text,
			        sentiment_sum::text, rating_sum::text, rating_sessions::text, avg_quality::text, avg_response_s::text
			 FROM analytics.sessions_hourly ORDER BY 1, starts_at`,
			`SELECT agent_id, date_trunc('hour', started_at)::text, count(*)::text, (count(*) FILTER (WHERE user_message_count > 0))::text,
			        (count(*) FILTER (WHERE turn_count >= 4))::text, sum(message_count)::text, sum(error_count)::text, sum(turn_count)::text, sum(answered_turn_count)::text,
			        sum(duration_s)::text, sum(active_s)::text, round(coalesce(sum(response_ms_total), 0) / 1000, 3)::text, sum(engagement_score)::text,
			        coalesce(sum(quality_score), 0.0)::text, count(quality_score)::text, coalesce(sum(sentiment), 0.000)::text,
			        round(coalesce(sum(rating), 0)::numeric, 3)::text, count(rating)::text, round(avg(quality_score), 3)::text,
			        round(sum(response_ms_total) / sum(answered_turn_count) FILTER (WHERE answered_turn_count > 0) / 1000, 3)::text
			 FROM analytics.sessions GROUP BY agent_id, date_trunc('hour', started_at) ORDER BY agent_id, date_trunc('hour', started_at)`,
		}, {
			`SELECT agent_id, sessions::text, engaged_sessions::text, messages::text, errors::text, first_seen_at::text FROM analytics.agents ORDER BY 1`,
			`SELECT agent_id, count(*)::text, (count(*) FILTER (WHERE user_message_count > 0))::text, sum(message_count)::text, sum(error_count)::text, min(started_at)::text
			 FROM analytics.sessions GROUP BY agent_id ORDER BY agent_id`,
		}, {
			`SELECT event_type, events::text, first_day::text FROM analytics.event_types ORDER BY 1`,
			`SELECT event_type, count(*)::text, date_trunc('day', min(occurred_at))::text FROM analytics.events GROUP BY event_type ORDER BY event_type`,
		}, {
			`SELECT agent_id, starts_at::text, error_code, error_severity, errors::text FROM analytics.errors_hourly ORDER BY agent_id, starts_at, error_code`,
			`SELECT agent_id, date_trunc('hour', occurred_at)::text, error_code, error_severity, count(*)::text FROM analytics.errors
			 GROUP BY agent_id, date_trunc('hour', occurred_at), error_code, error_severity ORDER BY agent_id, date_trunc('hour', occurred_at), error_code`,
		}, {
			`SELECT position::text, error_code FROM analytics.errors ORDER BY position`,
			`SELECT position::text, error_code FROM analytics.events WHERE event_type = 'agent.error' ORDER BY position`,
		},
	} {
		sameLines(t, pair[0], lines(t, conn, pair[0]), lines(t, conn, pair[1]))
	}
}

func TestARebuildLeavesTheViewsRight(t *testing.T) {
	t.Parallel()
	db := folded(t, plan)
	conn := connect(t, db, "rapport_reader") // stays connected, as a dashboard does
	before := map[string][]string{}
	views := []string{"agents", "activity_hourly", "sessions_hourly", "event_types", "errors", "errors_hourly"}
	look := func(view string) []string {
		return lines(t, conn, "SELECT v::text FROM analytics."+view+" v ORDER BY 1")
	}
	for _, view := range views {
		before[view] = look(view)
	}
	const stats = "SELECT s::text FROM analytics.stats('2026-08-01', '2026-10-01') s"
	numbers := lines(t, conn, stats)
	rebuild(t, db)
	db.Exec(t, "rapport_server", "UPDATE session_totals SET errors = errors + 1 WHERE agent_id = ''") // the new tables are read
	for _, view := range views {
		if after := look(view); len(after) == 0 || !slices.Equal(after, before[view]) {
			t.Errorf("%s has other rows", view)
		}
	}
	if after := lines(t, conn, stats); slices.Equal(after, numbers) {
		t.Error("the functions read the old tables")
	}
}

func TestFunctionsRefuseWhatMakesNoSense(t *testing.T) {
	t.Parallel()
	conn := connect(t, storetest.New(t), "rapport_reader")
	for sql, want := range map[string]string{
		"timeseries('nonsense', '2026-01-01', '2026-02-01')":                                        "one of those in analytics.metrics",
		"timeseries(NULL, '2026-01-01', '2026-02-01')":                                              "one of those in analytics.metrics",
		"timeseries('sessions', '2026-02-01', '2026-01-01')":                                        "later than from",
		"timeseries('sessions', NULL, '2026-01-01')":                                                "must be times",
		"timeseries('sessions', '-infinity', 'infinity')":                                           "must be times",
		"timeseries('sessions', '2026-01-01', '2026-02-01', 'fortnight')":                           "interval must be",
		"timeseries('sessions', '2026-01-01', '2026-02-01', NULL)":                                  "interval must be",
		"timeseries('sessions', '2000-01-01', '9999-01-01', 'minute')":                              "10,000 intervals",
		"timeseries('sessions', '0001-01-01', '200000-01-01', 'month')":                             "10,000 intervals",
		"timeseries('sessions', '2026-01-01', '2026-02-01', 'day', 'Mars/Olympus')":                 "time zone",
		"timeseries('sessions', '2026-01-01', '2026-02-01', 'minute', 'Mars/Olympus')":              "10,000 intervals",
		"timeseries('sessions', '2026-01-01', '2026-01-02', 'minute', 'Mars/Olympus')":              "time zone",
		"timeseries('sessions', '2026-01-01', '2026-02-01', 'day', '<X>+0:07')":                     "time zone",
		"timeseries('sessions', '2026-01-01', '2026-02-01', 'day', $q$'; DROP TABLE events; --$q$)": "time zone",
		"breakdown('sessions', 'shoe_size', '2026-01-01', '2026-02-01')":                            "by must be",
		"breakdown('sessions', NULL, '2026-01-01', '2026-02-01')":                                   "by must be",
		"breakdown('sessions', 'hour_of_day', '2015-01-01', '2026-02-01')":                          "10,000 intervals",
		"stats('2026-02-01', '2026-01-01')":                                                         "later than from",
		"funnel(NULL, '2026-01-01')":                                                                "must be times",
	} {
		_, _, err := run(t, conn, "SELECT * FROM analytics."+sql)
		refused, ok := errors.AsType[*pgconn.PgError](err)
		if !ok || refused.Code != "22023" || !strings.Contains(refused.Message, want) {
			t.Errorf("%s: %v, want one that says %q", sql, err, want)
		}
	}
}

// functionsServeNobodyElse: they run with the rights of their owner.
func functionsServeNobodyElse(t *testing.T, db *storetest.Database) {
	loose := storetest.Query(t, db, "rapport_owner", pgx.RowTo[string], `SELECT p.oid::regprocedure::text FROM pg_proc p
		WHERE p.pronamespace = 'analytics'::regnamespace
		  AND (NOT p.prosecdef OR NOT 'search_path=pg_catalog, pg_temp' = ANY(p.proconfig) OR p.provolatile <> 's'
		       OR p.proacl IS NULL OR EXISTS (SELECT FROM aclexplode(p.proacl) a WHERE a.grantee = 0))`)
	if len(loose) > 0 {
		t.Errorf("without a fixed search_path, volatile, or for everybody: %q", loose)
	}
	inner := storetest.Query(t, db, "rapport_owner", pgx.RowTo[string], `SELECT p.oid::regprocedure::text FROM pg_proc p
		WHERE p.pronamespace = 'public'::regnamespace AND has_function_privilege('rapport_reader', p.oid, 'EXECUTE')`)
	if len(inner) > 0 {
		t.Errorf("the reader may call %q", inner)
	}
	// What is called like ours in front of it changes nothing.
	conn := connect(t, db, "rapport_reader")
	const stats = "SELECT s::text FROM analytics.stats('2026-08-01', '2026-10-01') s"
	before := lines(t, conn, stats)
	for _, sql := range []string{
		"CREATE TEMP TABLE current_session_totals (sessions bigint)", "CREATE TEMP TABLE metrics (metric text)",
		"CREATE FUNCTION pg_temp.metric_values(text[], timestamptz[], timestamptz[], text[], text) RETURNS void LANGUAGE sql AS ''",
		"SET search_path = pg_temp, analytics", "SET timezone = 'Asia/Tokyo'", "SET intervalstyle = 'sql_standard'", "SET datestyle = 'German'",
	} {
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	if !slices.Equal(before, lines(t, conn, stats)) {
		t.Error("the caller's settings change the numbers")
	}
}
