package aggregator_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"rapport/aggregator"
	"rapport/store"
	"rapport/store/storetest"
)

func TestMessagesBecomeSearchable(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	put(t, db, say("s", 0, "hello", "hello again", "goodbye")...)
	stop := follow(t, db, 1) // before the sessions, nothing is searchable
	defer stop()
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	running.Go(func() { _ = aggregator.NewSearch(db.DB, db.Watch, storetest.Logger()).Run(ctx) })
	wait, done := context.WithTimeout(t.Context(), 20*time.Second)
	defer done()
	for _, position := range []int64{3, 4} {
		if err := db.WaitForFollower(wait, db.Watch, store.SearchFollower, position); err != nil {
			t.Fatal(err)
		}
		found, err := db.Search(t.Context(), store.SearchQuery{Words: "hello", Limit: 10})
		if err != nil || len(found.Messages) != int(position)-1 {
			t.Fatalf("%v, found %d", err, len(found.Messages))
		}
		if position == 3 {
			put(t, db, say("s", 3, "hello once more")...)
		}
	}
}
