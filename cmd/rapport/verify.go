package main

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"time"

	"rapport"
	"rapport/api/webhook"
	"rapport/internal/heal"
	"rapport/internal/verify"
	"rapport/store"
	"rapport/store/ingest/spool"
)

type verifyCmd struct {
	databaseFlags
	logFlags
	MaxDifferences int  `default:"100" help:"How many differences to describe; all are counted."`
	JSON           bool `name:"json" help:"Print the report as JSON."`
}

// Help is what --help says besides the flags.
func (*verifyCmd) Help() string {
	return `Reads the whole log at one moment, beside a running server or without one, and changes nothing.
Every payload is decoded again, and every session folded again. Each difference from what is stored is
told in one line, and makes the exit code 1:

  - positions that are missing, taken twice or beyond the log's head; events that are in the log twice
  - columns of an event that are not what its payload says; rows in another month's partition
  - sessions and texts that are missing, too many, or have another value in any column
  - rollups made with other settings; dead letters of no event; counters that do not add up
  - messages that can't be found in GET /messages, though it has come so far, and erased ones that can
  - texts and names of what was erased; erased sessions that their stubs (times, types, roles) contradict

What can't be told, for nothing else says it: received_at (but of undated events and of the newest),
the received headers, fields of a room.join or chat.push that Rapport reads nothing from, where a healed
message was read, two events of one session that changed their positions, the reason, headers and times
of a quarantined body, the times and attempts of followers and dead letters, the words by which messages
are found (rebuild --search makes them anew), and the count of recognised
duplicates. That one includes what was tried again because the answer to a commit was lost, so that
"received" can be greater than what the sender sent. What was spooled has been answered 200 before
anybody knew what becomes of it.

Sessions that began before the horizon of retention are taken as they are: what they were folded from may
be gone. That all of its events are counted in some session, and that no other position is missing than
those that were dropped, is proved all the same.

It keeps Postgres from cleaning up behind changes, and "rapport rebuild" from finishing, as long as it runs.`
}

// Run verifies.
func (c *verifyCmd) Run(ctx context.Context, io streams) error {
	if c.MaxDifferences < 0 {
		return errors.New("--max-differences must be at least 0")
	}
	return c.withStore(ctx, c.logger(io.Err), func(db *store.DB) error {
		spools, err := c.inspectSpools()
		if err != nil {
			return err
		}
		bar := verify.NewBar(io.Err)
		report, err := verify.Run(ctx, verify.Options{
			DB: db, Decode: decodeAgain, Spools: spools, MaxDifferences: c.MaxDifferences, Progress: bar.Show,
		})
		bar.Clear()
		if err != nil {
			return err
		}
		if err := c.print(io, report); err != nil {
			return err
		}
		return report.Err()
	})
}

// inspectSpools looks into the spools of the data directory, whoever uses them, if
// they are of this database.
func (c *verifyCmd) inspectSpools() ([]verify.Spool, error) {
	var spools []verify.Spool
	database, err := c.address()
	if err != nil || !isKnown(c.DataDir, database) {
		return nil, err
	}
	for number := 1; number <= maxSpools; number++ {
		found, err := spool.Inspect(spoolDir(c.DataDir, number))
		if errors.Is(err, fs.ErrNotExist) {
			break
		}
		if err != nil {
			return nil, err
		}
		spools = append(spools, verify.Spool{
			ID: found.ID, Kept: found.Kept, Last: found.Last, Records: found.Records, Lost: found.Lost, Damaged: found.Damaged,
		})
	}
	return spools, nil
}

func (c *verifyCmd) print(io streams, report *verify.Report) error {
	if !c.JSON {
		return report.Print(io.Out)
	}
	encoder := json.NewEncoder(io.Out)
	encoder.SetIndent("", "  ")
	return encoder.Encode(report)
}

// decodeAgain reads the payload of an event of the log. Whether its time was
// possible was judged when it came: what the newest receipt was then, nobody knows.
func decodeAgain(payload []byte, healedFrom string, receivedAt time.Time) (rapport.Event, error) {
	if healedFrom != "" {
		return heal.Decode(payload, healedFrom, receivedAt)
	}
	return webhook.Decode(payload, receivedAt, endOfTime)
}

var endOfTime = time.Date(9999, time.December, 31, 0, 0, 0, 0, time.UTC)
