package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"rapport/store"
	"rapport/store/embedpg"
)

// examineDatabase looks at the database, and returns it if it is reachable and its
// schema current. What needs it is left out otherwise.
func (c *doctorCmd) examineDatabase(ctx context.Context, f *findings) *store.DB {
	database := c.find(f)
	if database == nil {
		return nil
	}
	db, err := store.Open(ctx, database.ServerURL)
	if err != nil {
		f.problem("database", "mend the URL", "%v", err)
		return nil
	}
	if !examineCondition(ctx, db, f) {
		db.Close()
		return nil
	}
	if c.OwnerDatabaseURL != "" {
		examineOwner(ctx, database.OwnerURL, f)
	}
	if err := db.CheckSchema(ctx); err != nil {
		f.problem("migrations", "until then nothing is read or followed", "%v", err)
		db.Close()
		return nil
	}
	f.ok("migrations", "the schema is the one of this binary")
	examineRights(ctx, db, f)
	examineSandbox(ctx, database, f)
	c.examineLag(ctx, db, f)
	examineSearch(ctx, db, f)
	examineDeadLetters(ctx, db, f)
	examineDeliveries(ctx, db, f)
	examineStreams(ctx, db, f)
	examineArchive(ctx, db, f)
	c.examineQuarantine(ctx, db, f)
	return db
}

// find is the configured database or the private one, as far as it runs.
func (c *doctorCmd) find(f *findings) *database {
	if c.isConfigured() {
		return c.configured()
	}
	urlOf, err := embedpg.Running(c.DataDir)
	if err != nil {
		f.problem("database", "if another database is meant, set RAPPORT_DATABASE_URL; it can't be looked into now", "%v", err)
		return nil
	}
	return privateDatabase(urlOf, nil)
}

// The majors of Postgres that Rapport is tested with.
const (
	oldestMajor = 14
	newestMajor = 18
)

// examineCondition looks at what needs no schema; false if the database is away.
func examineCondition(ctx context.Context, db *store.DB, f *findings) bool {
	before := time.Now()
	now, err := db.Condition(ctx)
	if err != nil {
		f.problem("database", "see that it runs and lets the server's role in; until then deliveries go to the spool, "+
			"and the rest can't be looked into", "it can't be asked: %v", oneLine(err))
		return false
	}
	switch {
	case now.Standby:
		f.problem("database", "point RAPPORT_DATABASE_URL to the primary", "it is a standby, which can't be written")
	case now.Major < oldestMajor || now.Major > newestMajor:
		f.problem("database", fmt.Sprintf("use %d to %d", oldestMajor, newestMajor), "PostgreSQL %s is none that Rapport is tested with", now.Version)
	default:
		f.ok("database", "PostgreSQL %s answers", now.Version)
	}
	examineClock(before, now.At, time.Now(), f)
	var off []string
	for _, name := range []string{"fsync", "full_page_writes", "synchronous_commit"} {
		if value := now.Settings[name]; value == "off" {
			off = append(off, name)
		}
	}
	if len(off) > 0 {
		f.problem("durability", "set to on what is off, else a crash can lose what was answered 200",
			"%s: off in Postgres", strings.Join(off, ", "))
	} else {
		f.ok("durability", "fsync, full_page_writes and synchronous_commit are on")
	}
	return true
}

// What two clocks may differ by. The account signature has a window of 5 minutes.
const (
	clockSuspicious = 2 * time.Second
	clockWrong      = time.Minute
)

// examineClock compares the database's clock with ours, before and after it was asked.
func examineClock(before, theirs, after time.Time, f *findings) {
	var apart time.Duration
	switch {
	case theirs.Before(before):
		apart = before.Sub(theirs)
	case theirs.After(after):
		apart = theirs.Sub(after)
	}
	const advice = "have NTP set the clocks of both machines; signatures and the times of events are judged by them"
	switch apart = apart.Round(time.Millisecond); {
	case apart >= clockWrong:
		f.problem("clock", advice, "the database's clock and ours are %v apart", apart)
	case apart >= clockSuspicious:
		f.warn("clock", advice, "the database's clock and ours are %v apart", apart)
	default:
		f.ok("clock", "the database's clock and ours agree")
	}
}

func examineOwner(ctx context.Context, url string, f *findings) {
	db, err := store.Open(ctx, url)
	if err == nil {
		defer db.Close()
		err = db.Ping(ctx)
	}
	if err != nil {
		f.problem("owner", "mend RAPPORT_OWNER_DATABASE_URL, else the next version can't migrate", "the owner can't connect: %v", oneLine(err))
		return
	}
	f.ok("owner", "the owner can connect")
}

