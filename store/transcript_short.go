package store

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"rapport"
	"rapport/store/internal/dbsqlc"
)

// SessionsAndMessages are the sessions of a session_id, in the order of time, and the
// messages as DB.Messages has them: of a short transcript, in one round trip.
func (db *DB) SessionsAndMessages(ctx context.Context, query TranscriptQuery) ([]SessionRow, []Message, *EventPlace, error) {
	if query.isFirst() {
		if short, err := db.readShort(ctx, &query); err != nil || !short.isLonger {
			return short.sessions, short.messages, nil, err
		}
	}
	sessions, err := db.SessionsOfID(ctx, query.SessionID, query.AgentID, query.Agents...)
	if err != nil {
		return nil, nil, nil, err
	}
	messages, behind, err := db.messages(ctx, &query)
	return sessions, messages, behind, err
}

// shortTranscript is all that a session_id has, without any filter.
type shortTranscript struct {
	sessions []SessionRow
	messages []Message
	isLonger bool // there are more than asked for, or healed messages: it is to be read otherwise
}

// What Postgres does for each partition before it reads a row is most of the time, and
// each condition, order and join adds to it: the few rows are sorted and joined here.
const (
	shortSessions = "-- name: SessionListShort :many\nSELECT " + listedColumns + `, last_event_at
		FROM sessions WHERE session_id = $1 LIMIT $2`
	shortMessages = `-- name: MessageListShort :many
		SELECT occurred_at, fingerprint, position, agent_id, role, message, message_type, language, user_id, healed_from
		FROM events WHERE session_id = $1 AND event_type = 'chat.push' AND erasure IS NULL LIMIT $2`
)

// readShort reads a transcript that has at most query.Limit sessions and messages.
func (db *DB) readShort(ctx context.Context, query *TranscriptQuery) (*shortTranscript, error) {
	t := &shortTranscript{}
	var found []foundMessage
	batch := &pgx.Batch{}
	batch.Queue(shortSessions, query.SessionID, query.Limit+1).Query(func(rows pgx.Rows) error {
		return eachListed(rows, func(row *dbsqlc.Session, more *rowValues) {
			row.LastEventAt = more.time()
			t.sessions = append(t.sessions, sessionRowOf(row))
		})
	})
	batch.Queue(shortMessages, query.SessionID, query.Limit+1).Query(func(rows pgx.Rows) (err error) {
		found, err = findMessages(rows, query.SessionID, min(t.messageCount(), query.Limit)+1)
		return err
	})
	if err := db.pool.SendBatch(ctx, batch).Close(); err != nil {
		return t, fmt.Errorf("reading messages: %w", err)
	}
	isHealed := func(m foundMessage) bool { return m.isHealed }
	if t.isLonger = max(len(t.sessions), len(found)) > query.Limit || slices.ContainsFunc(found, isHealed); t.isLonger {
		return t, nil
	}
	slices.SortFunc(t.sessions, func(a, b SessionRow) int {
		return cmp.Or(a.StartedAt.Compare(b.StartedAt), cmp.Compare(a.AgentID, b.AgentID))
	})
	slices.SortFunc(found, foundMessage.compare)
	t.messages = make([]Message, len(found))
	for i := range found {
		t.messages[i] = found[i].Message
		t.messages[i].SessionStartedAt = t.startedAt(&found[i].Message)
	}
	return t, nil
}

// messageCount is how many messages its sessions have, by what is folded.
func (t *shortTranscript) messageCount() (n int) {
	for i := range t.sessions {
		n += int(t.sessions[i].MessageCount)
	}
	return n
}

// startedAt is that of the session that a message is in; nil if it is in none yet.
func (t *shortTranscript) startedAt(m *Message) *time.Time {
	for i := range t.sessions {
		s := &t.sessions[i]
		if s.AgentID == m.AgentID && !m.OccurredAt.Before(s.StartedAt) && !m.OccurredAt.After(s.LastEventAt) {
			return &s.StartedAt
		}
	}
	return nil
}

// foundMessage is a message with what it is sorted by.
type foundMessage struct {
	Message
	fingerprint []byte
	isHealed    bool
}

// findMessages reads rows of shortMessages, which are about n.
func findMessages(rows pgx.Rows, sessionID string, n int) ([]foundMessage, error) {
	defer rows.Close()
	found := make([]foundMessage, 0, n)
	m := foundMessage{Message: Message{SessionID: sessionID}} // each after the other: they have much in common
	for rows.Next() {
		v := rowValues{fields: rows.FieldDescriptions(), raw: rows.RawValues()}
		m.OccurredAt, m.fingerprint, m.Position = v.time(), v.bytes(), v.int()
		m.AgentID, m.Role, m.Text = v.textLike(m.AgentID), v.textLike(m.Role), v.text()
		m.MessageType, m.Language, m.UserID, m.isHealed = v.textLike(m.MessageType), v.textLike(m.Language), v.textLike(m.UserID), v.text() != ""
		found = append(found, m)
		if err := v.done(); err != nil {
			return nil, err
		}
	}
	return found, rows.Err()
}

// compare is rapport.Compare.
func (m foundMessage) compare(other foundMessage) int {
	return cmp.Or(m.OccurredAt.Compare(other.OccurredAt),
		cmp.Compare(rapport.Rank(rapport.ChatPush, m.Role), rapport.Rank(rapport.ChatPush, other.Role)),
		bytes.Compare(m.fingerprint, other.fingerprint))
}
