// Package heal fetches from the sender's own record what its webhooks lost, and
// appends it to the log as healed messages.
//
// Healing twice changes nothing, and neither do several servers that heal at once:
// a healed message is always the same event, the log keeps one of it, and to heal
// more of the record than is missing does not change what counts (see
// rapport.Missing). A delivery that comes later, from a spool, takes the place of
// what was healed for it.
package heal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"rapport"
	"rapport/internal/redact"
	"rapport/store"
)

// Healer compares the record with the log.
type Healer struct {
	Record *Record
	DB     *store.DB
	Redact *redact.Rules // what is masked of a text before it is kept; nil for nothing
	Settle time.Duration // for how long a session must have been still before it is healed
	Limit  int           // of sessions
	Logger *slog.Logger
	Now    func() time.Time

	// OnProgress, if not nil, is told how many of the sessions are done, by the
	// goroutine that runs.
	OnProgress func(done, sessions int)
}

// The defaults of a Healer.
const (
	DefaultSettle = 2 * time.Minute
	DefaultLimit  = 200
)

// longRunning is how old a message must be at least to be healed while its session
// still goes on: a kiosk's session goes on for days.
const longRunning = time.Hour

// maxInARow sessions fail since the record is not available, and the others would
// fail too.
const maxInARow = 5

// Report tells what a run did.
type Report struct {
	Sessions  int // that the record listed
	Passed    int // of them: without a transcript, or with an id that no delivery can have
	Unsettled int // of them: left for the next time, or their newest messages are
	Failed    int // of them: could not be healed

	Messages int // of the transcripts, but for those that are left for the next time
	Present  int // of them: in the log already
	Healed   int // of them: appended
	Skipped  int // of them: without a text or a possible time, or older than what the log keeps

	// Cut says that the record listed as many sessions as it was asked for: older
	// ones may be missing.
	Cut   bool
	first error // of the first session that failed
}

// String is the report in one line.
func (r *Report) String() string {
	text := fmt.Sprintf("%d sessions read, %d passed over, %d left for the next time, %d failed; "+
		"%d messages read, %d already there, %d healed, %d skipped",
		r.Sessions, r.Passed, r.Unsettled, r.Failed, r.Messages, r.Present, r.Healed, r.Skipped)
	if r.Cut {
		text += "; older sessions may be missing, since the record listed as many as it was asked for: see --limit"
	}
	return text
}

// Err is nil unless a session failed.
func (r *Report) Err() error {
	if r.Failed == 0 {
		return nil
	}
	return fmt.Errorf("%d of %d sessions could not be healed, the first because %w", r.Failed, r.Sessions, r.first)
}

func (r *Report) fail(err error) {
	r.Failed++
	if r.first == nil {
		r.first = err
	}
}

// databaseError is an error of the log, and none of the record's.
type databaseError struct{ error }

func (e databaseError) Unwrap() error { return e.error }

// Run heals once. A session that fails stops none of the others: see Report.Err. An
// error of Run's own says that it ended early; the report then tells of what was
// done until then.
func (h *Healer) Run(ctx context.Context) (Report, error) {
	sessions, unreadable, err := h.Record.Sessions(ctx, h.Limit)
	if err != nil {
		return Report{}, err
	}
	listed := len(sessions) + unreadable
	r := Report{Sessions: listed, Cut: listed >= h.Limit}
	for range unreadable {
		r.fail(errors.New("the record lists it without an id"))
	}
	seen := make(map[string]bool, len(sessions))
	inARow := 0
	for i, s := range sessions {
		h.progress(i, len(sessions))
		if seen[s.ID] {
			r.Passed++
			continue
		}
		seen[s.ID] = true
		err := h.healSession(ctx, s, &r)
		if ctx.Err() != nil {
			return r, ctx.Err()
		}
		if err == nil {
			inARow = 0
			continue
		}
		r.fail(fmt.Errorf("session %q: %w", s.ID, err))
		h.Logger.Warn("a session could not be healed", "session_id", s.ID, "error", err)
		if inARow++; h.isHopeless(err, inARow) {
			return r, err
		}
	}
	h.progress(len(sessions), len(sessions))
	return r, nil
}

// isHopeless reports whether the next session would fail for the same reason.
func (h *Healer) isHopeless(err error, inARow int) bool {
	if _, ok := errors.AsType[databaseError](err); ok {
		return store.IsUnavailable(err)
	}
	return errors.Is(err, errUnavailable) && inARow >= maxInARow
}

func (h *Healer) progress(done, sessions int) {
	if h.OnProgress != nil {
		h.OnProgress(done, sessions)
	}
}

