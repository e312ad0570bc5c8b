package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"rapport/internal/heal"
	"rapport/internal/redact"
	"rapport/store"
)

// recordFlags tell where the sender's own record is.
type recordFlags struct {
	RecordURL    string `name:"record-url" default:"https://api.bithuman.ai" placeholder:"URL" help:"Where the sender's own record is. Default: ${default}."`
	RecordUser   string `placeholder:"USER_ID" help:"Whose sessions to read there."`
	RecordSecret string `secret:"" placeholder:"SECRET" help:"The api-secret that the record asks for."`
}

func (f *recordFlags) record() (*heal.Record, error) {
	return heal.NewRecord(heal.Options{URL: f.RecordURL, User: f.RecordUser, Secret: f.RecordSecret})
}

// healer reads the record with the defaults.
func (f *recordFlags) healer(db *store.DB, mask *redact.Rules, logger *slog.Logger) (*heal.Healer, error) {
	record, err := f.record()
	if err != nil {
		return nil, err
	}
	return &heal.Healer{
		Record: record, DB: db, Redact: mask, Settle: heal.DefaultSettle, Limit: heal.DefaultLimit, Logger: logger, Now: time.Now,
	}, nil
}

type healCmd struct {
	databaseFlags
	logFlags
	recordFlags
	redactFlags
	Settle time.Duration `default:"2m" placeholder:"DURATION" help:"For how long a session must have been still before it is healed. Default: ${default}."`
	Limit  int           `default:"200" placeholder:"NUMBER" help:"How many sessions to ask the record for. Default: ${default}."`
}

// Help is what --help says besides the flags.
func (*healCmd) Help() string {
	return `Reads the transcripts in the sender's own record, beside a running server or without one, and appends
to the log the messages that no webhook has brought. What is there already is recognised, although
the record has whole seconds: healing again changes nothing. A healed message counts in its session
until a delivery of it comes. Sessions that still go on are left for the next time, but for what is
older than an hour. The exit code is 1 if a session could not be healed.`
}

// Run heals once.
func (c *healCmd) Run(ctx context.Context, io streams) error {
	switch {
	case c.Settle < 0:
		return errors.New("--settle must be at least 0")
	case c.Limit < 1:
		return errors.New("--limit must be at least 1")
	}
	logger := c.logger(io.Err)
	mask, err := c.redaction()
	if err != nil {
		return err
	}
	healer, err := c.healer(nil, mask, logger) // so that nothing is started in vain
	if err != nil {
		return err
	}
	healer.Settle, healer.Limit = c.Settle, c.Limit
	return c.withStore(ctx, logger, func(db *store.DB) error {
		if err := db.Audit(ctx, store.AuditEntry{Actor: cliActor(), Action: "log.heal", Subject: c.RecordUser}); err != nil {
			return err
		}
		bar := heal.NewBar(io.Err)
		healer.DB, healer.OnProgress = db, bar.Show
		report, err := healer.Run(ctx)
		bar.Clear()
		if report.Sessions > 0 || err == nil {
			_, _ = fmt.Fprintln(io.Out, &report)
		}
		if err != nil {
			return err
		}
		return report.Err()
	})
}
