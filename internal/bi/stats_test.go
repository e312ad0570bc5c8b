package bi

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"rapport"
	"rapport/api"
	"rapport/internal/bench/history"
	"rapport/store/ingest"
	"rapport/store/storetest"
)

// server is the API on a database, in this process.
func server(t *testing.T, db *storetest.Database) http.Handler {
	t.Helper()
	sources, err := api.NewSources(nil, nil, true)
	if err != nil {
		t.Fatal(err)
	}
	handler, err := api.New(api.Config{
		DB: db.DB, Watch: db.Watch, Sources: sources, Logger: storetest.Logger(),
		Ingest: ingest.New(db.DB, ingest.Options{Logger: storetest.Logger()}),
	})
	if err != nil {
		t.Fatal(err)
	}
	return handler
}

// row is an object of an answer: numbers as they are written.
type row map[string]any

func get(t *testing.T, handler http.Handler, path string, query url.Values) (data []row, whole row) {
	t.Helper()
	request := httptest.NewRequest(http.MethodGet, "http://127.0.0.1"+path+"?"+query.Encode(), nil)
	answer := httptest.NewRecorder()
	handler.ServeHTTP(answer, request)
	decoder := json.NewDecoder(answer.Body)
	decoder.UseNumber()
	if err := decoder.Decode(&whole); err != nil || answer.Code != http.StatusOK {
		t.Fatalf("%s?%s: %d %v %v", path, query.Encode(), answer.Code, whole, err)
	}
	list, _ := whole["data"].([]any)
	for _, one := range list {
		data = append(data, one.(map[string]any))
	}
	return data, whole
}

// said is a value of JSON as SQL's text has it.
func said(value any) string {
	if value == nil {
		return "null"
	}
	return fmt.Sprint(value)
}

// lines are the rows of a query, as texts with spaces between.
func lines(t *testing.T, conn *pgx.Conn, sql string, args ...any) []string {
	t.Helper()
	rows, err := conn.Query(t.Context(), sql, args...)
	if err != nil {
		t.Fatal(err)
	}
	all, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (string, error) {
		values := make([]*string, len(r.FieldDescriptions()))
		to := make([]any, len(values))
		for i := range values {
			to[i] = &values[i]
		}
		err := r.Scan(to...)
		var cells []string
		for _, v := range values {
			if v == nil {
				cells = append(cells, "null")
				continue
			}
			cells = append(cells, *v)
		}
		return strings.Join(cells, " "), err
	})
	if err != nil {
		t.Fatalf("%s %v: %v", sql, args, err)
	}
	return all
}

func sameLines(t *testing.T, what string, sql, http []string) {
	t.Helper()
	if len(sql) != len(http) {
		t.Errorf("%s: %d rows, and %d over HTTP", what, len(sql), len(http))
		return
	}
	for i := range sql {
		if sql[i] != http[i] {
			t.Errorf("%s: %q, and %q over HTTP", what, sql[i], http[i])
			return
		}
	}
}

func metricNames(t *testing.T, conn *pgx.Conn) []string {
	t.Helper()
	return lines(t, conn, "SELECT metric FROM analytics.metrics")
}

// question is a time, a place and an agent.
type question struct {
	from, to        string
	interval, place string
	agent           string // empty: all
	metrics         string // separated by commas; empty: all
}

func (q question) query() url.Values {
	values := url.Values{"from": {q.from}, "to": {q.to}, "tz": {q.place}}
	if q.agent != "" {
		values.Set("agent_id", q.agent)
	}
	return values
}

func (q question) agentOrNull() any {
	if q.agent == "" {
		return nil
	}
	return q.agent
}

