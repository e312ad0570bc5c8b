package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"rapport/aggregator/export/stream"
	"rapport/store"
)

type streamCmd struct {
	List    streamListCmd    `cmd:"" help:"List the streams, and how far they have come."`
	Omitted streamOmittedCmd `cmd:"" help:"List the events that went without their content, for they were too large for the destination."`
	Reset   streamResetCmd   `cmd:"" help:"Have a stream go on somewhere else in the log."`
	Remove  streamRemoveCmd  `cmd:"" help:"Forget a stream that no server sends any more."`
}

// Help is what --help says besides the commands.
func (*streamCmd) Help() string {
	return `A stream passes the log on, in its order, at least once. rapport serve --stream NAME=URL makes one:

  crm=https://crm.example/events                     signed CloudEvents, many in a request
  lake=kinesis://avatar-events?region=eu-west-1      a Kinesis data stream

The query of kinesis:// may have region, endpoint and max_record_bytes (where the data stream takes
records of more than 1 MiB); AWS_REGION, AWS_ENDPOINT_URL_KINESIS and credentials are read from the
environment. Behind a # stands what to send: agent=ID and type=EVENT_TYPE, each as often as needed,
and from=beginning or from=POSITION for where a new stream begins, which else is the head of the log:
lake=kinesis://avatar-events#type=chat.push&from=beginning`
}

type streamListCmd struct {
	databaseFlags
	logFlags
	JSON bool `name:"json" help:"One JSON object a line."`
}

// Run lists the streams.
func (c *streamListCmd) Run(ctx context.Context, io streams) error {
	return c.withStore(ctx, c.logger(io.Err), func(db *store.DB) error {
		infos, err := db.Streams(ctx, time.Now())
		if err != nil {
			return err
		}
		if c.JSON {
			return writeStreamsJSON(io, infos)
		}
		table := tabwriter.NewWriter(io.Out, 0, 8, 2, ' ', 0)
		_, _ = fmt.Fprintln(table, "NAME\tDESTINATION\tPOSITION\tBEHIND\tFOR\tSENT\tOMITTED\tMOVED")
		for _, s := range infos {
			_, _ = fmt.Fprintf(table, "%s\t%s\t%d\t%d\t%s\t%d\t%d\t%s\n", s.Name, inCell(s.Destination), s.Position, s.Head-s.Position,
				s.Age.Round(time.Second), s.Sent, s.Omitted, s.MovedAt.Format(time.RFC3339))
		}
		return table.Flush()
	})
}

func writeStreamsJSON(io streams, infos []store.StreamInfo) error {
	encoder := json.NewEncoder(io.Out)
	for _, s := range infos {
		line := map[string]any{
			"name": s.Name, "destination": s.Destination, "position": s.Position, "head": s.Head, "lag_events": s.Head - s.Position,
			"lag_s": s.Age.Seconds(), "sent": s.Sent, "omitted": s.Omitted, "created_at": s.CreatedAt, "moved_at": s.MovedAt,
		}
		if err := encoder.Encode(line); err != nil {
			return err
		}
	}
	return nil
}

type streamOmittedCmd struct {
	databaseFlags
	logFlags
	Name  string `arg:"" help:"The stream."`
	Limit int    `default:"50" help:"How many at most."`
}

// Run lists what went without its content.
func (c *streamOmittedCmd) Run(ctx context.Context, io streams) error {
	if c.Limit < 1 {
		return errors.New("--limit must be at least 1")
	}
	return c.withStore(ctx, c.logger(io.Err), func(db *store.DB) error {
		omissions, err := db.StreamOmissions(ctx, c.Name, c.Limit)
		if err != nil {
			return err
		}
		table := tabwriter.NewWriter(io.Out, 0, 8, 2, ' ', 0)
		_, _ = fmt.Fprintln(table, "POSITION\tBYTES\tOMITTED")
		for _, o := range omissions {
			_, _ = fmt.Fprintf(table, "%d\t%d\t%s\n", o.Position, o.Bytes, o.OmittedAt.Format(time.RFC3339))
		}
		return table.Flush()
	})
}

type streamResetCmd struct {
	databaseFlags
	logFlags
	Name string `arg:"" help:"The stream."`
	To   string `required:"" placeholder:"PLACE" help:"beginning, head, or the position behind which to go on."`
}

// Help is what --help says besides the flags.
func (*streamResetCmd) Help() string {
	return `A server that sends the stream notices. What lies behind the place is sent again, what lies before
it is not: so an event that the destination never takes can be passed over, too.`
}

// Run sets a stream to another position.
func (c *streamResetCmd) Run(ctx context.Context, io streams) error {
	start, err := stream.ParseStart(c.To)
	if err != nil {
		return fmt.Errorf("--to: %w", err)
	}
	return c.withStore(ctx, c.logger(io.Err), func(db *store.DB) error {
		if err := db.StreamSet(ctx, cliActor(), c.Name, start); err != nil {
			return err
		}
		_, _ = fmt.Fprintf(io.Err, "%s goes on at %s\n", c.Name, c.To)
		return nil
	})
}

type streamRemoveCmd struct {
	databaseFlags
	logFlags
	Name string `arg:"" help:"The stream."`
}

// Run forgets a stream.
func (c *streamRemoveCmd) Run(ctx context.Context, io streams) error {
	return c.withStore(ctx, c.logger(io.Err), func(db *store.DB) error {
		if err := db.StreamRemove(ctx, cliActor(), c.Name); err != nil {
			return err
		}
		_, _ = fmt.Fprintf(io.Err, "%s is forgotten\n", c.Name)
		return nil
	})
}
