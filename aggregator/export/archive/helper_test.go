package archive_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"rapport"
	"rapport/aggregator"
	"rapport/aggregator/export/archive"
	"rapport/api/webhook"
	"rapport/internal/conformance"
	"rapport/internal/heal"
	"rapport/internal/verify"
	"rapport/store"
	"rapport/store/storetest"
)

func TestMain(m *testing.M) { storetest.Main(m) }

var noon = time.Date(2025, 9, 28, 12, 0, 0, 0, time.UTC)

func decode(payload []byte, healedFrom string, receivedAt time.Time) (rapport.Event, error) {
	if healedFrom != "" {
		return heal.Decode(payload, healedFrom, receivedAt)
	}
	return webhook.Decode(payload, receivedAt, time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC))
}

func event(t testing.TB, payload, healedFrom string, receivedAt time.Time) *rapport.Event {
	t.Helper()
	e, err := decode([]byte(payload), healedFrom, receivedAt)
	if err != nil {
		t.Fatalf("%s: %v", payload, err)
	}
	return &e
}

// says is a message of a conversation with an agent.
func says(t testing.TB, agent, session, role, text string, at time.Time) *rapport.Event {
	t.Helper()
	body, err := json.Marshal(map[string]any{
		"event_type": "chat.push", "agent_id": agent, "timestamp": at.Format(time.RFC3339Nano),
		"data": map[string]any{"session_id": session, "role": role, "message": text},
	})
	if err != nil {
		t.Fatal(err)
	}
	return event(t, string(body), "", at.Add(time.Second))
}

var lines = []string{"Hello!", "I need a table for two.", "This is terrible.", "Where are you?", "where are you", "Thanks, wonderful!", "No.", ""}

// conversations are believable events of n conversations, in all wire generations, of
// the 40 days before noon.
func conversations(t testing.TB, seed uint64, n int) []*rapport.Event {
	t.Helper()
	random := rand.New(rand.NewPCG(seed, 1))
	dialogues := make([]conformance.Dialogue, n)
	for i := range dialogues {
		for turn := range 2 + random.IntN(8) {
			role := []string{"user", "assistant"}[turn%2]
			dialogues[i].Turns = append(dialogues[i].Turns, conformance.Turn{Role: role, Text: lines[random.IntN(len(lines))]})
		}
	}
	var events []*rapport.Event
	for i, d := range conformance.Generate(dialogues, conformance.Options{Seed: seed, Base: noon, Days: 40}) {
		events = append(events, event(t, string(d.Body), "", noon.Add(time.Duration(i)*time.Minute+time.Microsecond)))
	}
	return events
}

// oddities are events that are unlike the others.
func oddities(t testing.TB) []*rapport.Event {
	t.Helper()
	undated := `{"event_type": "chat.push", "agent_id": "agent", "data": {"session_id": "odd", "role": "user", "message": "yes"}}`
	rating := `{"event_type": "session.end", "agent_id": "agent", "session_id": "odd", "timestamp": 1759000000.123456, "session": {"userSatisfaction": 0.1}}`
	healed := `{"source":"runtime-sessions","agent_id":"agent","agent_code":"agent","session_id":"healed","room_name":"","timestamp":"2025-09-28T12:00:00Z","role":"user","message":"I was lost","ordinal":0}`
	events := []*rapport.Event{
		event(t, undated, "", noon),
		event(t, undated, "", noon.Add(10*time.Minute+time.Microsecond)),
		event(t, rating, "", noon),
		event(t, `{"event_type": "ping"}`, "", noon),
		event(t, `{"event_type": "room.join", "timestamp": 1759000001, "agent_id": "no session", "user_id": "visitor"}`, "", noon),
		event(t, "{\"event_type\": \"chat.push\", \"session_id\": \"odd\", \"timestamp\": 1759000002, \"message\": \"not \xff UTF-8\"}", "", noon),
		says(t, "agent", "odd", "user", "zero \x00, tab \t, \\N and \\.", noon),
		event(t, healed, "record", noon),
		says(t, "agent", "healed", "user", "I was lost", noon.Add(400*time.Millisecond)),
		says(t, "", "odd", "user", "without an agent", noon),
	}
	events[2].Headers = map[string]string{"user-agent": "a \"sender\""}
	return events
}

