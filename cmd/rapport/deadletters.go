package main

import (
	"cmp"
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
	List   deadLettersListCmd   `cmd:"" help:"List the dead letters, the newest events first: events that could not be folded, and deliveries that no destination took."`
	Retry  deadLettersRetryCmd  `cmd:"" help:"Have the server try dead letters again, after what made them is mended."`
	Delete deadLettersDeleteCmd `cmd:"" help:"Delete dead deliveries for ever. Events that are dead letters can't be deleted: they are in the log."`
}

type deadLettersListCmd struct {
	databaseFlags
	logFlags
	Limit int  `default:"50" help:"How many at most."`
	JSON  bool `name:"json" help:"One JSON object a line."`
}

// deadLetterRow is a dead letter of either kind.
type deadLetterRow struct {
	id, kind, of, about string // of is the follower or the destination, about the type or the rule
	position            int64
	attempts            int
	failedAt            time.Time
	retry               bool
	session, reason     string
	json                map[string]any
}

// Run lists the dead letters.
func (c *deadLettersListCmd) Run(ctx context.Context, io streams) error {
	if c.Limit < 1 {
		return errors.New("--limit must be at least 1")
	}
	return c.withStore(ctx, c.logger(io.Err), func(db *store.DB) error {
		rows, err := deadLetterRows(ctx, db, c.Limit)
		if err != nil {
			return err
		}
		if c.JSON {
			return writeDeadLettersJSON(io, rows)
		}
		table := tabwriter.NewWriter(io.Out, 0, 8, 2, ' ', 0)
		_, _ = fmt.Fprintln(table, "ID\tKIND\tPOSITION\tOF\tATTEMPTS\tFAILED\tRETRY\tTYPE OR RULE\tSESSION\tREASON")
		for _, r := range rows {
			_, _ = fmt.Fprintf(table, "%s\t%s\t%d\t%s\t%d\t%s\t%t\t%s\t%s\t%s\n", r.id, r.kind, r.position, inCell(r.of), r.attempts,
				r.failedAt.Format(time.RFC3339), r.retry, inCell(r.about), inCell(r.session), inCell(r.reason))
		}
		return table.Flush()
	})
}

// deadLetterRows are both kinds in one order. At one position the deliveries come first.
func deadLetterRows(ctx context.Context, db *store.DB, limit int) ([]deadLetterRow, error) {
	deliveries, err := db.DeadDeliveryList(ctx, store.DeadDeliveryPlace{Position: -1}, limit)
	if err != nil {
		return nil, err
	}
	events, err := db.DeadLetterList(ctx, 0, "", limit)
	if err != nil {
		return nil, err
	}
	rows := make([]deadLetterRow, 0, len(deliveries)+len(events))
	for _, d := range deliveries {
		rows = append(rows, rowOfDelivery(d))
	}
	for _, l := range events {
		rows = append(rows, rowOfDeadLetter(l))
	}
	slices.SortStableFunc(rows, func(a, b deadLetterRow) int { return cmp.Compare(b.position, a.position) })
	return rows[:min(len(rows), limit)], nil
}

func rowOfDeadLetter(l store.DeadLetter) deadLetterRow {
	r := deadLetterRow{
		id: strconv.FormatInt(l.Position, 10), kind: "event", of: l.Follower, about: l.EventType, position: l.Position,
		attempts: l.Attempts, failedAt: l.FailedAt, retry: l.Retry, session: l.SessionID, reason: l.Reason,
	}
	r.json = map[string]any{"follower": l.Follower, "agent_id": l.AgentID, "event_type": l.EventType}
	return r
}

