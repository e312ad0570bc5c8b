package store

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"rapport"
)

// SessionFilter says which sessions are meant. Zero values filter nothing.
type SessionFilter struct {
	TotalsFilter
	EngagementTier string
	UserID         string
	RoomName       string
	MinMessages    int64
}

// IsOfAgents reports whether it filters by nothing but agents, so that SessionTotals
// knows the answer.
func (f *SessionFilter) IsOfAgents() bool {
	return f.EngagementTier == "" && f.UserID == "" && f.RoomName == "" && f.MinMessages == 0
}

// where is the condition of a filter, but for the time.
func (f *SessionFilter) where(where *conditions) {
	if f.AgentID != "" {
		where.add("agent_id = %s", f.AgentID)
	}
	if len(f.Agents) > 0 {
		where.add("agent_id = ANY(%s)", f.Agents)
	}
	if f.EngagementTier != "" {
		where.add("engagement_tier = %s", f.EngagementTier)
	}
	if f.UserID != "" {
		where.add(isOfUser, f.UserID)
	}
	if f.RoomName != "" {
		where.add("room_name = %s", f.RoomName)
	}
	if f.MinMessages > 0 {
		where.add("message_count >= %s", f.MinMessages)
	}
}

// SessionColumn is a column that sessions can be grouped by.
type SessionColumn string

// The columns of SessionColumn.
const (
	ByAgent SessionColumn = "agent_id"
	ByTier  SessionColumn = "engagement_tier"
	ByRoom  SessionColumn = "room_name"
)

// FilteredTotals are what SessionTotals are, for any filter. They are computed from the
// sessions themselves, so they know nothing of those that retention has deleted.
func (db *DB) FilteredTotals(ctx context.Context, filter SessionFilter, bounds []time.Time) ([]rapport.Totals, error) {
	totals := make([]rapport.Totals, max(0, len(bounds)-1))
	if len(totals) == 0 {
		return totals, nil
	}
	var where conditions
	buckets := fmt.Sprintf("unnest(%s::timestamptz[], %s::timestamptz[]) WITH ORDINALITY b (since, until, bucket)",
		where.place(bounds[:len(totals)]), where.place(bounds[1:]))
	where.add("started_at >= b.since AND started_at < b.until")
	filter.where(&where)
	sql := "SELECT b.bucket::text AS key, t.* FROM " + buckets + " CROSS JOIN LATERAL (" + bucketSQL(&where, filter.Percentiles) + ") t"
	err := db.eachGroup(ctx, sql, where.args, filter.Percentiles, func(key string, t rapport.Totals) error {
		i, err := strconv.Atoi(key)
		if err == nil {
			totals[i-1] = t
		}
		return err
	})
	return totals, err
}

// GroupedTotals tells the totals of the sessions that started in [from, to), group by
// group, in no particular order, from the sessions themselves, as FilteredTotals does.
// It needs no memory for all groups.
func (db *DB) GroupedTotals(ctx context.Context, filter SessionFilter, by SessionColumn, from, to time.Time, tell func(key string, t rapport.Totals)) error {
	var where conditions
	where.add("started_at >= %s AND started_at < %s", from, to)
	filter.where(&where)
	return db.eachGroup(ctx, groupsSQL(string(by), &where, filter.Percentiles), where.args, filter.Percentiles, func(key string, t rapport.Totals) error {
		tell(key, t)
		return nil
	})
}

// sumColumns are the sums of rapport.Totals in SQL, by the names that it has for them,
// in the same integer arithmetic.
var sumColumns = map[string]string{
	"sessions":          "count(*)",
	"bounced":           "count(*) FILTER (WHERE engagement_tier = 'bounced')",
	"engaged":           "count(*) FILTER (WHERE engagement_tier = 'engaged')",
	"continued":         "count(*) FILTER (WHERE engagement_tier = 'continued')",
	"deep":              "count(*) FILTER (WHERE engagement_tier = 'deep')",
	"joined":            "count(*) FILTER (WHERE join_count > 0)",
	"events":            "sum(event_count)",
	"joins":             "sum(join_count)",
	"messages":          "sum(message_count)",
	"user_messages":     "sum(user_message_count)",
	"agent_messages":    "sum(agent_message_count)",
	"user_chars":        "sum(user_char_count)",
	"agent_chars":       "sum(agent_char_count)",
	"errors":            "sum(error_count)",
	"turns":             "sum(turn_count)",
	"answered_turns":    "sum(answered_turn_count)",
	"quick_answers":     "sum(quick_answer_count)",
	"repeats":           "sum(repeat_count)",
	"friction":          "sum(friction_count)",
	"duration_ms":       "sum(duration_ms)",
	"active_ms":         "sum(active_us / 1000)",
	"response_ms":       "sum(response_ms_total)",
	"engagement_tenths": "sum(engagement_tenths)",
	"quality_tenths":    "sum(quality_tenths)",
	"judged":            "count(quality_tenths)",
	"sentiment_thousandths": `sum((2 * sentiment_sum + CASE WHEN sentiment_sum < 0 THEN -user_message_count ELSE user_message_count END)
		/ (2 * user_message_count)) FILTER (WHERE user_message_count > 0)`,
	"felt": "count(*) FILTER (WHERE user_message_count > 0)",
	// round() takes halves to the even one, and Go away from zero.
	"rating_thousandths": "sum((trunc(rated) + CASE WHEN abs(rated - trunc(rated)) >= 0.5 THEN sign(rated) ELSE 0 END)::bigint)",
	"rated":              "count(rated)",
}

