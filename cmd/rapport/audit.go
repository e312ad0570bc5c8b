package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"text/tabwriter"
	"time"

	"rapport/store"
)

type auditCmd struct {
	List auditListCmd `cmd:"" help:"List who did what with rights that not everybody has, the newest first."`
}

type auditListCmd struct {
	databaseFlags
	logFlags
	Limit  int    `default:"50" help:"How many at most."`
	Action string `placeholder:"ACTION" help:"Of this action alone, such as key.create."`
	JSON   bool   `name:"json" help:"One JSON object a line."`
}

// Run lists the audit.
func (c *auditListCmd) Run(ctx context.Context, io streams) error {
	if c.Limit < 1 || c.Limit > math.MaxInt32 {
		return errors.New("--limit must be at least 1")
	}
	return c.withStore(ctx, c.logger(io.Err), func(db *store.DB) error {
		entries, err := db.AuditEntries(ctx, c.Action, math.MaxInt64, c.Limit)
		if err != nil {
			return err
		}
		if c.JSON {
			return writeAuditJSON(io, entries)
		}
		table := tabwriter.NewWriter(io.Out, 0, 8, 2, ' ', 0)
		_, _ = fmt.Fprintln(table, "ID\tAT\tACTOR\tACTION\tSUBJECT\tDETAILS")
		for _, e := range entries {
			_, _ = fmt.Fprintf(table, "%d\t%s\t%s\t%s\t%s\t%s\n", e.ID, e.At.Format(time.RFC3339), inCell(e.Actor),
				inCell(e.Action), inCell(e.Subject), detailsCell(e.Details))
		}
		return table.Flush()
	})
}

// detailsCell is what there is to tell, as JSON, which has no line breaks.
func detailsCell(details map[string]any) string {
	if len(details) == 0 {
		return ""
	}
	text, err := json.Marshal(details)
	if err != nil {
		return "" // it was JSON before
	}
	return strings.ReplaceAll(string(text), "\t", " ")
}

func writeAuditJSON(io streams, entries []store.AuditEntry) error {
	encoder := json.NewEncoder(io.Out)
	for _, e := range entries {
		line := map[string]any{
			"id": e.ID, "at": e.At, "actor": e.Actor, "action": e.Action, "subject": e.Subject, "details": e.Details,
		}
		if err := encoder.Encode(line); err != nil {
			return err
		}
	}
	return nil
}
