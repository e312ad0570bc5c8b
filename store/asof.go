package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"rapport"
	"rapport/store/internal/dbsqlc"
)

// AsOf is a moment of the log: the events up to a position, or, where that is 0, those
// that had been received by a time. What a spool keeps counts as received, once it is
// in the log; a healed message was received when it was healed.
type AsOf struct {
	Position   int64
	ReceivedAt time.Time
}

// ErrNotYet says that the moment has not come: the log is shorter, or its time is
// ahead of the newest receipt and of the clock given.
var ErrNotYet = errors.New("the log has not come so far")

// ErrGone says that what the answer must be folded from has gone: it was erased, or is
// below the horizon, and more of it came after the moment.
var ErrGone = errors.New("the log behind these sessions has gone since: it was erased, or was too old to be kept")

// ErrRewritten says that something was erased, or went for its age, while the log was
// read: what was read is of no use.
var ErrRewritten = errors.New("something was erased meanwhile")

// ErrCrowded says that too much text lies too near healed messages to be paired.
var ErrCrowded = errors.New("too much was said within seconds of healed messages to tell which of it counts")

// Past is the log of one session_id as it was at a moment.
type Past struct {
	At       time.Time // by the receiving server's clock
	db       *DB
	of       TranscriptQuery
	log      dbsqlc.AsOfMomentGetRow // when it was opened
	upTo     int64
	until    time.Time
	settings rapport.Settings
	frozen   []dbsqlc.AsOfFrozenListRow // sessions as they were then and still are
}

// Past opens the log of a query's session_id, of its agents, at a moment. now is the
// clock that tells a time ahead. Errors are ErrNotYet and ErrGone.
func (db *DB) Past(ctx context.Context, of TranscriptQuery, as AsOf, now time.Time) (*Past, error) {
	p := &Past{db: db, of: of}
	var err error
	if p.log, err = db.q.AsOfMomentGet(ctx, as.Position); err != nil {
		return nil, fmt.Errorf("reading the log's head: %w", err)
	}
	p.At, p.upTo, p.until = p.log.At, as.Position, afterAll
	if as.Position == 0 {
		p.At, p.upTo, p.until = as.ReceivedAt, p.log.Position, as.ReceivedAt
	}
	if p.upTo > p.log.Position || as.Position == 0 && as.ReceivedAt.After(later(now, p.log.ReceivedAt)) {
		return nil, fmt.Errorf("%w: it is at position %d", ErrNotYet, p.log.Position)
	}
	if p.settings, err = db.rollupSettings(ctx); err != nil {
		return nil, err
	}
	return p, p.readFrozen(ctx)
}

// rollupSettings are those that the rollups are made with, or would be.
func (db *DB) rollupSettings(ctx context.Context) (rapport.Settings, error) {
	text, err := db.q.FollowerMadeWith(ctx, SessionsFollower)
	if err != nil {
		return rapport.Settings{}, fmt.Errorf("reading the settings of the sessions: %w", err)
	}
	if text == "" {
		return db.Settings(ctx)
	}
	return db.MadeWith(ctx, SessionsFollower)
}

// readFrozen finds the sessions that can't be folded any more. One of which all had
// come by then was the same then; of one that came later nothing was known.
func (p *Past) readFrozen(ctx context.Context) error {
	rows, err := p.db.q.AsOfFrozenList(ctx, dbsqlc.AsOfFrozenListParams{
		SessionID: p.of.SessionID, AgentID: p.of.AgentID, Agents: orNone(p.of.Agents),
	})
	if err != nil {
		return fmt.Errorf("reading frozen sessions: %w", err)
	}
	for _, row := range rows {
		known, whole := row.Session.FirstPosition <= p.upTo, row.Session.LastPosition <= p.upTo
		if p.until != afterAll {
			// No event comes more than a day before its time.
			known, whole = !p.until.Before(row.Session.StartedAt.Add(-24*time.Hour)), !row.NewestReceivedAt.After(p.until)
		}
		if known && !whole {
			return ErrGone
		}
		if known {
			p.frozen = append(p.frozen, row)
		}
	}
	return nil
}

// The texts that are read of events.
const (
	allTexts     = "all"
	pairingTexts = "pairing" // those that healed messages can pair with
	noTexts      = "no"
)

// allTime is the span of every conversation.
var allTime = Span{beforeAll, afterAll}

// workOf is what it costs to fold an event, in events with hardly any text.
func workOf(text string) int { return 1 + len(text)/32 }

// maxHeldBytes bounds the texts of which it is not certain yet whether they count.
const maxHeldBytes = 64 << 20

