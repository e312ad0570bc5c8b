package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"rapport"
	"rapport/store/internal/dbsqlc"
)

// ReactionStanding is how far the rules have come, and those before which they give way.
type ReactionStanding struct {
	Position int64
	Folded   int64 // up to here the sessions are made: the rules go no further
	Head     int64 // of the log
	Steps    int64 // see ReactionState
}

// ReactionStanding looks.
func (db *DB) ReactionStanding(ctx context.Context) (ReactionStanding, error) {
	row, err := db.q.ReactionStanding(ctx)
	if err != nil {
		return ReactionStanding{}, fmt.Errorf("reading how far the rules have come: %w", err)
	}
	return ReactionStanding(row), nil
}

// ReactionState is what the follower of the rules is told when its step begins, and what
// it leaves behind.
type ReactionState struct {
	Position int64     // up to here the rules were asked
	MovedAt  time.Time // when it moved last
	Begun    bool      // there were rules before
	BeganAt  time.Time // since when closed sessions are told; zero while no rule is on them
	ClosedTo time.Time // sessions that closed up to then are told; zero while no rule is on them
	LookedAt time.Time // when alerts were looked at last; zero if never

	Steps      int64 // moves with each step, and with each erasure: see reaction_state.steps
	Folded     int64
	Head       int64 // of the log
	Generation int64 // of the log: moves whenever events become stubs
}

// ReactionTx is the transaction of a step of the rules.
type ReactionTx struct {
	Tx
	ReactionState // as it was when the step began
}

// React takes the row of the rules' follower, and gives do a transaction in which
// nobody else does a step. Any number of processes may call it; one at a time gets the
// row, the others are told busy at once.
func (db *DB) React(ctx context.Context, do func(*ReactionTx) error) (busy bool, err error) {
	err = db.inTx(ctx, func(q *dbsqlc.Queries) error {
		at, err := q.ReactionLock(ctx)
		if errors.Is(err, pgx.ErrNoRows) {
			busy = true
			return nil
		}
		if err != nil {
			return err
		}
		state, err := q.ReactionStateGet(ctx)
		if err != nil {
			return err
		}
		return do(&ReactionTx{Tx{q: q, follower: ReactionFollower}, ReactionState{
			Position: at.Position, MovedAt: at.UpdatedAt, Begun: state.Begun, BeganAt: orZero(state.BeganAt),
			ClosedTo: orZero(state.ClosedTo), LookedAt: orZero(state.LookedAt),
			Steps: state.Steps, Folded: state.Folded, Head: state.Head, Generation: state.Generation,
		}})
	})
	if err != nil {
		return false, fmt.Errorf("asking the rules: %w", err)
	}
	return busy, nil
}

// Leave writes down what the step leaves behind: Position, BeganAt, ClosedTo and
// LookedAt. It is the last thing that a step does.
func (tx *ReactionTx) Leave(ctx context.Context, state ReactionState) error {
	if state.Position != tx.Position {
		if err := tx.q.FollowerMove(ctx, dbsqlc.FollowerMoveParams{Name: ReactionFollower, Position: state.Position}); err != nil {
			return err
		}
	}
	return tx.q.ReactionStateSet(ctx, dbsqlc.ReactionStateSetParams{
		BeganAt: orNull(state.BeganAt), ClosedTo: orNull(state.ClosedTo), LookedAt: orNull(state.LookedAt),
	})
}

// WaitsSince is the receipt of the first event behind a position; the database's time if
// there is none.
func (tx *ReactionTx) WaitsSince(ctx context.Context, position int64) (time.Time, error) {
	return tx.q.ReactionWaitsSince(ctx, dbsqlc.ReactionWaitsSinceParams{After: position, Head: tx.Head})
}

// ReactionQuery asks for the next events.
type ReactionQuery struct {
	Types        []string // those that rules are on: others have no text
	PayloadTypes []string // those of which rules want the payload
	Limit        int
}

// Events are the next events whose sessions are folded, those aside that fire nothing:
// stubs, and what only calls itself the announcement of an erasure. Reached is the
// position up to which they are.
func (tx *ReactionTx) Events(ctx context.Context, query ReactionQuery) (events []*rapport.Event, reached int64, err error) {
	if tx.Position >= tx.Folded {
		return nil, tx.Position, nil
	}
	rows, err := tx.q.ReactionEventList(ctx, dbsqlc.ReactionEventListParams{
		EventTypes: orNone(query.Types), PayloadTypes: orNone(query.PayloadTypes),
		After: tx.Position, UpTo: tx.Folded, MaxEvents: int32(query.Limit), MaxBytes: maxStepBytes,
	})
	if err != nil || len(rows) == 0 { // what is missing has gone for its age
		return nil, tx.Folded, err
	}
	for i := range rows {
		if row := &rows[i]; !row.IsSilent {
			events = append(events, reactedEvent(row))
		}
	}
	return events, rows[len(rows)-1].Position, nil
}