// binColumn is the bin of a bigint in SQL, as rapport.Histogram has it.
func binColumn(value string) string {
	var octaves []string // each begins where a value has to be halved once more
	for at := int64(128); at > 0; at *= 2 {
		octaves = append(octaves, strconv.FormatInt(at, 10))
	}
	halved := fmt.Sprintf("width_bucket(%s, '{%s}'::bigint[])", value, strings.Join(octaves, ","))
	return fmt.Sprintf("(%s * 64 + (%s >> %s))::smallint", halved, value, halved)
}

// sumsSQL are the sums of some sessions, which have been read as sourceSQL does.
func sumsSQL() string {
	var totals rapport.Totals
	var sums []string
	for _, sum := range totals.Sums() {
		sums = append(sums, fmt.Sprintf("coalesce(%s, 0)::bigint AS %s", sumColumns[sum.Column], sum.Column))
	}
	return strings.Join(sums, ", ")
}

// sourceSQL reads sessions, with what a rating adds to a sum.
func sourceSQL(where *conditions) string {
	return fmt.Sprintf("SELECT *, CASE WHEN rating <> 'NaN' THEN least(greatest(rating, -%[1]d), %[1]d) * 1000 END AS rated FROM sessions WHERE %[2]s",
		rapport.MaxRating, strings.Join(where.clauses, " AND "))
}

// histograms are the two of Totals: the values that they count, and of which sessions.
var histograms = [...]struct{ value, of string }{
	{"greatest(duration_ms, 0)", "true"},
	{"greatest((2 * response_ms_total + answered_turn_count) / (2 * answered_turn_count), 0)", "answered_turn_count > 0"},
}

// bucketSQL asks for the sums and, if wanted, the histograms of the sessions of one
// bucket, of which an index knows where they are.
func bucketSQL(where *conditions, percentiles bool) string {
	sums := fmt.Sprintf("SELECT %s FROM (%s) s", sumsSQL(), sourceSQL(where))
	if !percentiles {
		return sums
	}
	sql := "SELECT * FROM (" + sums + ") sums"
	for i, h := range histograms {
		sql += fmt.Sprintf(` CROSS JOIN (
			SELECT coalesce(array_agg(bin ORDER BY bin), '{}') AS bins, coalesce(array_agg(n ORDER BY bin), '{}') AS counts
			FROM (SELECT %s AS bin, count(*) AS n FROM sessions WHERE %s AND %s GROUP BY 1) b) h%d`,
			binColumn(h.value), strings.Join(where.clauses, " AND "), h.of, i)
	}
	return sql
}

// groupsSQL asks for the key, the sums and, if wanted, the histograms of each group.
func groupsSQL(key string, where *conditions, percentiles bool) string {
	source := fmt.Sprintf("WITH s AS NOT MATERIALIZED (%s) ", sourceSQL(where))
	sums := fmt.Sprintf("SELECT %s AS key, %s FROM s GROUP BY 1", key, sumsSQL())
	if !percentiles {
		return source + sums
	}
	sql := source + "SELECT sums.*, h0.bins, h0.counts, coalesce(h1.bins, '{}') AS bins, coalesce(h1.counts, '{}') AS counts FROM (" + sums + ") sums"
	for i, h := range histograms {
		sql += fmt.Sprintf(` LEFT JOIN (
			SELECT key, array_agg(bin ORDER BY bin) AS bins, array_agg(n ORDER BY bin) AS counts
			FROM (SELECT %s AS key, %s AS bin, count(*) AS n FROM s WHERE %s GROUP BY 1, 2) b GROUP BY 1) h%d USING (key)`,
			key, binColumn(h.value), h.of, i)
	}
	return sql
}

// eachGroup tells of each row its key and its totals.
func (db *DB) eachGroup(ctx context.Context, sql string, args []any, percentiles bool, tell func(string, rapport.Totals) error) error {
	rows, err := db.pool.Query(ctx, sql, args...)
	if err != nil {
		return fmt.Errorf("adding sessions up: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		group, totals, err := scanGroup(rows, percentiles)
		if err != nil {
			return fmt.Errorf("adding sessions up: %w", err)
		}
		if err := tell(group, totals); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("adding sessions up: %w", err)
	}
	return nil
}

func scanGroup(rows pgx.Rows, percentiles bool) (key string, t rapport.Totals, err error) {
	into := []any{&key}
	for _, sum := range t.Sums() {
		into = append(into, sum.Value)
	}
	var bins [2][]int16
	var counts [2][]int64
	if percentiles {
		into = append(into, &bins[0], &counts[0], &bins[1], &counts[1])
	}
	if err := rows.Scan(into...); err != nil || !percentiles {
		return key, t, err
	}
	if t.Duration, err = rapport.HistogramOf(bins[0], counts[0]); err == nil {
		t.Response, err = rapport.HistogramOf(bins[1], counts[1])
	}
	return key, t, err
}
