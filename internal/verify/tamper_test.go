package verify_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"rapport"
	"rapport/internal/verify"
	"rapport/store/storetest"
)

func TestTampering(t *testing.T) {
	t.Parallel()
	const again = `CREATE TEMP TABLE again AS SELECT * FROM events WHERE event_type = 'chat.push' AND role = 'user' ORDER BY position LIMIT 1;
		UPDATE again SET position = (SELECT position + 1 FROM log_head), fingerprint = sha256('another');
		INSERT INTO events SELECT * FROM again; UPDATE log_head SET position = position + 1; `
	for name, test := range map[string]struct {
		sql    string
		follow bool // folds what is new before it verifies
		want   []string
	}{
		"an event that was deleted is a gap, and its session has too many": {
			sql:  `DELETE FROM events WHERE position = 17`,
			want: []string{"position: position 17 is missing\n", "session: session "},
		},
		"several in a row are one gap": {
			sql:  `DELETE FROM events WHERE position BETWEEN 17 AND 19`,
			want: []string{"position: positions 17 to 19 are missing: 3 events\n"},
		},
		"the first is a gap": {
			sql:  `DELETE FROM events WHERE position = 1`,
			want: []string{"position: position 1 is missing\n"},
		},
		"the last is a gap, since the head says that there is more": {
			sql:  `DELETE FROM events WHERE position = (SELECT position FROM log_head)`,
			want: []string{"position: position "},
		},
		"a log that was emptied is a gap": {
			sql:  `DELETE FROM events`,
			want: []string{"position: positions 1 to ", "session: session "},
		},
		"a position that was given twice": {
			sql:  `UPDATE events SET position = 5 WHERE position = 6`,
			want: []string{"position: position 5 is taken by 2 events\n", "position: position 6 is missing\n"},
		},
		"positions below 1": {
			sql:  `UPDATE events SET position = -position WHERE position IN (3, 4)`,
			want: []string{"an event has the position -4\n", "an event has the position -3\n", "positions 3 to 4 are missing"},
		},
		"a head that is behind the log": {
			sql:  `UPDATE log_head SET position = position - 1`,
			want: []string{"head: the log's head is "},
		},
		"a log without a head": {
			sql:  `DELETE FROM log_head`,
			want: []string{"head: log_head has no row\n"},
		},
		"an event that was doubled under another fingerprint": {
			sql:  again,
			want: []string{": is the same as event ", ": fingerprint is "},
		},
		"an event that was doubled under another fingerprint, and folded since": {
			sql: again, follow: true,
			want: []string{": is the same as event ", ": fingerprint is "},
		},
		"an event that was doubled where the key was dropped": {
			sql: `ALTER TABLE events DROP CONSTRAINT events_pkey;
				INSERT INTO events SELECT * FROM events WHERE position = 17;
				UPDATE events SET position = (SELECT position + 1 FROM log_head) WHERE ctid =
					(SELECT max(ctid) FROM events WHERE position = 17) AND position = 17; UPDATE log_head SET position = position + 1`,
			want: []string{" is the same as event "},
		},
		"undated twins that are too close": {
			sql: `UPDATE events SET occurred_at = occurred_at - interval '2 us', received_at = received_at - interval '2 us'
				WHERE undated AND message = 'yes' AND received_at = (SELECT max(received_at) FROM events);
				UPDATE log_head SET received_at = received_at - interval '2 us'`,
			want: []string{": is the same as event "},
		},
		"an event that was moved to another month": {
			sql:  `SELECT create_events_month('2020-02-01'); UPDATE events SET occurred_at = '2020-02-02' WHERE position = 17`,
			want: []string{"event: event 17: occurred_at is 2020-02-02T00:00:00.000000Z, its payload says 20"},
		},
		"rows in the partition of another month": {
			sql:  `ALTER TABLE events_2026_09 RENAME TO events_2019_01`,
			want: []string{": lies in the partition events_2019_01, its month is that of events_2026_09\n"},
		},
		"a payload that is nothing any more": {
			sql:  `UPDATE events SET payload = '[]' WHERE position = 17`,
			want: []string{"event: event 17: its payload can't be decoded: "},
		},
		"a payload of another event": {
			sql:  `UPDATE events SET payload = (SELECT payload FROM events WHERE position = 18) WHERE position = 17`,
			want: []string{"event: event 17: fingerprint is "},
		},
		"a fingerprint of another length": {
			sql:  `UPDATE events SET fingerprint = '\x01' WHERE position = 17`,
			want: []string{"event: event 17: fingerprint is 01, its payload's is "},
		},
		"a healed message that was changed": {
			sql:  `UPDATE events SET message = 'I was found' WHERE message = 'I was lost'`,
			want: []string{`: message is "I was found", its payload says "I was lost"`, "user_char_count is "},
		},
		"a delivery that is said to be healed": {
			sql:  `UPDATE events SET healed_from = 'record' WHERE message = 'yes' AND NOT undated`,
			want: []string{": its payload can't be decoded: "},
		},
		"a healed message that is said to be delivered": {
			sql:  `UPDATE events SET healed_from = '' WHERE message = 'I was lost'`,
			want: []string{": its payload can't be decoded: "},
		},
		"a payload in the wrong column": {
			sql:  `UPDATE events SET payload = NULL, payload_raw = convert_to(payload::text, 'UTF8') WHERE position = 17`,
			want: []string{"event: event 17: payload_raw is valid UTF-8"},
		},
		"a time that never ends": {
			sql:  `UPDATE events SET received_at = 'infinity' WHERE position = 17; UPDATE sessions SET closes_at = '-infinity'`,
			want: []string{"head: log_head.received_at is ", "closes_at is "},
		},
		"a count that was changed": {
			sql:  `UPDATE sessions SET turn_count = 77 WHERE session_id = 'healed'`,
			want: []string{"session: session agent/healed 2026-09-28T12:00:00.000000Z: turn_count is 77, the log says 2\n"},
		},
		"an event_count that was changed": {
			sql:  `UPDATE sessions SET event_count = 7 WHERE session_id = 'healed'`,
			want: []string{"event_count is 7, the log says 3\n", "sum: the sessions count "},
		},
		"a session that is missing": {
			sql:  `DELETE FROM sessions WHERE session_id = 'healed'`,
			want: []string{"session: session agent/healed 2026-09-28T12:00:00.000000Z: is missing, the log has 3 events of it\n"},
		},
		"all sessions missing": {
			sql:  `TRUNCATE sessions, session_texts`,
			want: []string{": is missing, the log has ", ": session_texts lacks "},
		},
		"sessions too many, before, between and behind the others": {
			sql: `CREATE TEMP TABLE more AS SELECT * FROM sessions WHERE session_id = 'healed';
				UPDATE more SET session_id = ''; INSERT INTO sessions SELECT * FROM more;
				UPDATE more SET session_id = 'healed', agent_id = 'b'; INSERT INTO sessions SELECT * FROM more;
				UPDATE more SET started_at = started_at + interval '1 day'; INSERT INTO sessions SELECT * FROM more;
				UPDATE more SET session_id = 'zz z'; INSERT INTO sessions SELECT * FROM more`,
			want: []string{
				`session agent/"" 2026-09-28T12:00:00.000000Z: has 3 events, the log knows no such session`,
				`session b/healed 2026-09-28T12:00:00.000000Z: has 3 events, the log knows no such session`,
				`session b/healed 2026-09-29T12:00:00.000000Z: has 3 events, the log knows no such session`,
				`session b/"zz z" 2026-09-29T12:00:00.000000Z: has 3 events, the log knows no such session`,
			},
		},
		"texts too many, and missing": {
			sql: `INSERT INTO session_texts VALUES ('agent', 'healed', '2026-09-28 12:00:00+00', '\x0102'), ('z', 'zz', '2026-09-28 12:00:00+00', '\x03');
				DELETE FROM session_texts WHERE session_id = 'odd'`,
			want: []string{
				"text: session agent/healed 2026-09-28T12:00:00.000000Z: session_texts has 0102, which its user has not said\n",
				"text: session z/zz 2026-09-28T12:00:00.000000Z: session_texts has 03, which its user has not said\n",
				": session_texts lacks ",
			},
		},
		"healed messages that are said to be superseded, and not to be": {
			sql: `UPDATE superseded SET position = position + 1`,
			want: []string{
				"of agent/healed, which is no healed message that was delivered after all\n",
				"of agent/healed, a healed message that was delivered after all\n",
			},
		},
		"a follower that is said to be further": {
			sql:  `UPDATE followers SET position = position + 1`,
			want: []string{"follower: follower sessions is at position "},
		},
		"a follower that is said to be not so far": {
			sql:  `UPDATE followers SET position = position - 100`,
			want: []string{"session: session ", "sum: the sessions count "},
		},
		"a follower that is missing": {
			sql:  `DELETE FROM followers`,
			want: []string{"follower: followers has no row sessions\n"},
		},
		"other settings": {
			sql:  `UPDATE settings SET quick_answer_s = 5`,
			want: []string{"follower: the sessions were made with the settings {", "quick_answer_count is "},
		},
		"a dead letter of no event": {
			sql: `INSERT INTO dead_letters (follower, position, agent_id, session_id, event_type, reason, attempts, failed_at)
				VALUES ('sessions', 1000000, 'a', 's', 'chat.push', 'none', 3, now())`,
			want: []string{"dead_letter: dead letter 1000000 of sessions is no event of the log\n"},
		},
		"a dead letter of an event that was folded": {
			sql: `INSERT INTO dead_letters (follower, position, agent_id, session_id, event_type, reason, attempts, failed_at)
				SELECT 'sessions', position, 'x', session_id, event_type, 'none', 3, now() FROM events WHERE message = 'I was lost'`,
			want: []string{" is of x/healed, a chat.push; the event is of agent/healed, a chat.push\n", "the log knows no such session\n"},
		},
		"a quarantined body that was deleted": {
			sql:  `DELETE FROM quarantine WHERE body = 'no'`,
			want: []string{"quarantine: the quarantine received 3 deliveries, but 1 are there, 0 were pruned, 0 replayed and 0 erased\n"},
		},
		"a quarantined body that was changed": {
			sql:  `UPDATE quarantine SET body = 'yes' WHERE body = 'no'`,
			want: []string{": body_sha256 is not its body's\n"},
		},
		"a quarantine without a tally": {
			sql:  `DELETE FROM quarantine_tally`,
			want: []string{"quarantine: quarantine_tally has no row\n"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := filled(t, 3, 15)
			tamper(t, db, test.sql)
			if test.follow {
				follow(t, db, 100)
			}
			requireFound(t, run(t, db), test.want...)
		})
	}
}

