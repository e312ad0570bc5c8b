package transfer_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"github.com/parquet-go/parquet-go"

	"rapport/internal/redact"
	"rapport/internal/transfer"
	"rapport/store"
	"rapport/store/storetest"
)

func TestExportedEventsMakeTheSameLogAndSessions(t *testing.T) {
	t.Parallel()
	from, to := filled(t), storetest.New(t)
	text := exported(t, from)
	done := imported(t, importing(to), text)
	if want := int64(len(bodies()) + 1); done.Appended != want || done.Read != want {
		t.Fatalf("%v", &done)
	}
	follow(t, to)
	for _, sql := range []string{allEvents, allSessions, "SELECT to_jsonb(x)::text FROM superseded x ORDER BY position"} {
		if diff := cmp.Diff(texts(t, from, sql), texts(t, to, sql)); diff != "" {
			t.Errorf("-exported +imported:\n%s", diff)
		}
	}
	if again := exported(t, to); again != text {
		t.Error("what was imported is exported otherwise")
	}

	t.Run("and importing again changes nothing", func(t *testing.T) {
		before := texts(t, to, allEvents)
		done := imported(t, importing(to), text)
		if done.Appended != 0 || done.Duplicates != done.Read {
			t.Errorf("%v", &done)
		}
		if diff := cmp.Diff(before, texts(t, to, allEvents)); diff != "" {
			t.Error(diff)
		}
	})

	t.Run("and what is erased comes as a stub, and stays away", func(t *testing.T) {
		plan, err := from.PlanErasure(t.Context(), store.ErasureRequest{Kind: store.EraseSession, SessionID: "s1", By: "test"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := from.Erase(t.Context(), plan, nil); err != nil {
			t.Fatal(err)
		}
		follow(t, from)
		if done := imported(t, importing(from), text); done.Erased != 7 || done.Appended != 0 {
			t.Errorf("importing what was erased: %v", &done)
		}
		stubs := exported(t, from)
		if strings.Contains(stubs, "Where is it?") || strings.Count(stubs, `"erasure":null`) != len(bodies())+1-7 {
			t.Errorf("the stubs: %s", stubs)
		}
		if done := imported(t, importing(storetest.New(t)), stubs); done.Stubs != 8 || done.Appended != done.Read-8 {
			t.Errorf("importing stubs: %v", &done)
		}
	})
}

func TestAnExportOfMonths(t *testing.T) {
	t.Parallel()
	db := filled(t)
	type event struct {
		Position   int64     `parquet:"position"`
		OccurredAt time.Time `parquet:"occurred_at,timestamp(microsecond)"`
		Payload    *string   `parquet:"payload,optional"`
		PayloadRaw []byte    `parquet:"payload_raw,optional"`
		Rating     *float64  `parquet:"rating,optional"`
		Message    string    `parquet:"message"`
	}
	var first map[string]string
	for range 2 { // the same bytes
		dir := filepath.Join(t.TempDir(), "out")
		_, done := exportTo(t, transfer.Export{DB: db.DB, What: transfer.Events, Format: transfer.Parquet, Out: dir})
		want := []string{filepath.Join(dir, "events-2026-03.parquet"), filepath.Join(dir, "events-2026-04.parquet")}
		if !slices.Equal(done.Files, want) || done.Rows != int64(len(bodies())+1) {
			t.Fatalf("%+v", done)
		}
		entries, err := os.ReadDir(dir)
		if err != nil || len(entries) != 2 {
			t.Fatal(entries, err)
		}
		files := map[string]string{}
		var got []string
		for _, path := range want {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			files[filepath.Base(path)] = string(text)
			rows, err := parquet.ReadFile[event](path)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range rows {
				body := string(r.PayloadRaw)
				if r.Payload != nil {
					body = *r.Payload
				}
				got = append(got, fmt.Sprintf("%d %s %q %v %x", r.Position, r.OccurredAt.UTC().Format("2006-01-02 15:04:05.000000"), r.Message, r.Rating != nil, body))
			}
		}
		wanted := texts(t, db, `SELECT format('%s %s %s %s %s', position, to_char(occurred_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US'),
			to_json(message)::text, CASE WHEN rating IS NULL THEN 'false' ELSE 'true' END,
			encode(coalesce(payload_raw, convert_to(payload::text, 'UTF8')), 'hex')) FROM events ORDER BY occurred_at >= '2026-04-01', position`)
		for i := range wanted {
			if strings.Contains(wanted[i], "\u2028") { // which %q escapes
				wanted[i] = strings.ReplaceAll(wanted[i], "\u2028", `\u2028`)
			}
		}
		if diff := cmp.Diff(wanted, got); diff != "" {
			t.Fatalf("-SQL +parquet:\n%s", diff)
		}
		if first != nil && !cmp.Equal(first, files) {
			t.Error("another export of the same rows has other bytes")
		}
		first = files
	}
}

func TestAnExportHasWhatTheViewsHave(t *testing.T) {
	t.Parallel()
	db := filled(t)
	for what, view := range map[string]string{
		transfer.Sessions: "SELECT row_to_json(v)::text FROM analytics.sessions v ORDER BY started_at, agent_id, session_id",
		transfer.Messages: "SELECT row_to_json(v)::text FROM analytics.messages v ORDER BY position",
	} {
		var want []map[string]any
		for _, text := range texts(t, db, view) {
			want = append(want, object(t, text))
		}
		text, done := exportTo(t, transfer.Export{DB: db.DB, What: what, Format: transfer.NDJSON})
		var got []map[string]any
		for line := range strings.Lines(text) {
			got = append(got, object(t, line))
		}
		if diff := cmp.Diff(want, got); diff != "" || done.Rows != int64(len(want)) || len(want) == 0 {
			t.Errorf("%s (-view +export):\n%s", what, diff)
		}
		text, _ = exportTo(t, transfer.Export{DB: db.DB, What: what, Format: transfer.CSV})
		cells, err := csv.NewReader(strings.NewReader(text)).ReadAll()
		if err != nil || len(cells) != len(want)+1 || len(cells[0]) != len(want[0]) {
			t.Errorf("%s as CSV: %v %v", what, cells, err)
		}
		out := filepath.Join(t.TempDir(), "x.parquet")
		exportTo(t, transfer.Export{DB: db.DB, What: what, Format: transfer.Parquet, Out: out})
		if rows, err := parquet.ReadFile[struct {
			SessionID string `parquet:"session_id"`
		}](out); err != nil || len(rows) != len(want) {
			t.Errorf("%s as Parquet: %d rows, %v", what, len(rows), err)
		}
	}
	text, _ := exportTo(t, transfer.Export{
		DB: db.DB, What: transfer.Messages, Format: transfer.NDJSON, AgentID: "A", From: noon.Add(2 * time.Second), To: noon.Add(6 * time.Second),
	})
	if strings.Count(text, "\n") != 2 {
		t.Errorf("of four seconds: %s", text)
	}
}

// object reads JSON, with times as they are and no digits behind them.
func object(t *testing.T, text string) map[string]any {
	t.Helper()
	var o map[string]any
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		t.Fatal(err, text)
	}
	for name, value := range o {
		if s, ok := value.(string); ok && strings.HasSuffix(name, "_at") {
			at, err := time.Parse(time.RFC3339Nano, s)
			if err != nil {
				t.Fatal(err)
			}
			o[name] = at.UTC()
		}
	}
	return o
}

func TestAnImportOfDeliveries(t *testing.T) {
	t.Parallel()
	lines := "\xef\xbb\xbf" + said("s1", "user", "Mail me at a@example.com", 1) + "\r\n\n" + said("s1", "agent", "Yes", 2) + "\n" +
		`{"event_type":"chat.push","data":{"role":"user","message":"no time","session_id":"s1"}}` + "\n" +
		"{broken\n" + strings.Repeat("x", 5000) + "\n" + said("s1", "user", "long", 3) + strings.Repeat(" ", 300) + "\n" +
		said("s1", "user", "twice", 4) + "\n" + said("s1", "user", "twice", 4)
	db := storetest.New(t)
	i := importing(db)
	i.MaxBody = 300
	var err error
	if i.Redact, err = redact.New([]string{"email"}, nil); err != nil {
		t.Fatal(err)
	}
	want := transfer.Imported{Read: 8, Appended: 4, Duplicates: 1, Quarantined: 1, Refused: 2, Undated: 1, Line: 9}
	if done := imported(t, i, lines); done != want {
		t.Errorf("%+v, want %+v", done, want)
	}
	if got := texts(t, db, "SELECT message FROM events ORDER BY position"); !slices.Equal(got, []string{"Mail me at [email]", "Yes", "no time", "twice"}) {
		t.Errorf("%q", got)
	}
	if got := texts(t, db, "SELECT convert_from(body, 'UTF8') || reason FROM quarantine"); len(got) != 1 || !strings.Contains(got[0], "{broken") {
		t.Errorf("%q", got)
	}

	t.Run("is the same again, compressed", func(t *testing.T) {
		var zipped, packed bytes.Buffer
		z, err := zstd.NewWriter(&packed)
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range []io.WriteCloser{gzip.NewWriter(&zipped), z} {
			if _, err := w.Write([]byte(lines)); err != nil || w.Close() != nil {
				t.Fatal(err)
			}
		}
		i.Now = i.Now.Add(time.Hour)
		want := transfer.Imported{Read: 8, Duplicates: 5, Quarantined: 1, Refused: 2, Undated: 1, Line: 9}
		for _, text := range []string{zipped.String(), packed.String()} {
			if done := imported(t, i, text); done != want {
				t.Errorf("%+v, want %+v", done, want)
			}
		}
	})

	t.Run("stops at the first bad line, if it is strict", func(t *testing.T) {
		t.Parallel()
		db := storetest.New(t)
		i := importing(db)
		i.Strict = true
		done, err := i.Run(t.Context(), strings.NewReader(lines))
		if err == nil || !strings.Contains(err.Error(), "line 5") || done.Line != 4 {
			t.Errorf("%v, %+v", err, done)
		}
		if got := texts(t, db, "SELECT message FROM events UNION ALL SELECT reason FROM quarantine"); len(got) != 3 {
			t.Errorf("%q", got)
		}
		i.Skip, i.Strict = 5, false
		if done := imported(t, i, lines); done.Read != 4 || done.Line != 9 {
			t.Errorf("what is skipped: %+v", done)
		}
	})

	t.Run("keeps nothing of a file that is something else", func(t *testing.T) {
		t.Parallel()
		db := storetest.New(t)
		if _, err := importing(db).Run(t.Context(), strings.NewReader(strings.Repeat("a,b,c\n", 100))); err == nil {
			t.Error("no error")
		}
		if n := texts(t, db, "SELECT reason FROM quarantine"); len(n) != 0 {
			t.Errorf("%q", n)
		}
	})
}

func TestAChangedExportIsRefused(t *testing.T) {
	t.Parallel()
	text := exported(t, filled(t))
	db := storetest.New(t)
	for name, change := range map[string]func(string) string{
		"the payload": func(line string) string { return strings.Replace(line, `Where is it?\"`, `Where was it?\"`, 1) },
		"no payload":  func(line string) string { return strings.Replace(line, `"payload":"`, `"paid":"`, 1) },
		"an object":   func(line string) string { return strings.Replace(line, `"payload":"`, `"payload":{"a":1},"was":"`, 1) },
		"the receipt": func(line string) string {
			return strings.Replace(line, `"received_at":"2026`, `"received_at":"2099`, 1)
		},
		"no receipt": func(line string) string {
			return strings.Replace(line, `"received_at":"2026`, `"received_at":"soon`, 1)
		},
		"a null": func(line string) string {
			return strings.Replace(line, `"fingerprint":"`, `"fingerprint":null,"was":"`, 1)
		},
		"a number": func(line string) string { return strings.Replace(line, `"position":`, `"position":0.`, 1) },
	} {
		for line := range strings.Lines(text) {
			if !strings.Contains(line, "Where is it?") {
				continue
			}
			if done := imported(t, importing(db), change(line)); done.Refused != 1 || done.Appended+done.Quarantined != 0 {
				t.Errorf("%s: %v", name, &done)
			}
		}
	}
}

// blank is a file of empty lines without an end.
type blank struct{}

func (blank) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = '\n'
	}
	return len(p), nil
}