// timeseriesAgreesWithTheAPI to the last digit.
func timeseriesAgreesWithTheAPI(t *testing.T, db *storetest.Database) {
	handler, conn := server(t, db), connect(t, db, "rapport_reader")
	const few = "sessions,avg_response_s,p95_duration_s"
	for _, q := range []question{
		{"2026-08-21T00:00:00Z", "2026-09-28T12:00:00Z", "day", "UTC", "", few},
		{"2026-08-25T07:11:03.000004Z", "2026-09-20T03:14:15.926535Z", "week", "Europe/Berlin", "", ""},
		{"2026-09-20T03:07:00Z", "2026-09-22T04:00:00Z", "hour", "Asia/Kolkata", history.BiggestAgent, few},
		{"2026-09-27T10:00:30Z", "2026-09-27T13:00:00Z", "minute", "UTC", "", few},
		{"2026-09-26T00:00:00Z", "2026-09-27T13:00:00Z", "five_minutes", "Australia/Lord_Howe", "", few},
		{"2026-09-26T00:01:00Z", "2026-09-27T13:00:00Z", "quarter_hour", "Asia/Kathmandu", "", few},
		{"1970-01-01T00:00:00Z", "2027-01-01T00:00:00Z", "month", "America/Havana", "", few},
		{"2026-08-01T00:00:00Z", "2026-09-28T00:00:00Z", "auto", "UTC", "nobody", few},
	} {
		wanted := metricNames(t, conn)
		if q.metrics != "" {
			wanted = strings.Split(q.metrics, ",")
		}
		query := q.query()
		query.Set("interval", q.interval)
		data, _ := get(t, handler, "/stats/timeseries", query)
		for _, metric := range wanted {
			var there []string
			for _, r := range data {
				start, err := time.Parse(time.RFC3339, said(r["start"]))
				if err != nil {
					t.Fatal(err)
				}
				there = append(there, start.UTC().Format("2006-01-02 15:04:05")+" "+said(r[metric]))
			}
			here := lines(t, conn, `SELECT to_char(bucket_start AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS'), value::text
				FROM analytics.timeseries($1, $2::text::timestamptz, $3::text::timestamptz, $4, $5, $6)`, metric, q.from, q.to, q.interval, q.place, q.agentOrNull())
			sameLines(t, fmt.Sprint("timeseries ", metric, q), here, there)
		}
	}
}

func otherFunctionsAgreeWithTheAPI(t *testing.T, db *storetest.Database) {
	handler, conn := server(t, db), connect(t, db, "rapport_reader")
	for _, q := range []question{
		{from: "2026-08-25T07:11:03.000004Z", to: "2026-09-20T03:14:15.926535Z", place: "Europe/Berlin"},
		{from: "2026-08-21T00:00:00Z", to: "2026-09-28T00:00:00Z", place: "Asia/Kolkata", agent: history.BiggestAgent},
	} {
		_, whole := get(t, handler, "/stats", q.query())
		found, _ := whole["metrics"].(map[string]any)
		if found == nil {
			found, _ = whole["data"].(map[string]any)
		}
		var there []string
		for _, metric := range metricNames(t, conn) {
			there = append(there, metric+" "+said(found[metric]))
		}
		here := lines(t, conn, "SELECT metric, value::text FROM analytics.stats($1::text::timestamptz, $2::text::timestamptz, $3)", q.from, q.to, q.agentOrNull())
		sameLines(t, "stats", here, there)

		data, _ := get(t, handler, "/stats/funnel", q.query())
		there = nil
		for _, r := range data {
			there = append(there, fmt.Sprintf("%s %s %s %s", r["step"], said(r["sessions"]), said(r["share_of_first"]), said(r["share_of_previous"])))
		}
		here = lines(t, conn, `SELECT step, sessions::text, share_of_first::text, share_of_previous::text
			FROM analytics.funnel($1::text::timestamptz, $2::text::timestamptz, $3)`, q.from, q.to, q.agentOrNull())
		sameLines(t, "funnel", here, there)

		for _, by := range []string{"agent", "hour_of_day", "weekday"} {
			for _, metric := range []string{"sessions", "avg_engagement", "p95_response_s"} {
				query := q.query()
				query.Set("by", by)
				if by == "agent" {
					query.Set("sort", "-"+metric)
				}
				data, _ := get(t, handler, "/stats/breakdown", query)
				there = nil
				for _, r := range data {
					there = append(there, said(r["key"])+" "+said(r[metric]))
				}
				here = lines(t, conn, "SELECT key, value::text FROM analytics.breakdown($1, $2, $3::text::timestamptz, $4::text::timestamptz, $5, $6)",
					metric, by, q.from, q.to, q.place, q.agentOrNull())
				sameLines(t, fmt.Sprint("breakdown ", by, " ", metric), here, there)
			}
		}
	}
}

