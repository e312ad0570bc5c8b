package bi

import (
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"rapport/internal/bench/history"
	"rapport/internal/grafana"
	"rapport/store/storetest"
)

// viewOf looks at the last 30 days of a log.
func viewOf(t *testing.T, db *storetest.Database) grafana.View {
	t.Helper()
	sessions := storetest.Query(t, db, "rapport_reader", pgx.RowTo[string], `SELECT session_id FROM analytics.sessions
		WHERE agent_id = $1 AND message_count > 3 ORDER BY started_at DESC LIMIT 1`, history.BiggestAgent)
	if len(sessions) != 1 {
		t.Fatal("there is no session to look at")
	}
	return grafana.View{From: plan.Until.AddDate(0, 0, -30), To: plan.Until, Agent: history.BiggestAgent, Session: sessions[0]}
}

// mayBeEmpty are panels of what the session looked at may not have.
var mayBeEmpty = map[string]bool{"session/Errors": true, "agent/Latest errors": true, "overview/Errors by code": true}

// everyPanelsQueryRuns as Grafana's role, with a result that the panel can show.
func everyPanelsQueryRuns(t *testing.T, db *storetest.Database) {
	conn := connect(t, db, "rapport_reader")
	view := viewOf(t, db)
	for _, oneAgent := range []bool{false, true} {
		view.OneAgent = oneAgent
		queries, err := grafana.Panels(view)
		if err != nil {
			t.Fatal(err)
		}
		if len(queries) < 40 {
			t.Errorf("only %d queries", len(queries))
		}
		for _, q := range queries {
			name := q.Dashboard + "/" + q.Panel
			columns, rows, err := run(t, conn, q.SQL)
			if err != nil {
				t.Errorf("%s %s: %v\n%s", name, q.Ref, err, q.SQL)
				continue
			}
			if rows == 0 && !mayBeEmpty[name] {
				t.Errorf("%s %s: no rows\n%s", name, q.Ref, q.SQL)
			}
			if fault := faultOf(q, columns); fault != "" {
				t.Errorf("%s %s: %s\n%s", name, q.Ref, fault, q.SQL)
			}
		}
	}
}

func connect(t *testing.T, db *storetest.Database, role string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), db.URL(role))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(t.Context()) })
	return conn
}

// run runs a query as Grafana sends it, and tells its columns and the number of its rows.
func run(t *testing.T, conn *pgx.Conn, sql string) ([]pgconn.FieldDescription, int, error) {
	t.Helper()
	rows, err := conn.Query(t.Context(), sql, pgx.QueryExecModeSimpleProtocol)
	if err != nil {
		return nil, 0, err
	}
	defer rows.Close()
	n := 0
	for rows.Next() {
		n++
	}
	return rows.FieldDescriptions(), n, rows.Err()
}

var (
	numeric = []uint32{pgtype.Int2OID, pgtype.Int4OID, pgtype.Int8OID, pgtype.Float4OID, pgtype.Float8OID, pgtype.NumericOID}
	times   = append([]uint32{pgtype.TimestamptzOID}, numeric...) // numbers are seconds since 1970
	texts   = []uint32{pgtype.TextOID, pgtype.VarcharOID}
)

// faultOf says what a panel can't show of a result; empty if it can.
func faultOf(q grafana.Query, columns []pgconn.FieldDescription) string {
	has := func(i int, kinds []uint32) bool {
		for _, kind := range kinds {
			if i < len(columns) && columns[i].DataTypeOID == kind {
				return true
			}
		}
		return false
	}
	switch {
	case q.Type == "variable" && (len(columns) != 1 || !has(0, texts)):
		return "a variable needs one column of text"
	case q.Type == "timeseries":
		if q.Format != "time_series" || columns[0].Name != "time" || !has(0, times) {
			return "its first column is no time"
		}
		for i := 1; i < len(columns); i++ {
			if !has(i, numeric) {
				return "a column is no number: " + columns[i].Name
			}
		}
		if len(columns) < 2 || !strings.Contains(q.SQL, "ORDER BY 1") {
			return "it needs a number, in the order of time"
		}
	case q.Type == "stat" && !has(len(columns)-1, numeric):
		return "it shows no number"
	case q.Type == "bargauge" || q.Type == "barchart":
		if !has(0, texts) || !has(1, numeric) {
			return "it needs a text and a number"
		}
	}
	for i, c := range columns {
		for _, other := range columns[:i] {
			if c.Name == other.Name {
				return "two columns are called " + c.Name
			}
		}
	}
	return ""
}

// TestWhatIsSoughtIsNotTakenForSQL: the ids in a dashboard's address are anybody's.
func TestWhatIsSoughtIsNotTakenForSQL(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	conn := connect(t, db, "rapport_reader")
	evil := `'); DROP TABLE x; -- \`
	queries, err := grafana.Panels(grafana.View{
		From: plan.Until.Add(-time.Hour), To: plan.Until, Agent: evil, Session: evil, OneAgent: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range queries {
		if _, rows, err := run(t, conn, q.SQL); err != nil {
			t.Errorf("%s/%s: %d rows, %v", q.Dashboard, q.Panel, rows, err)
		}
	}
}
