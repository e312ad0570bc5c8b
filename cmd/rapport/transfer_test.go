package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"rapport/store/storetest"
)

func TestExportAndImport(t *testing.T) {
	t.Parallel()
	from, to := storetest.New(t), storetest.New(t)
	database := func(db *storetest.Database) string { return "--database-url=" + db.URL("rapport_server") }
	dir := t.TempDir()
	deliveries := filepath.Join(dir, "deliveries.ndjson")
	lines := chat("s1", "Hello", 1790000000) + "\n" + chat("s1", "Again", 1790000001) + "\n{broken\n"
	if err := os.WriteFile(deliveries, []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
	out, log, code := runRapport(t, []string{"import", database(from), deliveries})
	if code != 1 || !strings.HasPrefix(out, "3 lines read: 2 events appended, 0 already there, 1 in the quarantine") || !strings.Contains(log, "line 3") {
		t.Fatalf("exit code %d, %s%s", code, out, log)
	}
	if audited, _, _ := runRapport(t, []string{"audit", "list", database(from)}); !strings.Contains(audited, "log.import") || !strings.Contains(audited, "deliveries.ndjson") {
		t.Errorf("the audit: %s", audited)
	}

	events := filepath.Join(dir, "events.ndjson")
	out, log, code = runRapport(t, []string{"export", "events", database(from), "--out", events})
	if code != 0 || out != "" || !strings.Contains(log, "2 events exported, up to position 2, to "+events) {
		t.Fatalf("exit code %d, %s%s", code, out, log)
	}
	for _, want := range []string{"2 lines read: 2 events appended", "2 lines read: 0 events appended, 2 already there"} {
		if out, log, code = runRapport(t, []string{"import", database(to), events}); code != 0 || !strings.HasPrefix(out, want) {
			t.Fatalf("exit code %d, %s%s", code, out, log)
		}
	}
	out, log, code = runRapport(t, []string{"export", "messages", database(to), "--format", "csv", "--agent", "a", "--from", "2026-09", "--to", "2026-09-22T00:00:00Z"})
	if code != 0 || strings.Count(out, "\n") != 3 || !strings.Contains(out, ",Hello,5,text,") {
		t.Errorf("exit code %d, %s%s", code, out, log)
	}
	months := filepath.Join(dir, "months")
	if out, log, code = runRapport(t, []string{"export", "events", database(to), "--format", "parquet", "--out", months}); code != 0 {
		t.Errorf("exit code %d, %s%s", code, out, log)
	}
	if _, err := os.Stat(filepath.Join(months, "events-2026-09.parquet")); err != nil {
		t.Error(err)
	}
	for _, wrong := range [][]string{{"events", "--format", "xlsx"}, {"events", "--from", "today"}, {"events", "--from", "2026-10", "--to", "2026-09"}} {
		if _, log, code := runRapport(t, append([]string{"export", database(to)}, wrong...)); code != 1 {
			t.Errorf("%v: exit code %d, %s", wrong, code, log)
		}
	}
}