// healSession heals what is missing of one session.
func (h *Healer) healSession(ctx context.Context, s Session, r *Report) error {
	if !s.HasTranscript || !fits(s.ID) || !fits(s.AgentCode) {
		r.Passed++
		return nil
	}
	now := h.Now().UTC().Truncate(time.Microsecond)
	settled := now
	if !h.isSettled(s, now) {
		r.Unsettled++
		settled = now.Add(-max(longRunning, h.Settle))
		if s.Started.IsZero() || s.Started.After(settled) {
			return nil
		}
	}
	messages, err := h.Record.Transcript(ctx, s.ID)
	if err != nil {
		return err
	}
	if settled != now {
		messages = slices.DeleteFunc(messages, func(m Message) bool {
			at, ok := readTime(m.Timestamp)
			return ok && at.After(settled)
		})
	}
	agentID, err := h.agentOf(ctx, s)
	if err != nil {
		return err
	}
	horizon, err := h.DB.Horizon(ctx)
	if err != nil {
		return databaseError{err}
	}
	oldest := horizon.Frozen().Add(rapport.HealedWithin) // an older message may be one of those that have gone
	latest := now
	if newest := h.DB.NewestReceipt(); newest.After(latest) {
		latest = newest
	}
	if messages, err = h.withoutErased(ctx, store.Conversation{AgentID: agentID, SessionID: rapport.CleanText(s.ID)}, messages); err != nil {
		return err
	}
	o := origin{
		session: s, mask: h.Redact, agentID: agentID, healedFrom: h.Record.TranscriptURL(s.ID), receivedAt: now,
		earliest: oldest, latest: latest.Add(maxAhead),
	}
	events, skipped := o.events(messages)
	r.Messages += len(messages)
	r.Skipped += skipped
	return h.healEvents(ctx, events, r)
}

// withoutErased passes over what was erased: it is no loss. The record has whole
// seconds, cut or rounded.
func (h *Healer) withoutErased(ctx context.Context, of store.Conversation, messages []Message) ([]Message, error) {
	until, erased, err := h.DB.ErasedUntil(ctx, of)
	if err != nil {
		return nil, databaseError{err}
	}
	if !erased {
		return messages, nil
	}
	return slices.DeleteFunc(messages, func(m Message) bool {
		at, ok := readTime(m.Timestamp)
		return ok && !at.After(until.Add(rapport.HealedWithin))
	}), nil
}

func fits(id string) bool { return len(rapport.CleanText(id)) <= rapport.MaxIDBytes }

// isSettled reports whether all webhooks of a session must have come.
func (h *Healer) isSettled(s Session, now time.Time) bool {
	return !strings.EqualFold(s.Status, "active") && now.Sub(s.LastSeen) >= h.Settle
}

// agentOf is the agent_id that the session has in the log: deliveries may carry
// another name of the agent than the record does.
func (h *Healer) agentOf(ctx context.Context, s Session) (string, error) {
	sessionID, agentCode := rapport.CleanText(s.ID), rapport.CleanText(s.AgentCode)
	agentID, ok, err := h.DB.AgentOfSession(ctx, sessionID, agentCode)
	switch {
	case err != nil:
		return "", databaseError{err}
	case !ok && agentCode == "":
		return "", errors.New("the record names no agent, and the log has the session of several")
	default:
		return agentID, nil
	}
}

// chunkSize is how many messages of a transcript are compared and appended at once,
// if they can be told from the others.
const chunkSize = 500

// healEvents appends what is missing of one conversation's messages.
func (h *Healer) healEvents(ctx context.Context, events []*rapport.Event, r *Report) error {
	slices.SortFunc(events, rapport.Compare)
	for len(events) > 0 {
		n := chunk(events)
		healed, err := h.healChunk(ctx, events[:n])
		r.Healed += healed
		if err != nil {
			return databaseError{err}
		}
		r.Present += n - healed
		events = events[n:]
	}
	return nil
}

// chunk is how many of the messages can be healed without the others: no delivered
// message can lie near one of them and near one of the others.
func chunk(events []*rapport.Event) int {
	for n := min(chunkSize, len(events)); n < len(events); n++ {
		if events[n].OccurredAt.Sub(events[n-1].OccurredAt) > 2*rapport.HealedWithin {
			return n
		}
	}
	return len(events)
}

func (h *Healer) healChunk(ctx context.Context, events []*rapport.Event) (healed int, err error) {
	first, last := events[0], events[len(events)-1]
	compared := compareBy(h.Redact, events)
	log, err := h.DB.MessagesWithin(ctx, store.Conversation{AgentID: first.AgentID, SessionID: first.SessionID}, store.Span{
		StartedAt:   first.OccurredAt.Add(-rapport.HealedWithin),
		LastEventAt: last.OccurredAt.Add(rapport.HealedWithin),
	}, compared.maxChars)
	if err != nil {
		return 0, err
	}
	missing := compared.missing(events, log)
	for batch := range slices.Chunk(missing, chunkSize) {
		appended, err := h.DB.Append(ctx, batch)
		if err != nil {
			return healed, err
		}
		for _, a := range appended {
			if !a.Duplicate && !a.Erased { // another server's, or gone since we looked
				healed++
			}
		}
	}
	return healed, nil
}