func settings(t testing.TB, db *storetest.Database) rapport.Settings {
	t.Helper()
	s, err := db.Settings(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// fill appends events in batches, and folds them.
func fill(t testing.TB, db *storetest.Database, events ...*rapport.Event) {
	t.Helper()
	for len(events) > 0 {
		batch := events[:min(50, len(events))]
		events = events[len(batch):]
		if _, err := db.Append(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
	}
	fold(t, db)
}

func fold(t testing.TB, db *storetest.Database) {
	t.Helper()
	sessions, err := aggregator.NewSessions(settings(t, db))
	if err != nil {
		t.Fatal(err)
	}
	for {
		step, err := db.Follow(t.Context(), store.SessionsFollower, settings(t, db), 10_000, sessions.Apply)
		if err != nil {
			t.Fatal(err)
		}
		if step.Position == step.Head {
			return
		}
	}
}

// filled is a database with conversations, some of it late, and a quarantine.
func filled(t testing.TB, seed uint64, n int) *storetest.Database {
	t.Helper()
	db := storetest.New(t)
	events := append(conversations(t, seed, n), oddities(t)...)
	late := events[len(events)/2:]
	rand.New(rand.NewPCG(seed, 2)).Shuffle(len(late), func(i, j int) { late[i], late[j] = late[j], late[i] })
	fill(t, db, events...)
	for _, body := range []string{"no", "event \\N\t\x00", "no"} {
		if _, err := db.Quarantine(t.Context(), []byte(body), "not JSON", nil, noon); err != nil {
			t.Fatal(err)
		}
	}
	return db
}

// directory is an empty bucket.
func directory(t testing.TB) string { return t.TempDir() }

func bucket(t testing.TB, url string) *archive.Bucket {
	t.Helper()
	b, err := archive.OpenBucket(t.Context(), url, true)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}

// follower archives in small blocks, which are written at once.
func follower(t testing.TB, db *storetest.Database, url string) *archive.Follower {
	t.Helper()
	f := archive.New(archive.Options{
		DB: db.DB, Watch: db.Watch, Bucket: bucket(t, url), Decode: decode, Delay: time.Nanosecond, Logger: storetest.Logger(),
	})
	f.SetBounds(store.BlockBounds{Events: 40, Bytes: 1 << 20})
	return f
}

// archived takes steps until nothing is left to do.
func archived(t testing.TB, db *storetest.Database, f *archive.Follower) {
	t.Helper()
	for range 20 {
		if isOurs, err := f.Step(t.Context()); err != nil || !isOurs {
			t.Fatalf("archiving: %v, %v", isOurs, err)
		}
		todo, err := db.ArchiveTodo(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if lag, _, err := db.ArchiveLag(t.Context(), noon); err == nil && lag.Events == 0 && todo.IsDone() {
			return
		}
	}
	t.Fatal("the archive does not come to an end")
}

// handOver lets another process archive at once.
func handOver(t testing.TB, db *storetest.Database) {
	t.Helper()
	db.Exec(t, "rapport_owner", "UPDATE archive SET leased_until = now()")
}

// restored is a database that was made from an archive.
func restored(t testing.TB, url string) *storetest.Database {
	t.Helper()
	db := storetest.New(t)
	if err := restore(t, db, url, func(int64) {}); err != nil {
		t.Fatal(err)
	}
	return db
}

func restore(t testing.TB, db *storetest.Database, url string, progress func(int64)) error {
	t.Helper()
	return restoreUntil(t.Context(), t, db, url, progress)
}

func restoreUntil(ctx context.Context, t testing.TB, db *storetest.Database, url string, progress func(int64)) error {
	t.Helper()
	b := bucket(t, url)
	m, err := archive.ReadManifest(ctx, b)
	if err != nil {
		return err
	}
	r, err := store.BeginRestore(ctx, db.URL("rapport_owner"), m.Name())
	if err != nil {
		return err
	}
	defer r.Close()
	if err := archive.Restore(ctx, b, m, decode, r, progress); err != nil {
		return err
	}
	fresh, err := r.BeginRebuild(ctx)
	if err != nil {
		return err
	}
	defer fresh.Close()
	if _, err := aggregator.Rebuild(ctx, fresh, settings(t, db), func(aggregator.RebuildProgress) {}); err != nil {
		return err
	}
	return r.End(ctx)
}

// comparedTables are those that a restore brings back to the byte.
var comparedTables = map[string]string{
	"events": "position", "sessions": "1, 2, 3", "session_texts": "1, 2, 3, 4", "superseded": "1, 2, 3",
	"session_totals": "1, 2, 3, 4", "event_counts": "1, 2, 3, 4, 5, 6, 7, 8", "settings": "1", "retention": "1",
	"dropped_months": "1", "stubbed_months": "1", "frozen_spans": "1, 2", "erasures": "id", "tombstones": "1, 2, 3",
	"quarantine": "id", "quarantine_tally": "1", "log_head": "1", "current_sessions": "1, 2, 3",
}

// requireSame wants each table to have the same rows in both databases.
func requireSame(t testing.TB, want, got *storetest.Database) {
	t.Helper()
	wanted, had := contents(t, want), contents(t, got)
	for table := range comparedTables {
		if diff := cmp.Diff(wanted[table], had[table]); diff != "" {
			t.Errorf("%s differs (%d and %d rows):\n%.2000s", table, len(wanted[table]), len(had[table]), diff)
		}
	}
}

// contents are the rows of the compared tables.
func contents(t testing.TB, db *storetest.Database) map[string][]string {
	t.Helper()
	type table struct {
		Name string
		Rows []string
	}
	var sql []string
	for name, order := range comparedTables {
		sql = append(sql, fmt.Sprintf("SELECT '%s' AS name, ARRAY(SELECT t::text FROM (SELECT * FROM %[1]s ORDER BY %s) t) AS rows", name, order))
	}
	all := make(map[string][]string)
	for _, t := range storetest.Query(t, db, "postgres", pgx.RowToStructByName[table], strings.Join(sql, " UNION ALL ")) {
		all[t.Name] = t.Rows
	}
	return all
}

func requireProved(t testing.TB, db *storetest.Database) {
	t.Helper()
	report, err := verify.Run(t.Context(), verify.Options{DB: db.DB, Decode: decode, MaxDifferences: 20})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range report.Differences {
		t.Errorf("%s: %s", d.Kind, d.Text)
	}
}

func erase(t testing.TB, db *storetest.Database, request store.ErasureRequest) {
	t.Helper()
	request.By = "cli:test"
	plan, err := db.PlanErasure(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Erase(t.Context(), plan, nil); err != nil {
		t.Fatal(err)
	}
	fold(t, db)
}

// objects are the names and contents in a directory.
func objects(t testing.TB, dir string) map[string]string {
	t.Helper()
	all := make(map[string]string)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		name, _ := filepath.Rel(dir, path)
		all[filepath.ToSlash(name)] = string(content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// in are the names of a folder.
func in(all map[string]string, folder string) []string {
	var names []string
	for name := range all {
		if strings.HasPrefix(name, folder) {
			names = append(names, name)
		}
	}
	return names
}
