package verify_test

import (
	"testing"

	"rapport/store/storetest"
)

func TestTheSearchIsProved(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ sql, want string }{
		"a message that can't be found": {
			"DELETE FROM message_search WHERE position = (SELECT min(position) FROM message_search)",
			"search: message_search lacks message ",
		},
		"one with another time": {
			"UPDATE message_search SET occurred_at = occurred_at + interval '1 us' WHERE position = (SELECT min(position) FROM message_search)",
			"with another occurred_at",
		},
		"one of no message": {
			"INSERT INTO message_search VALUES (1000000, now(), '')",
			"search: message_search has 1 rows of what is no message",
		},
		"a search ahead of the log": {
			"UPDATE followers SET position = position + 1 WHERE name = 'search'",
			`follower: follower search is at position `,
		},
		"a search that is not there": {
			"DELETE FROM followers WHERE name = 'search'",
			`follower: followers has no row search`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := filled(t, 3, 4)
			searchable(t, db)
			if report := run(t, db); report.DifferenceCount != 0 || report.Counts.Searchable == 0 {
				t.Fatalf("%d searchable, %s", report.Counts.Searchable, texts(report))
			}
			tamper(t, db, test.sql)
			requireFound(t, run(t, db), test.want)
		})
	}
}

// searchable has all messages found.
func searchable(t *testing.T, db *storetest.Database) {
	t.Helper()
	for {
		step, err := db.FillSearch(t.Context(), 1000)
		if err != nil || step.Busy {
			t.Fatal(err, step)
		}
		if step.Position == step.Head {
			return
		}
	}
}