func examineRights(ctx context.Context, db *store.DB, f *findings) {
	r, err := db.Rights(ctx)
	if err != nil {
		f.problem("roles", "run rapport migrate as the owner, which grants them", "%v", oneLine(err))
		return
	}
	before := len(f.list)
	if r.Superuser {
		f.warn("roles", "use rapport_server; see rapport db roles", "the server's role %s is a superuser", r.Role)
	} else if r.ChangesEvents {
		f.warn("roles", "use another role than the owner's; see rapport db roles",
			"the server's role %s may change events: the log is append-only by triggers alone", r.Role)
	}
	if r.PublicCreates {
		f.warn("roles", "REVOKE CREATE ON SCHEMA public FROM PUBLIC", "every role may create what the server could call")
	}
	if len(r.PublicFunctions) > 0 {
		f.problem("roles", "run rapport migrate as the owner, which takes it back", "every role may call %s", strings.Join(r.PublicFunctions, ", "))
	}
	if !r.Reader {
		f.warn("roles", "see rapport db roles, then run rapport migrate", "there is no role rapport_reader that can read analytics")
	}
	if len(r.ReaderSees) > 0 {
		f.problem("roles", "REVOKE it", "rapport_reader sees more than analytics: %s", strings.Join(r.ReaderSees, ", "))
	}
	if len(f.list) == before {
		f.ok("roles", "%s can't change events, rapport_reader sees analytics alone", r.Role)
	}
}

func (c *doctorCmd) examineLag(ctx context.Context, db *store.DB, f *findings) {
	lag, err := db.FollowerLag(ctx, store.SessionsFollower, time.Now())
	switch {
	case err != nil:
		f.problem("lag", "", "%v", oneLine(err))
	case lag.Age >= c.LagAlarm:
		f.problem("lag", "see that a server runs, and its log for what keeps it",
			"the sessions are %v and %d events behind the log", lag.Age.Round(time.Second), lag.Events)
	default:
		f.ok("lag", "the sessions are %d events behind the log, which has %d", lag.Events, lag.Head)
	}
}

// searchAlarm is from which lag on it is worth a word that messages can't be found.
const searchAlarm = time.Hour

func examineSearch(ctx context.Context, db *store.DB, f *findings) {
	lag, err := db.FollowerLag(ctx, store.SearchFollower, time.Now())
	switch {
	case err != nil:
		f.problem("search", "", "%v", oneLine(err))
	case lag.Age >= searchAlarm:
		f.warn("search", "leave it to a running server: it works while nothing else is to be done",
			"the newest %d of %d events can't be found in GET /messages yet", lag.Events, lag.Head)
	default:
		f.ok("search", "it is %d events behind the log", lag.Events)
	}
}

func examineDeadLetters(ctx context.Context, db *store.DB, f *findings) {
	tally, err := db.DeadLetterTally(ctx)
	if err != nil {
		f.problem("dead letters", "", "%v", oneLine(err))
		return
	}
	var n int64
	for _, letters := range tally {
		n += letters
	}
	if n > 0 {
		f.warn("dead letters", "rapport dead-letters list, and after a fix rapport dead-letters retry --all",
			"%d events could not be folded and count nowhere", n)
		return
	}
	f.ok("dead letters", "none")
}

func (c *doctorCmd) examineQuarantine(ctx context.Context, db *store.DB, f *findings) {
	entries, bytes, err := db.QuarantineStats(ctx)
	recent, err2 := db.QuarantinedSince(ctx, time.Now().Add(-24*time.Hour))
	switch {
	case errors.Join(err, err2) != nil:
		f.problem("quarantine", "", "%v", oneLine(errors.Join(err, err2)))
	case bytes >= c.QuarantineMaxBytes/10*9:
		f.warn("quarantine", "rapport quarantine list, replay what is worth it, or raise --quarantine-max-bytes",
			"it is nearly full, and will drop the oldest: %d bodies, %d bytes", entries, bytes)
	case recent > 0:
		f.warn("quarantine", "rapport quarantine list tells the reasons; after a fix, rapport quarantine replay",
			"%d of %d bodies came within the last day", recent, entries)
	default:
		f.ok("quarantine", "%d bodies, none within the last day", entries)
	}
}