func reactedEvent(row *dbsqlc.ReactionEventListRow) *rapport.Event {
	event := &rapport.Event{
		Position: row.Position, Fingerprint: rapport.Fingerprint(row.Fingerprint), OccurredAt: row.OccurredAt, ReceivedAt: row.ReceivedAt,
		Undated: row.Undated, Type: row.EventType, AgentID: row.AgentID, SessionID: row.SessionID, UserID: row.UserID, Role: row.Role,
		Text: row.Message, MessageType: row.MessageType, Language: row.Language, Participants: row.Participants, RoomName: row.RoomName,
		ErrorCode: row.ErrorCode, ErrorSeverity: row.ErrorSeverity, ErrorCategory: row.ErrorCategory,
		EndReason: row.EndReason, Rating: row.Rating, HealedFrom: row.HealedFrom,
	}
	if row.Payload != "" {
		event.Payload = []byte(row.Payload)
	}
	return event
}

// TalkSpan is a time of a conversation.
type TalkSpan struct {
	Conversation
	Since, Until time.Time // both included
}

// spans are the columns of some, for a query that numbers them.
func spans(list []TalkSpan) (ns []int64, agents, sessions []string, since, until []time.Time) {
	for i, s := range list {
		ns = append(ns, int64(i))
		agents, sessions = append(agents, s.AgentID), append(sessions, s.SessionID)
		since, until = append(since, s.Since), append(until, s.Until)
	}
	return ns, agents, sessions, since, until
}

// reactedColumns are those of a session that rules can ask for.
const reactedColumns = listedColumns + ", last_event_at"

// eachSession reads rows of reactedColumns.
func eachSession(rows pgx.Rows, err error, take func(SessionRow)) error {
	if err != nil {
		return err
	}
	return eachListed(rows, func(row *dbsqlc.Session, more *rowValues) {
		row.LastEventAt = more.time()
		take(sessionRowOf(row))
	})
}

// query runs a statement that sqlc has no words for.
func (tx *ReactionTx) query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	inner, ok := tx.q.Tx()
	if !ok {
		return nil, errors.New("the rules are asked in a transaction only")
	}
	return inner.Query(ctx, sql, args...)
}

// SessionsDuring are the sessions that reach into some times, erased ones aside.
func (tx *ReactionTx) SessionsDuring(ctx context.Context, list []TalkSpan) (sessions []SessionRow, err error) {
	if len(list) == 0 {
		return nil, nil
	}
	_, agents, ids, since, until := spans(list)
	rows, err := tx.query(ctx, "SELECT "+reactedColumns+` FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::timestamptz[])
			k (of_agent, of_session, since, until)
		CROSS JOIN LATERAL (SELECT * FROM sessions w
			WHERE w.session_id = k.of_session AND w.agent_id = k.of_agent AND w.started_at <= k.until AND w.last_event_at >= k.since
			  AND w.erased_at IS NULL OFFSET 0) s`, agents, ids, since, until)
	err = eachSession(rows, err, func(s SessionRow) { sessions = append(sessions, s) })
	return sessions, err
}

// ClosedSessions are sessions that closed after one time and up to another, in the order in which
// they did, and up to when all are there: about limit of them. What of them has not been
// reacted to yet is left out, and what lies in a due conversation.
func (tx *ReactionTx) ClosedSessions(ctx context.Context, after, upTo time.Time, limit int) (sessions []SessionRow, reached time.Time, err error) {
	rows, err := tx.query(ctx, "SELECT "+reactedColumns+` FROM sessions s
		WHERE s.closes_at > $1 AND s.closes_at <= $2
		  AND s.last_position <= $3 AND s.erased_at IS NULL
		  AND NOT EXISTS (SELECT FROM due_conversations d
		      WHERE d.session_id = s.session_id AND d.agent_id = s.agent_id AND s.last_position >= d.position)
		ORDER BY s.closes_at FETCH FIRST $4 ROWS WITH TIES`, after, upTo, tx.Position, limit)
	err = eachSession(rows, err, func(s SessionRow) { sessions = append(sessions, s) })
	if reached = upTo; len(sessions) >= limit {
		reached = sessions[len(sessions)-1].ClosesAt
	}
	return sessions, reached, err
}

// DueConversation is one of which something came to a session that was closed already,
// or was about to close.
type DueConversation struct {
	TalkSpan
	ReceivedAt time.Time // the newest receipt of what came
	Position   int64     // the first of what came
}

// AddDue has conversations looked at, each once, at a time.
func (tx *ReactionTx) AddDue(ctx context.Context, at time.Time, due []DueConversation) error {
	if len(due) == 0 {
		return nil
	}
	params := dbsqlc.DueAddManyParams{At: at}
	for _, d := range due {
		params.AgentIds = append(params.AgentIds, d.AgentID)
		params.SessionIds = append(params.SessionIds, d.SessionID)
		params.ReceivedAts = append(params.ReceivedAts, d.ReceivedAt)
		params.Positions = append(params.Positions, d.Position)
		params.Sinces = append(params.Sinces, d.Since)
		params.Untils = append(params.Untils, d.Until)
	}
	return tx.q.DueAddMany(ctx, params)
}

