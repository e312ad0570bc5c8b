package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"text/tabwriter"
	"time"

	"rapport/store"
)

type alertCmd struct {
	List    alertListCmd    `cmd:"" help:"List the alerts on metrics, and how each stands."`
	History alertHistoryCmd `cmd:"" help:"List when alerts began and were over, the newest first."`
}

type alertListCmd struct {
	databaseFlags
	logFlags
	JSON bool `name:"json" help:"One JSON object a line."`
}

// Run lists the alerts.
func (c *alertListCmd) Run(ctx context.Context, io streams) error {
	return c.withStore(ctx, c.logger(io.Err), func(db *store.DB) error {
		alerts, err := db.Alerts(ctx)
		if err != nil {
			return err
		}
		if c.JSON {
			return writeAlertsJSON(io, alerts)
		}
		table := tabwriter.NewWriter(io.Out, 0, 8, 2, ' ', 0)
		_, _ = fmt.Fprintln(table, "RULE\tSTATE\tVALUE\tMETRIC\tABOVE\tBELOW\tWINDOW\tSEVERITY\tSINCE\tLOOKED AT")
		for _, a := range alerts {
			_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%v\t%s\t%s\t%s\n", inCell(a.Rule), a.State, numberCell(a.Value), inCell(a.Metric),
				numberCell(a.Above), numberCell(a.Below), a.Window, a.Severity, timeCell(timeOrNull(a.Since), "-"), timeCell(timeOrNull(a.EvaluatedAt), "-"))
		}
		return table.Flush()
	})
}

func writeAlertsJSON(io streams, alerts []store.Alert) error {
	encoder := json.NewEncoder(io.Out)
	for _, a := range alerts {
		line := map[string]any{
			"rule": a.Rule, "description": a.Description, "severity": a.Severity, "metric": a.Metric, "filter": a.Filter,
			"window_s": int64(a.Window.Seconds()), "above": a.Above, "below": a.Below, "no_data": a.NoData,
			"state": a.State, "value": a.Value, "since": timeOrNull(a.Since), "evaluated_at": timeOrNull(a.EvaluatedAt),
		}
		if err := encoder.Encode(line); err != nil {
			return err
		}
	}
	return nil
}

type alertHistoryCmd struct {
	databaseFlags
	logFlags
	Limit int    `default:"50" help:"How many at most."`
	Rule  string `placeholder:"RULE" help:"Of this alert alone."`
	JSON  bool   `name:"json" help:"One JSON object a line."`
}

// Run lists the history.
func (c *alertHistoryCmd) Run(ctx context.Context, io streams) error {
	if c.Limit < 1 || c.Limit > math.MaxInt32 {
		return errors.New("--limit must be at least 1")
	}
	return c.withStore(ctx, c.logger(io.Err), func(db *store.DB) error {
		changes, err := db.AlertHistory(ctx, store.AlertHistoryQuery{Rule: c.Rule, Limit: c.Limit})
		if err != nil {
			return err
		}
		if c.JSON {
			return writeAlertHistoryJSON(io, changes)
		}
		table := tabwriter.NewWriter(io.Out, 0, 8, 2, ' ', 0)
		_, _ = fmt.Fprintln(table, "ID\tAT\tRULE\tSTATE\tVALUE")
		for _, change := range changes {
			_, _ = fmt.Fprintf(table, "%d\t%s\t%s\t%s\t%s\n", change.ID, timeCell(&change.At, "-"), inCell(change.Rule), change.State, numberCell(change.Value))
		}
		return table.Flush()
	})
}

func writeAlertHistoryJSON(io streams, changes []store.AlertChange) error {
	encoder := json.NewEncoder(io.Out)
	for _, c := range changes {
		line := map[string]any{"id": c.ID, "rule": c.Rule, "state": c.State, "value": c.Value, "at": c.At.UTC()}
		if err := encoder.Encode(line); err != nil {
			return err
		}
	}
	return nil
}

func numberCell(n *float64) string {
	if n == nil {
		return "-"
	}
	return strconv.FormatFloat(*n, 'f', -1, 64)
}

func timeOrNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return new(t.UTC())
}