// replay folds what of a span of time was in the log, each agent's for itself, and
// tells how much work that was.
func (p *Past) replay(ctx context.Context, texts string, span Span) (map[string]*rapport.Replay, int, error) {
	fold, replays, work := rapport.NewFold(p.settings), make(map[string]*rapport.Replay), 0
	page := dbsqlc.AsOfEventListParams{
		Texts: texts, SessionID: p.of.SessionID, AgentID: p.of.AgentID, Agents: orNone(p.of.Agents), UpTo: p.upTo,
		ReceivedUntil: p.until, AfterOccurredAt: beforeAll, AfterFingerprint: []byte{}, Since: span.StartedAt, Until: span.LastEventAt,
		MaxEvents: pageEvents, MaxBytes: maxStepBytes,
	}
	for {
		rows, err := p.db.q.AsOfEventList(ctx, page)
		if err != nil {
			return nil, 0, fmt.Errorf("reading the log: %w", err)
		}
		if len(rows) == 0 {
			return replays, work, nil
		}
		for _, row := range rows {
			replay := replays[row.AgentID]
			if replay == nil {
				replay = fold.Replay()
				replays[row.AgentID] = replay
			}
			e := pastEvent(dbsqlc.HistoryEventListRow(row))
			if texts == noTexts {
				e.Role = "" // for beginnings and ends it does not matter, and no sentiment is computed
			}
			replay.Add(e)
			work += workOf(row.Message)
			if replay.HeldBytes() > maxHeldBytes {
				return nil, 0, ErrCrowded
			}
		}
		last := rows[len(rows)-1]
		page.AfterOccurredAt, page.AfterFingerprint, page.Since = last.OccurredAt, last.Fingerprint, last.OccurredAt
	}
}

// pastEvent has of an event what a fold looks at.
func pastEvent(row dbsqlc.HistoryEventListRow) *rapport.Event {
	return &rapport.Event{
		Position: row.Position, Fingerprint: rapport.Fingerprint(row.Fingerprint), OccurredAt: row.OccurredAt,
		ReceivedAt: row.ReceivedAt, Type: row.EventType, AgentID: row.AgentID, SessionID: row.SessionID, UserID: row.UserID,
		Role: row.Role, Text: row.Message, Participants: row.Participants, RoomName: row.RoomName, EndReason: row.EndReason,
		Rating: row.Rating, HealedFrom: row.HealedFrom,
	}
}

// Sessions are what the sessions of the session_id were, in the order of time, and what
// Transcript is. They are ErrRewritten if that could not be read undisturbed.
func (p *Past) Sessions(ctx context.Context) ([]SessionRow, *PastTranscript, error) {
	replays, _, err := p.replay(ctx, allTexts, allTime)
	if err != nil {
		return nil, nil, err
	}
	var rows []SessionRow
	for _, row := range p.frozen {
		rows = append(rows, sessionRows([]dbsqlc.Session{row.Session})...)
	}
	for _, replay := range replays {
		for _, w := range replay.Windows() {
			rows = append(rows, SessionRow{Session: w.Session, ClosesAt: w.ClosesAt(p.settings.IdleTimeout)})
		}
	}
	slices.SortFunc(rows, func(a, b SessionRow) int {
		return cmp.Or(a.StartedAt.Compare(b.StartedAt), cmp.Compare(a.AgentID, b.AgentID))
	})
	return rows, p.transcriptOf(replays), p.Undisturbed(ctx)
}

// Undisturbed looks whether anything has gone since the log was opened: it is ErrRewritten
// then.
func (p *Past) Undisturbed(ctx context.Context) error {
	now, err := p.db.q.AsOfMomentGet(ctx, p.upTo)
	if err != nil {
		return fmt.Errorf("reading the log's head: %w", err)
	}
	if now.Generation != p.log.Generation || !now.FrozenBefore.Equal(p.log.FrozenBefore) {
		return ErrRewritten
	}
	return nil
}

// PastTranscript is what was said and done in the sessions of a Past.
type PastTranscript struct {
	*Past
	spans      map[string][]Span // by agent, in order
	superseded []int64
}

// Log is the transcript without the sessions: for events alone.
func (p *Past) Log() *PastTranscript { return &PastTranscript{Past: p} }

// Transcript finds out where the sessions began and ended, and which healed messages
// counted.
func (p *Past) Transcript(ctx context.Context) (*PastTranscript, error) {
	healed, err := p.db.q.AsOfHealedExists(ctx, dbsqlc.AsOfHealedExistsParams{
		SessionID: p.of.SessionID, UpTo: p.upTo, ReceivedUntil: p.until,
	})
	if err != nil {
		return nil, fmt.Errorf("looking for healed messages: %w", err)
	}
	texts := noTexts
	if healed {
		texts = pairingTexts
	}
	replays, _, err := p.replay(ctx, texts, allTime)
	if err != nil {
		return nil, err
	}
	return p.transcriptOf(replays), p.Undisturbed(ctx)
}

