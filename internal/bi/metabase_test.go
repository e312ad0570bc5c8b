package bi

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestTheQuestionsForMetabaseRun(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../../deploy/metabase/*/*.sql")
	if err != nil || len(files) < 8 {
		t.Fatalf("%d files: %v", len(files), err)
	}
	recent := plan // the questions are about the last days
	recent.Until = time.Now().Truncate(time.Second)
	conn := connect(t, folded(t, recent), "rapport_reader")
	for _, file := range files {
		sql, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		columns, rows, err := run(t, conn, string(sql))
		if err != nil || rows == 0 || len(columns) < 2 {
			t.Errorf("%s: %d columns, %d rows, %v", file, len(columns), rows, err)
		}
	}
}