func TestAnImportOfNothingEndsWhenItIsCutOff(t *testing.T) {
	t.Parallel()
	ctx, cut := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cut()
	if done, err := importing(storetest.New(t)).Run(ctx, blank{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v, %+v", err, done)
	}
}

func TestAnImportThatWasCutOffIsCompletedByAnother(t *testing.T) {
	t.Parallel()
	var lines strings.Builder
	const n = 5000
	for i := range n {
		lines.WriteString(said(fmt.Sprint("s", i%50), "user", fmt.Sprint("message ", i), float64(i)) + "\n")
	}
	db := storetest.New(t)
	i := importing(db)
	ctx, cut := context.WithCancel(t.Context())
	i.OnProgress = func(done *transfer.Imported) {
		if done.Line >= 2000 {
			cut()
		}
	}
	done, err := i.Run(ctx, strings.NewReader(lines.String()))
	if err == nil || done.Line < 2000 || done.Line >= n {
		t.Fatalf("%v, %+v", err, done)
	}
	i.OnProgress = nil
	again := imported(t, i, lines.String())
	if again.Read != n || again.Appended+again.Duplicates != n || again.Duplicates < 2000 {
		t.Errorf("%+v", again)
	}
	if head, err := db.Head(t.Context()); err != nil || head != n {
		t.Errorf("the log has %d events, want %d: %v", head, n, err)
	}
}