// unfindable are the columns that nothing else in the database tells.
var unfindable = []string{
	"events.received_at", "events.headers", "log_head.duplicates", "log_head.erased", "log_head.expired", "log_head.generation", "followers.updated_at",
	"quarantine.reason", "quarantine.headers", "quarantine.last_seen_at",
	"dead_letters.reason", "dead_letters.attempts", "dead_letters.failed_at", "dead_letters.retry",
}

// TestEverySingleCell changes one cell after the other, and back.
func TestEverySingleCell(t *testing.T) {
	t.Parallel()
	db := filled(t, 4, 12)
	if _, err := db.Append(t.Context(), []*rapport.Event{says(t, "agent", "aside", "user", "one", noon)}); err != nil {
		t.Fatal(err)
	}
	tamper(t, db, `INSERT INTO dead_letters (follower, position, agent_id, session_id, event_type, reason, attempts, failed_at)
		SELECT 'sessions', position, 'agent', 'aside', 'chat.push', 'none', 3, now() FROM log_head`)
	follow(t, db, 100)
	requireClean(t, run(t, db))
	conn, err := pgx.Connect(t.Context(), db.URL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
	cells := &cells{t: t, db: db, conn: conn}
	for table, rows := range map[string][]string{
		"events":           {"message LIKE 'zero %'", "payload_raw IS NOT NULL"},
		"sessions":         {"session_id = 'healed'"},
		"session_texts":    {"session_id = 'healed' AND text_hash < '\\x9000'"},
		"log_head":         {"true"},
		"followers":        {"name = 'sessions'"},
		"settings":         {"true"},
		"quarantine_tally": {"true"},
		"quarantine":       {"body = 'no'"},
		"dead_letters":     {"true"},
		"superseded":       {"true"},
	} {
		for _, where := range rows {
			for _, c := range columnsOf(t, db, table) {
				cells.changeAndBack(table, where, c)
			}
		}
	}
	requireClean(t, run(t, db))
}

type column struct{ Name, Type string }

func columnsOf(t *testing.T, db *storetest.Database, table string) []column {
	t.Helper()
	return storetest.Query(t, db, "postgres", pgx.RowToStructByPos[column], `
		SELECT attname::text, format_type(atttypid, NULL) FROM pg_attribute
		WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped AND attidentity = '' AND attname <> 'singleton'
		ORDER BY attnum`, table)
}

// changed is another value of a column.
func changed(c column) string {
	switch c.Type {
	case "text":
		return fmt.Sprintf("%s || 'x'", c.Name)
	case "text[]":
		return fmt.Sprintf("%s || 'x'::text", c.Name)
	case "bigint", "integer", "double precision":
		return fmt.Sprintf("coalesce(%s, 0) + 1", c.Name)
	case "boolean":
		return "NOT " + c.Name
	case "timestamp with time zone":
		return fmt.Sprintf("coalesce(%s, '2026-09-01') + interval '1 us'", c.Name)
	case "date":
		return fmt.Sprintf("coalesce(%s, '2026-09-01') + 31", c.Name)
	case "bytea":
		return fmt.Sprintf(`%s || '\x20'`, c.Name)
	case "json":
		return `'{"event_type": "changed"}'`
	default:
		return "no change of a " + c.Type
	}
}

// cells are changed over one connection, for there are many.
type cells struct {
	t    *testing.T
	db   *storetest.Database
	conn *pgx.Conn
}

func (c *cells) exec(sql string, args ...any) {
	c.t.Helper()
	if _, err := c.conn.Exec(c.t.Context(), fmt.Sprintf("SET session_replication_role = replica; "+sql, args...)); err != nil {
		c.t.Fatalf("%s: %v", sql, err)
	}
}

func (c *cells) changeAndBack(table, where string, column column) {
	c.t.Helper()
	var null bool
	err := c.conn.QueryRow(c.t.Context(), fmt.Sprintf("SELECT %s IS NULL FROM %s WHERE %s", column.Name, table, where)).Scan(&null)
	if err != nil {
		c.t.Fatalf("%s where %s: %v", table, where, err)
	}
	if null && strings.HasPrefix(column.Name, "payload") {
		return // exactly one of the two is set
	}
	c.exec(`CREATE TEMP TABLE kept AS SELECT * FROM %[1]s WHERE %[2]s;
		CREATE TEMP TABLE others AS SELECT * FROM %[1]s WHERE (%[2]s) IS NOT TRUE;
		UPDATE %[1]s SET %[3]s = %[4]s WHERE %[2]s`, table, where, column.Name, changed(column))
	report := run(c.t, c.db)
	c.exec(`DELETE FROM %[1]s; INSERT INTO %[1]s %[2]s SELECT * FROM kept UNION ALL SELECT * FROM others;
		DROP TABLE kept, others`, table, overriding(table))
	name := table + "." + column.Name
	if found := report.DifferenceCount > 0; found == slices.Contains(unfindable, name) {
		c.t.Errorf("%s where %s, changed to %s: found is %v\n%s", name, where, changed(column), found, texts(report))
	}
}

func overriding(table string) string {
	if table == "quarantine" {
		return "OVERRIDING SYSTEM VALUE"
	}
	return ""
}

// TestEveryColumnOfTheTotals changes all columns of a row at once.
func TestEveryColumnOfTheTotals(t *testing.T) {
	t.Parallel()
	db := filled(t, 5, 12)
	columns := columnsOf(t, db, "session_totals")[4:] // behind the key
	var set []string
	for _, c := range columns {
		if strings.HasSuffix(c.Type, "[]") {
			set = append(set, fmt.Sprintf("%s = %s || 3000::%s", c.Name, c.Name, strings.TrimSuffix(c.Type, "[]")))
		} else {
			set = append(set, fmt.Sprintf("%s = %s", c.Name, changed(c)))
		}
	}
	row := "grain = 60 AND of_all AND starts_at = '2026-09-28 12:00:00+00'"
	tamper(t, db, "UPDATE session_totals SET "+strings.Join(set, ", ")+" WHERE "+row)
	report := run(t, db)
	for _, c := range columns {
		requireFound(t, report, "totals: session_totals of all agents, 60 minutes from 2026-09-28T12:00:00.000000Z: "+c.Name+" is ")
	}
	if report.DifferenceCount != int64(len(columns)) {
		t.Errorf("%d differences, want %d:\n%s", report.DifferenceCount, len(columns), texts(report))
	}
}

func TestTheTotalsAreProved(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ sql, want string }{
		"totals that are missing": {
			"DELETE FROM session_totals WHERE grain = 15 AND NOT of_all AND agent_id = 'agent' AND starts_at = '2026-09-28 12:00:00+00'",
			"totals: session_totals of agent agent, 15 minutes from 2026-09-28T12:00:00.000000Z: is missing, there are 2 sessions\n",
		},
		"totals of no session": {
			"UPDATE session_totals SET agent_id = 'b' WHERE grain = 1440 AND agent_id = 'agent' AND starts_at = '2026-09-28 00:00:00+00'",
			"totals: session_totals of agent b, 1440 minutes from 2026-09-28T00:00:00.000000Z: there are no such sessions\n",
		},
		"totals of another grain": {
			"UPDATE session_totals SET starts_at = starts_at + interval '1 minute' WHERE grain = 60 AND agent_id = 'agent'",
			"from 2026-09-28T12:01:00.000000Z: there are no such sessions\n",
		},
		"no totals at all": {"TRUNCATE session_totals", ": is missing, there are "},
		"a count that is greater": {
			"UPDATE event_counts SET events = events + 1 WHERE grain = 60 AND agent_id = 'agent' AND role = 'user' AND starts_at = '2026-09-28 12:00:00+00'",
			"counts: event_counts of agent agent, 60 minutes from 2026-09-28T12:00:00.000000Z, chat.push user: events is 6, the log says 5\n",
		},
		"a count that is missing": {
			"DELETE FROM event_counts WHERE event_type = 'ping' AND grain = 15",
			"counts: event_counts of agent \"\", 15 minutes from 2026-09-28T12:00:00.000000Z, ping: is missing, the log has 1 events\n",
		},
		"a count of no event": {
			"UPDATE event_counts SET error_code = 'E7' WHERE event_type = 'ping' AND grain = 1440",
			"counts: event_counts of agent \"\", 1440 minutes from 2026-09-28T00:00:00.000000Z, ping E7: events is 1, the log has none\n",
		},
		"a count of a month without events": {
			"INSERT INTO event_counts VALUES (15, '2020-02-03 00:00:00+00', 'a', 'chat.push', '', '', '', '', 2)",
			"chat.push: events is 2, the log has none\n",
		},
		"what was there before is not counted yet": {
			"UPDATE followers SET to_count = '2026-09-01' WHERE name = 'sessions'",
			"follower: sessions and events from 2026-09-01 on have no totals yet",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := filled(t, 3, 8)
			requireClean(t, run(t, db))
			tamper(t, db, test.sql)
			requireFound(t, run(t, db), test.want)
		})
	}
}