func (p *Past) transcriptOf(replays map[string]*rapport.Replay) *PastTranscript {
	t := &PastTranscript{Past: p, spans: make(map[string][]Span), superseded: []int64{}}
	for _, row := range p.frozen {
		s := row.Session
		t.spans[s.AgentID] = append(t.spans[s.AgentID], Span{s.StartedAt, s.LastEventAt})
	}
	for agent, replay := range replays {
		for _, w := range replay.Windows() {
			t.spans[agent] = append(t.spans[agent], Span{w.StartedAt, w.LastEventAt})
		}
		t.superseded = append(t.superseded, replay.Superseded()...)
	}
	for _, spans := range t.spans {
		slices.SortFunc(spans, func(a, b Span) int { return a.StartedAt.Compare(b.StartedAt) })
	}
	return t
}

// Agents are those that had a session that started at a time, each with its span.
func (t *PastTranscript) Agents(startedAt time.Time) map[string]Span {
	started := make(map[string]Span)
	for agent, spans := range t.spans {
		for _, s := range spans {
			if s.StartedAt.Equal(startedAt) {
				started[agent] = s
			}
		}
	}
	return started
}

// startedAt is that of the session that a message was in; nil if it was in none.
func (t *PastTranscript) startedAt(agent string, occurredAt time.Time) *time.Time {
	spans := t.spans[agent]
	i, found := slices.BinarySearchFunc(spans, occurredAt, func(s Span, at time.Time) int { return s.StartedAt.Compare(at) })
	if !found {
		i--
	}
	if i < 0 || spans[i].LastEventAt.Before(occurredAt) {
		return nil
	}
	return &spans[i].StartedAt
}

// Messages is DB.Messages at the moment.
func (t *PastTranscript) Messages(ctx context.Context, query TranscriptQuery) ([]Message, *EventPlace, error) {
	p := query.params()
	rows, err := t.db.q.AsOfMessageList(ctx, dbsqlc.AsOfMessageListParams{
		SessionID: p.SessionID, AgentID: p.AgentID, Agents: p.Agents, UpTo: t.upTo, ReceivedUntil: t.until,
		Superseded: t.superseded, Since: p.Since, Until: p.Until, AfterOccurredAt: p.AfterOccurredAt,
		AfterRank: p.AfterRank, AfterFingerprint: p.AfterFingerprint, MaxRows: p.MaxRows,
	})
	if err != nil {
		return nil, nil, fmt.Errorf("reading messages: %w", err)
	}
	var place *EventPlace
	if len(rows) > query.Limit {
		rows = rows[:query.Limit]
		last := rows[len(rows)-1]
		place = &EventPlace{last.OccurredAt, rankOf(rapport.ChatPush, last.Role), rapport.Fingerprint(last.Fingerprint)}
	}
	messages := make([]Message, len(rows))
	for i, row := range rows {
		messages[i] = Message{
			Position: row.Position, AgentID: row.AgentID, SessionID: row.SessionID,
			SessionStartedAt: t.startedAt(row.AgentID, row.OccurredAt), OccurredAt: row.OccurredAt, Role: row.Role,
			Text: row.Message, MessageType: row.MessageType, Language: row.Language, UserID: row.UserID,
		}
	}
	return messages, place, nil
}

// Events is DB.Events at the moment.
func (p *Past) Events(ctx context.Context, query TranscriptQuery) ([]StoredEvent, *EventPlace, error) {
	q := query.params()
	rows, err := p.db.q.AsOfTranscriptList(ctx, dbsqlc.AsOfTranscriptListParams{
		SessionID: q.SessionID, AgentID: q.AgentID, Agents: q.Agents, UpTo: p.upTo, ReceivedUntil: p.until,
		Since: q.Since, Until: q.Until, AfterOccurredAt: q.AfterOccurredAt, AfterRank: q.AfterRank,
		AfterFingerprint: q.AfterFingerprint, MaxRows: q.MaxRows,
	})
	if err != nil {
		return nil, nil, fmt.Errorf("reading events: %w", err)
	}
	var place *EventPlace
	if len(rows) > query.Limit {
		rows = rows[:query.Limit]
		last := rows[len(rows)-1]
		place = &EventPlace{last.OccurredAt, rankOf(last.EventType, last.Role), rapport.Fingerprint(last.Fingerprint)}
	}
	events := make([]StoredEvent, len(rows))
	for i, row := range rows {
		events[i] = StoredEvent{
			Event: storedEvent(dbsqlc.EventListOfSessionRow(row)), Payload: row.Payload, PayloadRaw: row.PayloadRaw, Erasure: row.Erasure,
		}
	}
	return events, place, nil
}

// HasAny reports whether anything was known of the session_id.
func (t *PastTranscript) HasAny(ctx context.Context) (bool, error) {
	if len(t.spans) > 0 {
		return true, nil
	}
	query := t.of
	query.Limit, query.After, query.Span = 1, nil, Span{}
	events, _, err := t.Events(ctx, query)
	return len(events) > 0, err
}