// TestRatingsAndEndlessTimesAreTheAPIs: ratings whose thousandths are no floats, within a
// quarter hour, so that the sessions themselves are summed up; and a time that is longer
// than any time series.
func TestRatingsAndEndlessTimesAreTheAPIs(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	at := time.Date(2026, 9, 20, 10, 1, 0, 0, time.UTC)
	var events []*rapport.Event
	for i, rating := range []float64{0.5005, 1.0015, -0.5075, 2.0005, 1e300, 4.5, math.NaN()} {
		events = append(events, &rapport.Event{
			Type: rapport.SessionEnd, AgentID: "rated", SessionID: fmt.Sprint("s", i), Rating: &rating,
			OccurredAt: at.Add(time.Duration(i) * time.Second), ReceivedAt: at, Fingerprint: rapport.Fingerprint{byte(i)}, Payload: []byte("{}"),
		})
	}
	if _, err := db.Append(t.Context(), events); err != nil {
		t.Fatal(err)
	}
	rebuild(t, db)
	handler, conn := server(t, db), connect(t, db, "rapport_reader")
	for i := range events {
		from := at.Add(time.Duration(i) * time.Second)
		for _, to := range []time.Time{from.Add(time.Microsecond), time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)} {
			q := question{from: from.Format(time.RFC3339Nano), to: to.Format(time.RFC3339Nano), place: "UTC"}
			_, whole := get(t, handler, "/stats", q.query())
			there := said(whole["data"].(map[string]any)["avg_rating"])
			for _, sql := range []string{
				"SELECT value::text FROM analytics.stats($1::text::timestamptz, $2::text::timestamptz) WHERE metric = 'avg_rating'",
				"SELECT value::text FROM analytics.breakdown('avg_rating', 'agent', $1::text::timestamptz, $2::text::timestamptz)",
			} {
				sameLines(t, fmt.Sprint("avg_rating ", q), lines(t, conn, sql, q.from, q.to), []string{there})
			}
			if got := lines(t, conn, "SELECT sessions::text FROM analytics.funnel($1::text::timestamptz, $2::text::timestamptz) LIMIT 1", q.from, q.to); got[0] == "0" {
				t.Error("the funnel has no session")
			}
		}
	}
}

// TestIntervalsBeginWhereTheAPIsDo in places whose clocks do what others' don't: they
// are set at midnight, by half an hour, or were moved for good.
func TestIntervalsBeginWhereTheAPIsDo(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	handler, conn := server(t, db), connect(t, db, "rapport_reader")
	for _, place := range []string{
		"America/Havana", "America/Sao_Paulo", "Asia/Beirut", "Australia/Lord_Howe", "Asia/Kathmandu", "Asia/Pyongyang", "Europe/London", "utc",
	} {
		for interval, span := range map[string][2]string{
			"day":   {"2017-09-30T12:34:56Z", "2019-04-10T00:00:00Z"},
			"week":  {"2017-01-01T00:00:00Z", "2020-01-01T00:00:00Z"},
			"month": {"2015-01-01T00:00:00Z", "2026-01-01T00:00:00Z"},
			"hour":  {"2018-03-20T00:20:00Z", "2018-04-10T00:00:00Z"},
		} {
			name := place
			if place == "utc" {
				name = "UTC" // Grafana writes it small
			}
			data, _ := get(t, handler, "/stats/timeseries", url.Values{"from": {span[0]}, "to": {span[1]}, "tz": {name}, "interval": {interval}, "metrics": {"sessions"}})
			var there []string
			for _, r := range data {
				start, err := time.Parse(time.RFC3339, said(r["start"]))
				if err != nil {
					t.Fatal(err)
				}
				there = append(there, start.UTC().Format("2006-01-02 15:04:05"))
			}
			here := lines(t, conn, `SELECT to_char(bucket_start AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS')
				FROM analytics.timeseries('sessions', $1::text::timestamptz, $2::text::timestamptz, $3, $4)`, span[0], span[1], interval, place)
			sameLines(t, place+" "+interval, here, there)
		}
	}
}
