package store_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"rapport"
	"rapport/store/storetest"
)

// BenchmarkAppend tells what an event costs in batches of several sizes, and
// what a bare INSERT by pgx costs.
func BenchmarkAppend(b *testing.B) {
	for _, size := range []int{1, 32, 256, 2048} {
		b.Run(fmt.Sprint("batch of ", size), func(b *testing.B) {
			db := storetest.New(b)
			n := 0
			for b.Loop() {
				events := make([]*rapport.Event, size)
				for i := range events {
					n++
					events[i] = message(fmt.Sprint("a message of ordinary length, number ", n), noon.Add(time.Duration(n)*time.Microsecond))
					events[i].SessionID = fmt.Sprint("8d947f06-2c36-4d98-aafe-", n/20)
				}
				if _, err := db.Append(context.Background(), events); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*size), "µs/event")
		})
	}
	b.Run("bare INSERT", func(b *testing.B) {
		db := storetest.New(b)
		db.Exec(b, "rapport_owner", "CREATE TABLE bare (id bigint PRIMARY KEY, body json)")
		pool, err := pgxpool.New(context.Background(), db.URL("rapport_owner"))
		if err != nil {
			b.Fatal(err)
		}
		defer pool.Close()
		n := 0
		for b.Loop() {
			n++
			if _, err := pool.Exec(context.Background(), "INSERT INTO bare VALUES ($1, $2)", n, `{"message":"hello"}`); err != nil {
				b.Fatal(err)
			}
		}
	})
}