func TestDifferencesBeyondTheLimitAreCounted(t *testing.T) {
	t.Parallel()
	db := filled(t, 3, 15)
	tamper(t, db, "TRUNCATE sessions")
	all := run(t, db)
	some, err := verify.Run(t.Context(), verify.Options{DB: db.DB, Decode: decode, MaxDifferences: 3})
	if err != nil {
		t.Fatal(err)
	}
	if len(some.Differences) != 3 || some.DifferenceCount != all.DifferenceCount || !slices.Equal(some.Differences, all.Differences[:3]) {
		t.Errorf("%d of %d, want the first 3 of %d", len(some.Differences), some.DifferenceCount, all.DifferenceCount)
	}
}

func TestTheSameDifferencesComeInTheSameOrder(t *testing.T) {
	t.Parallel()
	db := filled(t, 3, 60)
	tamper(t, db, "UPDATE sessions SET turn_count = turn_count + 1; UPDATE events SET language = 'xx'; DELETE FROM events WHERE position % 10 = 0")
	first := texts(run(t, db))
	for range 3 {
		if again := texts(run(t, db)); again != first {
			t.Fatal("the differences came in another order")
		}
	}
}

func TestADecoderThatPanicsIsFound(t *testing.T) {
	t.Parallel()
	db := filled(t, 3, 2)
	report, err := verify.Run(t.Context(), verify.Options{DB: db.DB, Decode: panics, MaxDifferences: 1})
	if err != nil {
		t.Fatal(err)
	}
	requireFound(t, report, "its payload can't be decoded: \"panic: no\"")
}

func panics([]byte, string, time.Time) (rapport.Event, error) { panic("no") }
