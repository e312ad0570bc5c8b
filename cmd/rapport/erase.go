package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/alecthomas/kong"

	"rapport"
	"rapport/aggregator"
	"rapport/store"
)

type eraseCmd struct {
	databaseFlags
	logFlags
	Session  string `explicit:"" placeholder:"ID" help:"Erase what was said in the sessions of this session_id."`
	Agent    string `explicit:"" placeholder:"ID" help:"With --session: of this agent alone. By itself: all that the agent has said and heard."`
	User     string `explicit:"" placeholder:"ID" help:"Erase every conversation that this user had a part in, whole."`
	Reason   string `explicit:"" placeholder:"TEXT" help:"Why, for the record. It is kept: name nobody."`
	DryRun   bool   `explicit:"" help:"Only tell how much it would be."`
	Yes      bool   `explicit:"" help:"Don't ask."`
	Physical bool   `explicit:"" help:"Also rewrite the files of the database, from which a deleted text goes only by and by."`
}

// isExplicit reports whether a flag is only ever given on the command line: nobody is
// to be erased for a variable that was set for something else.
func isExplicit(flag *kong.Flag) bool { return flag.Tag != nil && flag.Tag.Has("explicit") }

// Help is what --help says besides the flags.
func (*eraseCmd) Help() string {
	return `Texts, bodies, names and headers go for good: from the log, the sessions, the dead letters, and the bodies in the
quarantine that mention the id. Of each event a stub stays, which keeps its place, its time, its type and its
role; of each session its numbers, frozen, with erased_at. Whatever brings the same back (a retry, a spool,
healing, a replay, a restored server) is answered 200 and let go. What is said later begins a new session. An
event rapport.erased in the log tells followers, and erasures and audit who asked, when, and for how much.

It may be interrupted and repeated, beside a running server or without one; when all is done it finds nothing.
A user's conversations are those that the log has: what a spool of this data directory holds is drained before,
but that of a server elsewhere that is down comes later. So do backups, replicas, WAL archives and logs that were
shipped elsewhere: those are yours.

--physical needs the role that owns the schema. While a table is rewritten, deliveries of its month go to the
spool. Of a Postgres that is not Rapport's own, it does what SQL can do, and says what is left to you.`
}

// Run erases.
func (c *eraseCmd) Run(ctx context.Context, io streams) error {
	request, err := c.request()
	if err != nil {
		return err
	}
	logger := c.logger(io.Err)
	return c.withDatabase(ctx, logger, func(database *database, db *store.DB) error {
		if !c.DryRun {
			if err := c.drainFirst(ctx, db, logger); err != nil {
				return err
			}
		}
		plan, err := db.PlanErasure(ctx, request)
		if err != nil {
			return err
		}
		if !plan.Known {
			return fmt.Errorf("nothing is known of this %s", request.Kind)
		}
		tellPlan(io.Out, plan)
		if c.DryRun {
			return nil
		}
		if !plan.IsEmpty() && !c.Yes && !confirmed(io) {
			return errors.New("nothing was erased")
		}
		if err := c.erase(ctx, database, db, plan, io, logger); err != nil {
			return err
		}
		if !c.Physical {
			return nil
		}
		return c.scrub(ctx, database, db, io, logger)
	})
}

// request is what the flags ask for.
func (c *eraseCmd) request() (store.ErasureRequest, error) {
	r := store.ErasureRequest{
		SessionID: rapport.CleanText(c.Session), AgentID: rapport.CleanText(c.Agent), UserID: rapport.CleanText(c.User),
		Reason: c.Reason, By: cliActor(), Patience: foldPatience,
	}
	switch {
	case c.User != "" && c.Session == "" && c.Agent == "":
		r.Kind = store.EraseUser
	case c.Session != "" && c.User == "":
		r.Kind = store.EraseSession
	case c.Agent != "" && c.User == "":
		r.Kind = store.EraseAgent
	default:
		return r, errors.New("name what is to be erased: --session (with or without --agent), --user, or --agent")
	}
	return r, nil
}

// foldPatience is for how long the sessions may take to be folded: this process
// folds them itself where nobody else does.
const foldPatience = 5 * time.Minute

func tellPlan(w io.Writer, plan *store.ErasurePlan) {
	if plan.IsEmpty() {
		_, _ = fmt.Fprintln(w, "nothing is left to erase")
		return
	}
	_, _ = fmt.Fprintf(w, "%d conversations, %d events, %d of them messages; %d bodies in the quarantine\n",
		plan.Conversations, plan.Events, plan.Messages, plan.Quarantined)
}

// confirmed asks whoever is there.
func confirmed(io streams) bool {
	_, _ = fmt.Fprint(io.Out, "This can't be undone. Type yes to erase them: ")
	line, _ := bufio.NewReader(io.In).ReadString('\n')
	return strings.TrimSpace(line) == "yes"
}

func (c *eraseCmd) erase(ctx context.Context, database *database, db *store.DB, plan *store.ErasurePlan, io streams, logger *slog.Logger) error {
	var done store.Erasure
	err := whileFollowing(ctx, database, db, logger, func(ctx context.Context) (err error) {
		done, err = db.Erase(ctx, plan, nil)
		return err
	})
	if err != nil {
		return fmt.Errorf("%w; %d events of %d were erased: run it again", err, done.Events, plan.Events)
	}
	switch {
	case done.ID == 0 && done.Deliveries > 0:
		_, _ = fmt.Fprintf(io.Out, "%d deliveries were deleted\n", done.Deliveries)
	case done.ID != 0:
		_, _ = fmt.Fprintf(io.Out, "erasure %d: %d events of %d conversations, %d sessions, %d dead letters, %d deliveries, %d bodies in the quarantine\n",
			done.ID, done.Events, done.Conversations, done.Sessions, done.DeadLetters, done.Deliveries, done.Quarantined)
	}
	return nil
}

// whileFollowing folds events into sessions meanwhile, in case no server does.
func whileFollowing(ctx context.Context, database *database, db *store.DB, logger *slog.Logger, do func(context.Context) error) error {
	settings, err := db.Settings(ctx)
	if err != nil {
		return err
	}
	sessions, err := aggregator.NewSessions(settings)
	if err != nil {
		return err
	}
	following, stop := context.WithCancel(ctx)
	watch := store.NewWatch(database.ServerURL)
	var running sync.WaitGroup
	running.Go(func() { _ = watch.Run(following) })
	running.Go(func() { _ = aggregator.NewFollower(db, watch, sessions, logger).Run(following) })
	err = do(ctx)
	stop()
	running.Wait()
	return err
}
