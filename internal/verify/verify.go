package verify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"rapport"
	"rapport/store"
)

// Decode reads the payload of an event of the log again. receivedAt is its own
// time of receipt; healedFrom is not empty for a healed message.
type Decode func(payload []byte, healedFrom string, receivedAt time.Time) (rapport.Event, error)

// Options of Run.
type Options struct {
	DB     *store.DB
	Decode Decode // called by several goroutines at once

	// Spools are those of this machine, as they were before Run was called: what is
	// drained meanwhile is in the log then.
	Spools []Spool

	MaxDifferences int // that are described; all are counted

	// Progress is told now and then how many events of how many are done. It may be nil.
	Progress func(done, total int64)
}

// Run verifies. What it finds is in the report; an error is that it could not look.
func Run(ctx context.Context, o Options) (*Report, error) {
	began := time.Now()
	v := &verifier{
		Options: o, report: &Report{limit: o.MaxDifferences, Differences: []Difference{}},
		superseded: make(map[store.HealedMessage]bool),
	}
	defer v.close()
	if err := v.open(ctx); err != nil {
		return nil, interrupted(ctx, err)
	}
	if err := v.run(ctx); err != nil {
		return nil, interrupted(ctx, err)
	}
	v.report.Seconds = time.Since(began).Seconds()
	return v.report, nil
}

// ErrInterrupted says that the context ended first.
var ErrInterrupted = errors.New("interrupted, so nothing is known; nothing was changed")

// interrupted hides what a cancelled query says.
func interrupted(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ErrInterrupted
	}
	return err
}

// verifier is one run.
type verifier struct {
	Options
	report *Report

	positions  *store.Stream[int64] // all of one moment
	events     *store.Stream[*store.LogRow]
	sessions   *store.Stream[*store.StoredSession]
	texts      *store.Stream[*store.SessionText]
	byStart    *store.Stream[*store.StoredSession]
	totals     *store.Stream[*store.StoredTotals]
	counts     *store.Counts
	searchable *store.Stream[store.SearchRow]
	recorded   *store.Recorded
	head       store.LogHead        // zero if its row is missing
	follower   store.FollowerRecord // zero if its row is missing
	putAside   map[int64]store.DeadLetterRecord
	superseded map[store.HealedMessage]bool // as the log says
	uncounted  map[int64]bool               // positions that superseded has
	tombs      time.Time                    // up to when anything was erased
	lastStub   time.Time                    // occurred_at of the last stub
	newest     time.Time                    // received_at of the log
}

// open looks at everything at one moment.
func (v *verifier) open(ctx context.Context) error {
	snapshot, err := v.DB.Snapshot(ctx)
	if err != nil {
		return err
	}
	defer snapshot.Close()
	if v.positions, err = snapshot.Positions(ctx); err != nil {
		return err
	}
	if v.events, err = snapshot.Events(ctx); err != nil {
		return err
	}
	if v.sessions, err = snapshot.Sessions(ctx); err != nil {
		return err
	}
	if v.texts, err = snapshot.Texts(ctx); err != nil {
		return err
	}
	if v.byStart, err = snapshot.SessionsByStart(ctx); err != nil {
		return err
	}
	if v.totals, err = snapshot.AllTotals(ctx); err != nil {
		return err
	}
	if v.counts, err = snapshot.Counts(ctx); err != nil {
		return err
	}
	if v.searchable, err = snapshot.SearchRows(ctx); err != nil {
		return err
	}
	if v.recorded, err = snapshot.Recorded(ctx); err != nil {
		return err
	}
	v.tombs = v.recorded.LatestTombstone()
	v.uncounted = make(map[int64]bool, len(v.recorded.Superseded))
	for _, m := range v.recorded.Superseded {
		v.uncounted[m.Position] = true
	}
	return nil
}

func (v *verifier) close() {
	v.positions.Close()
	v.events.Close()
	v.sessions.Close()
	v.texts.Close()
	v.searchable.Close()
	v.byStart.Close()
	v.totals.Close()
	v.counts.Close()
}

func (v *verifier) run(ctx context.Context) error {
	v.checkHead()
	v.checkRetention()
	v.checkFollower()
	v.checkDeadLetters()
	v.checkQuarantine()
	v.checkSpools()
	if err := v.checkPositions(); err != nil {
		return fmt.Errorf("reading the positions of the log: %w", err)
	}
	if err := v.walk(ctx); err != nil {
		return fmt.Errorf("walking the log: %w", err)
	}
	if err := v.checkSearch(); err != nil {
		return fmt.Errorf("reading what can be found: %w", err)
	}
	v.checkSuperseded()
	v.checkSums()
	if err := v.checkTotals(); err != nil {
		return fmt.Errorf("summing the sessions up: %w", err)
	}
	if err := v.checkCounts(ctx); err != nil {
		return err
	}
	v.count()
	return nil
}

func (v *verifier) checkHead() {
	if v.recorded.Head == nil {
		v.report.add("head", "log_head has no row")
		return
	}
	v.head = *v.recorded.Head
	if v.head.Duplicates < 0 {
		v.report.add("head", "log_head.duplicates is %d", v.head.Duplicates)
	}
	if v.head.Erased < 0 {
		v.report.add("head", "log_head.erased is %d", v.head.Erased)
	}
	if v.tombs.After(v.head.ErasedUntil) {
		v.report.add("head", "log_head.erased_until is %s, but there is a tombstone up to %s", show(v.head.ErasedUntil), show(v.tombs))
	}
}

