package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"rapport/store"
)

type deadLetters struct {
	List  deadLettersListCmd  `cmd:"" help:"List the dead letters, the newest events first."`
	Retry deadLettersRetryCmd `cmd:"" help:"Have the server try dead letters again, after what made them is mended."`
}

type deadLettersListCmd struct {
	databaseFlags
	logFlags
	Limit int  `default:"50" help:"How many at most."`
	JSON  bool `name:"json" help:"One JSON object a line."`
}

// Run lists the dead letters.
func (c *deadLettersListCmd) Run(ctx context.Context, io streams) error {
	if c.Limit < 1 {
		return errors.New("--limit must be at least 1")
	}
	return c.withStore(ctx, c.logger(io.Err), func(db *store.DB) error {
		letters, err := db.DeadLetterList(ctx, 0, "", c.Limit)
		if err != nil {
			return err
		}
		if c.JSON {
			return writeDeadLettersJSON(io, letters)
		}
		table := tabwriter.NewWriter(io.Out, 0, 8, 2, ' ', 0)
		_, _ = fmt.Fprintln(table, "POSITION\tFOLLOWER\tATTEMPTS\tFAILED\tRETRY\tTYPE\tSESSION\tREASON")
		for _, l := range letters {
			_, _ = fmt.Fprintf(table, "%d\t%s\t%d\t%s\t%t\t%s\t%s\t%s\n", l.Position, l.Follower, l.Attempts,
				l.FailedAt.Format(time.RFC3339), l.Retry, inCell(l.EventType), inCell(l.SessionID), inCell(l.Reason))
		}
		return table.Flush()
	})
}

// inCell shows what a sender may have made up: in one cell, and without what a
// terminal obeys.
func inCell(text string) string {
	quoted := strconv.Quote(text)
	if quoted == `"`+text+`"` {
		return text
	}
	return quoted
}

func writeDeadLettersJSON(io streams, letters []store.DeadLetter) error {
	encoder := json.NewEncoder(io.Out)
	for _, l := range letters {
		line := map[string]any{
			"follower": l.Follower, "position": l.Position, "agent_id": l.AgentID, "session_id": l.SessionID,
			"event_type": l.EventType, "reason": l.Reason, "attempts": l.Attempts, "failed_at": l.FailedAt, "retry": l.Retry,
		}
		if err := encoder.Encode(line); err != nil {
			return err
		}
	}
	return nil
}

type deadLettersRetryCmd struct {
	databaseFlags
	logFlags
	All       bool    `help:"All of them."`
	Positions []int64 `arg:"" optional:"" name:"position" help:"Which ones, by their positions in the log."`
}

// Run has dead letters tried again: by the server, if one runs, else by the next.
func (c *deadLettersRetryCmd) Run(ctx context.Context, io streams) error {
	if c.All == (len(c.Positions) > 0) {
		return errors.New("name positions, or --all")
	}
	return c.withStore(ctx, c.logger(io.Err), func(db *store.DB) error {
		n, missing, err := c.mark(ctx, db)
		if err != nil {
			return err
		}
		_, _ = fmt.Fprintf(io.Out, "%d to be tried again by the server\n", n)
		if len(missing) > 0 {
			return fmt.Errorf("not among the dead letters: %s", strings.Join(missing, ", "))
		}
		return nil
	})
}

// mark tells how many are to be tried again, and which of the named ones are none.
func (c *deadLettersRetryCmd) mark(ctx context.Context, db *store.DB) (n int64, missing []string, err error) {
	if c.All {
		n, err = db.RetryAllDeadLetters(ctx, cliActor())
		return n, nil, err
	}
	found, err := db.RetryDeadLetters(ctx, c.Positions, cliActor())
	if err != nil {
		return 0, nil, err
	}
	for _, position := range c.Positions {
		if !slices.Contains(found, position) {
			missing = append(missing, strconv.FormatInt(position, 10))
		}
	}
	return int64(len(found)), missing, nil
}