func rowOfDelivery(d store.DeadDelivery) deadLetterRow {
	r := deadLetterRow{
		id: deliveryPrefix + strconv.FormatInt(d.Job, 10), kind: "delivery", of: d.Destination, about: d.Rule, position: d.Position,
		attempts: d.Attempts, failedAt: d.FailedAt, session: d.Subject.SessionID, reason: d.Error,
	}
	r.json = map[string]any{"destination": d.Destination, "rule": d.Rule, "delivery_id": d.ID, "agent_id": d.Subject.AgentID}
	return r
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

func writeDeadLettersJSON(io streams, rows []deadLetterRow) error {
	encoder := json.NewEncoder(io.Out)
	for _, r := range rows {
		line := r.json
		line["id"], line["kind"], line["position"], line["session_id"] = r.id, r.kind, r.position, r.session
		line["error"], line["retry_count"], line["failed_at"], line["retry"] = r.reason, max(0, r.attempts-1), r.failedAt, r.retry
		line["reason"], line["attempts"] = r.reason, r.attempts // by their older names
		if err := encoder.Encode(line); err != nil {
			return err
		}
	}
	return nil
}

// deliveryPrefix tells the ids of deliveries from the positions of events.
const deliveryPrefix = "d"

// parseDeadLetterIDs are the positions of events, and the jobs of deliveries.
func parseDeadLetterIDs(ids []string) (positions, jobs []int64, err error) {
	for _, id := range ids {
		digits, isDelivery := strings.CutPrefix(id, deliveryPrefix)
		n, err := strconv.ParseInt(digits, 10, 64)
		if err != nil || n < 1 {
			return nil, nil, fmt.Errorf("%q is no dead letter: name them as `rapport dead-letters list` does, such as 17 or d4", id)
		}
		if isDelivery {
			jobs = append(jobs, n)
		} else {
			positions = append(positions, n)
		}
	}
	return positions, jobs, nil
}

type deadLettersRetryCmd struct {
	databaseFlags
	logFlags
	All bool     `help:"All of them."`
	IDs []string `arg:"" optional:"" name:"id" help:"Which ones, as the list has them: the position of an event, or d and a number."`
}

// Run has dead letters tried again: by the server, if one runs, else by the next.
func (c *deadLettersRetryCmd) Run(ctx context.Context, io streams) error {
	if c.All == (len(c.IDs) > 0) {
		return errors.New("name dead letters, or --all")
	}
	positions, jobs, err := parseDeadLetterIDs(c.IDs)
	if err != nil {
		return err
	}
	return c.withStore(ctx, c.logger(io.Err), func(db *store.DB) error {
		n, missing, err := c.mark(ctx, db, positions, jobs)
		if err != nil {
			return err
		}
		_, _ = fmt.Fprintf(io.Out, "%d to be tried again by the server\n", n)
		return missingDead(missing)
	})
}

// mark tells how many are to be tried again, and which of the named ones are none.
func (c *deadLettersRetryCmd) mark(ctx context.Context, db *store.DB, positions, jobs []int64) (n int64, missing []string, err error) {
	if c.All {
		events, err := db.RetryAllDeadLetters(ctx, cliActor())
		if err != nil {
			return 0, nil, err
		}
		deliveries, err := db.RetryAllDeadDeliveries(ctx, cliActor())
		return events + deliveries, nil, err
	}
	if len(positions) > 0 {
		found, err := db.RetryDeadLetters(ctx, positions, cliActor())
		if err != nil {
			return 0, nil, err
		}
		n, missing = int64(len(found)), absent("", positions, found)
	}
	if len(jobs) > 0 {
		found, err := db.RetryDeadDeliveries(ctx, jobs, cliActor())
		if err != nil {
			return n, missing, err
		}
		n, missing = n+int64(len(found)), append(missing, absent(deliveryPrefix, jobs, found)...)
	}
	return n, missing, nil
}

// absent names those that were not found.
func absent(prefix string, wanted, found []int64) []string {
	var names []string
	for _, n := range wanted {
		if !slices.Contains(found, n) {
			names = append(names, prefix+strconv.FormatInt(n, 10))
		}
	}
	return names
}

func missingDead(ids []string) error {
	if len(ids) == 0 {
		return nil
	}
	return fmt.Errorf("not among the dead letters: %s", strings.Join(ids, ", "))
}

type deadLettersDeleteCmd struct {
	databaseFlags
	logFlags
	All bool     `help:"All dead deliveries."`
	IDs []string `arg:"" optional:"" name:"id" help:"Which ones, as the list has them: d and a number."`
}

// Run deletes dead deliveries.
func (c *deadLettersDeleteCmd) Run(ctx context.Context, io streams) error {
	if c.All == (len(c.IDs) > 0) {
		return errors.New("name dead deliveries, or --all")
	}
	positions, jobs, err := parseDeadLetterIDs(c.IDs)
	if err != nil {
		return err
	}
	if len(positions) > 0 {
		return errors.New("events can't be deleted from the dead letters: have them tried again, or erase their sessions (rapport erase)")
	}
	return c.withStore(ctx, c.logger(io.Err), func(db *store.DB) error {
		var n int64
		var missing []string
		if c.All {
			n, err = db.DeleteAllDeadDeliveries(ctx, cliActor())
		} else {
			var found []int64
			found, err = db.DeleteDeadDeliveries(ctx, jobs, cliActor())
			n, missing = int64(len(found)), absent(deliveryPrefix, jobs, found)
		}
		if err != nil {
			return err
		}
		_, _ = fmt.Fprintf(io.Out, "%d deleted\n", n)
		return missingDead(missing)
	})
}