func (v *verifier) checkRetention() {
	retained := &v.recorded.Retained
	switch {
	case retained.Missing:
		v.report.add("head", "retention has no row")
	case v.recorded.Head != nil && !v.head.Frozen.Equal(retained.Horizon.Frozen()):
		v.report.add("head", "log_head.frozen_before is %s, the horizon %s", show(v.head.Frozen), show(retained.Horizon.Frozen()))
	}
	if v.head.Expired < 0 {
		v.report.add("head", "log_head.expired is %d", v.head.Expired)
	}
}

func (v *verifier) checkFollower() {
	if v.recorded.Follower == nil {
		v.report.add("follower", "followers has no row %s", name(store.SessionsFollower))
		return
	}
	v.follower = *v.recorded.Follower
	if v.follower.Position < 0 || v.follower.Position > v.head.Position {
		v.report.add("follower", "follower %s is at position %d, the log's head at %d",
			name(store.SessionsFollower), v.follower.Position, v.head.Position)
	}
	if to := v.follower.ToCount; !to.IsZero() {
		v.report.add("follower", "sessions and events from %s on have no totals yet: the server makes them when it starts", to.Format(time.DateOnly))
	}
	if v.follower.Position > 0 && v.follower.MadeWith != v.recorded.SettingsAs {
		v.report.add("follower", "the sessions were made with the settings %s, the database has %s",
			plain(v.follower.MadeWith), plain(v.recorded.SettingsAs))
	}
}

func (v *verifier) checkDeadLetters() {
	v.putAside = make(map[int64]store.DeadLetterRecord)
	for _, d := range v.recorded.Dead {
		if d.Follower == store.SessionsFollower {
			v.putAside[d.Position] = d
		}
		if d.Lost {
			v.report.add("dead_letter", "dead letter %d of %s is no event of the log", d.Position, name(d.Follower))
		}
	}
}

// checkSuperseded compares which healed messages count nowhere.
func (v *verifier) checkSuperseded() {
	for _, m := range v.recorded.Superseded {
		if !v.superseded[m] {
			v.report.add("superseded", "superseded has position %d of %s, which is no healed message that was delivered after all",
				m.Position, conversationName(m.Conversation))
		}
		delete(v.superseded, m)
	}
	left := slices.SortedFunc(maps.Keys(v.superseded), func(a, b store.HealedMessage) int { return cmp.Compare(a.Position, b.Position) })
	for _, m := range left {
		v.report.add("superseded", "superseded lacks position %d of %s, a healed message that was delivered after all",
			m.Position, conversationName(m.Conversation))
	}
}

func conversationName(c store.Conversation) string { return name(c.AgentID) + "/" + name(c.SessionID) }

// nothingErased is what log_head.erased_until is at first.
var nothingErased = time.Date(2015, time.January, 1, 0, 0, 0, 0, time.UTC)

// addDropped adds what has gone for its age to what is there.
func (v *verifier) addDropped() {
	c := &v.report.Counts
	for _, m := range v.recorded.Retained.Months {
		c.Dropped += m.Events
		c.NoSession += m.NoSession
		c.Superseded += m.Superseded
		c.Healed += m.Healed
		c.Announced += m.Announced
		if m.Newest.After(v.newest) {
			v.newest = m.Newest
		}
	}
}

// checkSums is what only the whole walk tells.
func (v *verifier) checkSums() {
	c := &v.report.Counts
	v.addDropped()
	if v.recorded.Head != nil && c.InLog+c.Dropped > 0 && !v.head.ReceivedAt.Equal(v.newest) {
		v.report.add("head", "log_head.received_at is %s, the newest receipt of the log %s", show(v.head.ReceivedAt), show(v.newest))
	}
	if v.lastStub.After(v.head.ErasedUntil) {
		v.report.add("head", "log_head.erased_until is %s, but there is a stub of %s", show(v.head.ErasedUntil), show(v.lastStub))
	}
	never := v.lastStub.IsZero() && len(v.recorded.Erasures) == 0 && v.recorded.Retained.Horizon.Frozen().Equal(nothingErased)
	if v.recorded.Head != nil && never && !v.head.ErasedUntil.Equal(nothingErased) {
		v.report.add("head", "log_head.erased_until is %s, but nothing was erased", show(v.head.ErasedUntil))
	}
	c.InSessions = v.recorded.InSessions + v.recorded.Retained.Counts
	if should := c.InLog + c.Dropped - c.NoSession - c.NotFolded - c.PutAside - c.Superseded; c.InSessions != should {
		v.report.add("sum", "the sessions count %d events, the log has %d for them", c.InSessions, should)
	}
	if v.report.Events != c.InLog {
		v.report.add("sum", "the log has %d events by their positions, %d by their keys", c.InLog, v.report.Events)
	}
	if v.report.Sessions != v.recorded.Sessions {
		v.report.add("sum", "sessions has %d rows, %d of them by its index", v.recorded.Sessions, v.report.Sessions)
	}
}
