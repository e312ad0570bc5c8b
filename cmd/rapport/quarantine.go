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

	"rapport"
	"rapport/api/webhook"
	"rapport/internal/redact"
	"rapport/store"
)

type quarantine struct {
	List   quarantineListCmd   `cmd:"" help:"List the quarantined deliveries, the newest first."`
	Replay quarantineReplayCmd `cmd:"" help:"Decode quarantined deliveries again, and append to the log what is an event now."`
}

type quarantineListCmd struct {
	databaseFlags
	logFlags
	Limit int  `default:"50" help:"How many at most."`
	JSON  bool `name:"json" help:"One JSON object a line, with the bodies."`
}

// Run lists the quarantine.
func (c *quarantineListCmd) Run(ctx context.Context, io streams) error {
	if c.Limit < 1 {
		return errors.New("--limit must be at least 1")
	}
	return c.withStore(ctx, c.logger(io.Err), func(db *store.DB) error {
		entries, err := db.QuarantineList(ctx, 0, c.Limit)
		if err != nil {
			return err
		}
		if c.JSON {
			return writeQuarantineJSON(io, entries)
		}
		table := tabwriter.NewWriter(io.Out, 0, 8, 2, ' ', 0)
		_, _ = fmt.Fprintln(table, "ID\tSEEN\tLAST SEEN\tBYTES\tREASON")
		for _, e := range entries {
			_, _ = fmt.Fprintf(table, "%d\t%d\t%s\t%d\t%s\n",
				e.ID, e.SeenCount, e.LastSeenAt.Format(time.RFC3339), len(e.Body), e.Reason)
		}
		return table.Flush()
	})
}

func writeQuarantineJSON(io streams, entries []store.Quarantined) error {
	encoder := json.NewEncoder(io.Out)
	for _, e := range entries {
		line := map[string]any{
			"id": e.ID, "reason": e.Reason, "seen_count": e.SeenCount, "first_seen_at": e.FirstSeenAt,
			"last_seen_at": e.LastSeenAt, "headers": e.Headers, "body_base64": e.Body,
		}
		if err := encoder.Encode(line); err != nil {
			return err
		}
	}
	return nil
}

type quarantineReplayCmd struct {
	databaseFlags
	logFlags
	redactFlags
	IDs []int64 `arg:"" optional:"" name:"id" help:"Which entries; all of them if none is named."`
}

// Run replays.
func (c *quarantineReplayCmd) Run(ctx context.Context, io streams) error {
	mask, err := c.redaction()
	if err != nil {
		return err
	}
	return c.withStore(ctx, c.logger(io.Err), func(db *store.DB) error {
		if err := db.Audit(ctx, store.AuditEntry{Actor: cliActor(), Action: "quarantine.replay", Subject: c.subject()}); err != nil {
			return err
		}
		replay := replay{mask: mask}
		err := c.replay(ctx, db, io, &replay)
		_, _ = fmt.Fprintf(io.Out, "%d replayed, %d of them duplicates, %d still in the quarantine\n",
			replay.appended, replay.duplicates, replay.refused)
		return err
	})
}

// subject names the entries for the audit.
func (c *quarantineReplayCmd) subject() string {
	if len(c.IDs) == 0 {
		return "all"
	}
	return strings.Trim(fmt.Sprint(c.IDs), "[]")
}

// replay counts what became of the entries.
type replay struct {
	appended, duplicates, refused int
	mask                          *redact.Rules // what may have come before there were rules
}

func (c *quarantineReplayCmd) replay(ctx context.Context, db *store.DB, io streams, r *replay) error {
	if len(c.IDs) > 0 {
		entries, err := db.QuarantineGet(ctx, c.IDs)
		if err != nil {
			return err
		}
		if err := replayEntries(ctx, db, io, entries, r); err != nil {
			return err
		}
		return missing(c.IDs, entries)
	}
	const page = 100
	for before := int64(0); ; {
		entries, err := db.QuarantineList(ctx, before, page)
		if err != nil {
			return err
		}
		if err := replayEntries(ctx, db, io, entries, r); err != nil {
			return err
		}
		if len(entries) < page {
			return nil
		}
		before = entries[len(entries)-1].ID
	}
}

// missing names the ids that are not among the entries.
func missing(ids []int64, entries []store.Quarantined) error {
	var absent []string
	for _, id := range ids {
		if !slices.ContainsFunc(entries, func(e store.Quarantined) bool { return e.ID == id }) {
			absent = append(absent, strconv.FormatInt(id, 10))
		}
	}
	if len(absent) > 0 {
		return fmt.Errorf("not in the quarantine: %s", strings.Join(absent, ", "))
	}
	return nil
}

// replayEntries appends what decodes now, with the time at which it came. It
// goes from the quarantine only after it is in the log; a crash between the two
// makes a duplicate of the next replay.
func replayEntries(ctx context.Context, db *store.DB, io streams, entries []store.Quarantined, r *replay) error {
	for _, entry := range entries {
		event, err := webhook.Decode(r.mask.Body(entry.Body), entry.FirstSeenAt, time.Now())
		if err == nil {
			event.Headers = entry.Headers
			err = appendReplayed(ctx, db, entry, &event, r)
		}
		var refusal *webhook.Refusal
		if errors.As(err, &refusal) || store.IsDataError(err) {
			r.refused++
			_, _ = fmt.Fprintf(io.Out, "%d: %v\n", entry.ID, err)
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// maxRepeats bounds as how many duplicates one body is told to the log, for memory.
const maxRepeats = 1 << 20

// appendReplayed appends the event as often as its body came, so that the log
// counts the others as duplicates of the first, as if they had decoded at once.
func appendReplayed(ctx context.Context, db *store.DB, entry store.Quarantined, event *rapport.Event, r *replay) error {
	times := max(1, min(entry.SeenCount, maxRepeats))
	appended, err := db.Append(ctx, slices.Repeat([]*rapport.Event{event}, int(times)))
	if err != nil {
		return err
	}
	r.appended++
	if appended[0].Duplicate {
		r.duplicates++
	}
	return db.QuarantineDelete(ctx, []int64{entry.ID})
}