// Due are conversations to look at, at most so many.
func (tx *ReactionTx) Due(ctx context.Context, now time.Time, limit int) ([]DueConversation, error) {
	rows, err := tx.q.DueList(ctx, dbsqlc.DueListParams{Now: now, MaxRows: int32(limit)})
	if err != nil {
		return nil, err
	}
	due := make([]DueConversation, len(rows))
	for i, row := range rows {
		due[i] = DueConversation{
			TalkSpan:   TalkSpan{Conversation{AgentID: row.AgentID, SessionID: row.SessionID}, row.Since, row.Until},
			ReceivedAt: row.ReceivedAt, Position: row.Position,
		}
	}
	return due, nil
}

// DropDue forgets conversations that were looked at.
func (tx *ReactionTx) DropDue(ctx context.Context, due []DueConversation) error {
	if len(due) == 0 {
		return nil
	}
	var params dbsqlc.DueDeleteManyParams
	for _, d := range due {
		params.AgentIds, params.SessionIds = append(params.AgentIds, d.AgentID), append(params.SessionIds, d.SessionID)
	}
	return tx.q.DueDeleteMany(ctx, params)
}

// SessionsDue are the sessions of due conversations that have closed by a time: those of
// which something came, and those beside it, which it may have cut or joined. What has
// not been reacted to yet is left out.
func (tx *ReactionTx) SessionsDue(ctx context.Context, due []DueConversation, now time.Time) (sessions []SessionRow, err error) {
	if len(due) == 0 {
		return nil, nil
	}
	list, positions := make([]TalkSpan, len(due)), make([]int64, len(due))
	for i, d := range due {
		list[i], positions[i] = d.TalkSpan, d.Position
	}
	_, agents, ids, since, until := spans(list)
	rows, err := tx.query(ctx, "SELECT "+reactedColumns+` FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::timestamptz[], $5::bigint[])
			k (of_agent, of_session, since, until, came)
		CROSS JOIN LATERAL (SELECT * FROM sessions w
			WHERE w.session_id = k.of_session AND w.agent_id = k.of_agent AND w.closes_at <= $6 AND w.last_position <= $7 AND w.erased_at IS NULL
			  AND (w.last_position >= k.came
			    OR w.started_at >= coalesce((SELECT max(p.started_at) FROM sessions p
			        WHERE p.session_id = k.of_session AND p.agent_id = k.of_agent AND p.started_at < k.since), '-infinity')
			   AND w.started_at <= coalesce((SELECT min(n.started_at) FROM sessions n
			        WHERE n.session_id = k.of_session AND n.agent_id = k.of_agent AND n.started_at > k.until), 'infinity')) OFFSET 0) s
		ORDER BY closes_at, agent_id, session_id, started_at`, agents, ids, since, until, positions, now, tx.Position)
	err = eachSession(rows, err, func(s SessionRow) { sessions = append(sessions, s) })
	return sessions, err
}

// ToldSessionVersion is a session as rules were told that it is closed.
type ToldSessionVersion struct {
	SessionKey
	LastPosition int64
}

// Told are, of each session, those that were told and lie in it: itself, and others that
// have become part of it.
func (tx *ReactionTx) Told(ctx context.Context, sessions []SessionRow) ([][]ToldSessionVersion, error) {
	told := make([][]ToldSessionVersion, len(sessions))
	if len(sessions) == 0 {
		return told, nil
	}
	list := make([]TalkSpan, len(sessions))
	for i := range sessions {
		s := &sessions[i]
		list[i] = TalkSpan{Conversation{AgentID: s.AgentID, SessionID: s.SessionID}, s.StartedAt, s.LastEventAt}
	}
	var params dbsqlc.ToldListParams
	params.Ns, params.AgentIds, params.SessionIds, params.Sinces, params.Untils = spans(list)
	rows, err := tx.q.ToldList(ctx, params)
	for _, row := range rows {
		key := SessionKey{Conversation: list[row.N].Conversation, StartedAt: row.StartedAt}
		told[row.N] = append(told[row.N], ToldSessionVersion{key, row.LastPosition})
	}
	return told, err
}

// SetTold notes what was told at a time, and forgets what has become part of it.
func (tx *ReactionTx) SetTold(ctx context.Context, at time.Time, told []ToldSessionVersion, gone []SessionKey) error {
	if len(gone) > 0 {
		var params dbsqlc.ToldDeleteManyParams
		for _, key := range gone {
			params.AgentIds, params.SessionIds = append(params.AgentIds, key.AgentID), append(params.SessionIds, key.SessionID)
			params.StartedAts = append(params.StartedAts, key.StartedAt)
		}
		if err := tx.q.ToldDeleteMany(ctx, params); err != nil {
			return err
		}
	}
	if len(told) == 0 {
		return nil
	}
	params := dbsqlc.ToldSetManyParams{ToldAt: at}
	for _, t := range told {
		params.AgentIds, params.SessionIds = append(params.AgentIds, t.AgentID), append(params.SessionIds, t.SessionID)
		params.StartedAts = append(params.StartedAts, t.StartedAt)
		params.LastPositions = append(params.LastPositions, t.LastPosition)
	}
	return tx.q.ToldSetMany(ctx, params)
}
