package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"rapport/store/internal/dbsqlc"
)

// StreamStart says where a stream begins: behind a position, or at the head of the log.
type StreamStart struct {
	AtHead   bool
	Position int64 // 0 is the beginning of the log; beyond the head, it is the head
}

// StreamInfo is how far a stream has come.
type StreamInfo struct {
	Name        string
	Destination string // without secrets
	Position    int64  // everything up to here has been acknowledged, or was not asked for
	Head        int64  // of the log
	Sent        int64  // events that were acknowledged
	Omitted     int64  // of them, those that were too large, so that they went without their content
	CreatedAt   time.Time
	MovedAt     time.Time     // when the position moved last
	Age         time.Duration // since the oldest event behind the position was received; 0 if there is none
}

// Streams tells of all streams, by name, and of their age by the clock given.
func (db *DB) Streams(ctx context.Context, now time.Time) ([]StreamInfo, error) {
	rows, err := db.q.StreamList(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading how far the streams have come: %w", err)
	}
	infos := make([]StreamInfo, len(rows))
	for i, row := range rows {
		infos[i] = StreamInfo{
			Name: row.Name, Destination: row.Destination, Position: row.Position, Head: row.Head, Sent: row.Sent,
			Omitted: row.Omitted, CreatedAt: row.CreatedAt, MovedAt: row.MovedAt,
		}
		if row.Position < row.Head {
			infos[i].Age = max(0, now.Sub(row.WaitsSince))
		}
	}
	return infos, nil
}

// StreamsHeld are the names of the streams that some process sends.
func (db *DB) StreamsHeld(ctx context.Context) (map[string]bool, error) {
	names, err := db.q.StreamsHeld(ctx)
	if err != nil {
		return nil, fmt.Errorf("looking who sends the streams: %w", err)
	}
	held := make(map[string]bool, len(names))
	for _, name := range names {
		held[name] = true
	}
	return held, nil
}

// ErrNoStream says that there is no stream of a name.
var ErrNoStream = errors.New("there is no such stream: see rapport stream list")

// ErrStreamHeld says that a server sends a stream.
var ErrStreamHeld = errors.New("a running server sends this stream: start it without its --stream first")

// ErrNotInLog says that the log has no such position.
var ErrNotInLog = errors.New("the log has no such position")

// StreamSet has a stream go on behind another position, and records that actor did.
// Who sends it notices. It is ErrNoStream or ErrNotInLog.
func (db *DB) StreamSet(ctx context.Context, actor, name string, start StreamStart) error {
	err := db.inTx(ctx, func(q *dbsqlc.Queries) error {
		if _, err := q.StreamLook(ctx, name); err != nil {
			return noRow(err, ErrNoStream)
		}
		n, err := q.StreamSet(ctx, dbsqlc.StreamSetParams{Name: name, AtHead: start.AtHead, Position: start.Position})
		if err != nil {
			return err
		}
		if n == 0 {
			return ErrNotInLog
		}
		details := map[string]any{"position": start.Position}
		if start.AtHead {
			details = map[string]any{"position": "head"}
		}
		return audit(ctx, q, AuditEntry{Actor: actor, Action: "stream.reset", Subject: name, Details: details})
	})
	if err != nil {
		return fmt.Errorf("setting the stream %q: %w", name, err)
	}
	return nil
}

// StreamRemove forgets a stream that no server sends, and records that actor did. It is
// ErrNoStream or ErrStreamHeld.
func (db *DB) StreamRemove(ctx context.Context, actor, name string) error {
	hold, err := db.tryStream(ctx, name)
	if err != nil {
		return err
	}
	if hold == nil {
		return fmt.Errorf("removing the stream %q: %w", name, ErrStreamHeld)
	}
	defer hold.Release()
	err = db.inTx(ctx, func(q *dbsqlc.Queries) error {
		n, err := q.StreamDelete(ctx, name)
		if err != nil {
			return err
		}
		if n == 0 {
			return ErrNoStream
		}
		return audit(ctx, q, AuditEntry{Actor: actor, Action: "stream.remove", Subject: name})
	})
	if err != nil {
		return fmt.Errorf("removing the stream %q: %w", name, err)
	}
	return nil
}

// StreamOmission is an event that was too large for a stream.
type StreamOmission struct {
	Position  int64
	Bytes     int64 // of the whole event as JSON
	OmittedAt time.Time
}

// StreamOmissions are the last of those that went without their content, the newest
// first. It is ErrNoStream if there is none of the name.
func (db *DB) StreamOmissions(ctx context.Context, name string, limit int) ([]StreamOmission, error) {
	if _, err := db.q.StreamLook(ctx, name); err != nil {
		return nil, fmt.Errorf("reading the stream %q: %w", name, noRow(err, ErrNoStream))
	}
	rows, err := db.q.StreamOmissionList(ctx, dbsqlc.StreamOmissionListParams{Stream: name, MaxRows: int32(limit)})
	if err != nil {
		return nil, fmt.Errorf("reading what went without its content: %w", err)
	}
	omissions := make([]StreamOmission, len(rows))
	for i, row := range rows {
		omissions[i] = StreamOmission(row)
	}
	return omissions, nil
}

// StreamQuery asks for what a stream sends: of these agents and types; none named is all.
// Announcements of erasures are among them, whatever is asked for.
type StreamQuery struct {
	After     int64
	UpTo      int64 // a head that was read before: who has read it finds every event up to it
	Agents    []string
	Types     []string
	MaxEvents int // that are looked at
}

// StreamPage is a stretch of the log.
type StreamPage struct {
	Events    []StoredEvent
	Reached   int64 // what was asked for, up to here, is among the events
	Gone      int64 // events up to there that have gone for their age
	Truncated bool  // the texts were too much for one page
}

// maxPageBytes bounds the texts and payloads of a page. One event is always taken.
const maxPageBytes = 8 << 20

// StreamEvents reads the next page.
func (db *DB) StreamEvents(ctx context.Context, query StreamQuery) (StreamPage, error) {
	page, err := db.streamPage(ctx, query)
	if err != nil {
		return StreamPage{}, fmt.Errorf("reading the log: %w", err)
	}
	return page, nil
}

func (db *DB) streamPage(ctx context.Context, query StreamQuery) (page StreamPage, err error) {
	if query.After >= query.UpTo {
		return StreamPage{Reached: query.After}, nil
	}
	if err := db.reach(ctx, query, query.UpTo, &page); err != nil {
		return page, err
	}
	rows, err := db.q.StreamEventList(ctx, dbsqlc.StreamEventListParams{
		After: query.After, UpTo: page.Reached, Agents: orNone(query.Agents), EventTypes: orNone(query.Types),
		MaxEvents: int32(query.MaxEvents), MaxBytes: maxPageBytes,
	})
	if err != nil {
		return page, err
	}
	page.Events = make([]StoredEvent, len(rows))
	for i, row := range rows {
		page.Events[i] = streamedEvent(row)
	}
	if n := len(rows); n > 0 && int64(n) < rows[0].Found {
		page.Truncated = true
		err = db.reach(ctx, query, rows[n-1].Position, &page)
	}
	return page, err
}

// reach looks how far a page goes.
func (db *DB) reach(ctx context.Context, query StreamQuery, upTo int64, page *StreamPage) error {
	found, err := db.q.StreamReach(ctx, dbsqlc.StreamReachParams{After: query.After, UpTo: upTo, MaxEvents: int32(query.MaxEvents)})
	if err != nil {
		return err
	}
	page.Reached = upTo
	if found.Events == int64(query.MaxEvents) {
		page.Reached = found.Last
	}
	page.Gone = page.Reached - query.After - found.Events
	return nil
}

func streamedEvent(row dbsqlc.StreamEventListRow) StoredEvent {
	event := storedEvent(dbsqlc.EventListOfSessionRow{
		Position: row.Position, OccurredAt: row.OccurredAt, ReceivedAt: row.ReceivedAt, Undated: row.Undated,
		EventType: row.EventType, AgentID: row.AgentID, SessionID: row.SessionID, UserID: row.UserID, Role: row.Role,
		Message: row.Message, MessageType: row.MessageType, Language: row.Language, Participants: row.Participants,
		RoomName: row.RoomName, ErrorCode: row.ErrorCode, ErrorSeverity: row.ErrorSeverity, ErrorCategory: row.ErrorCategory,
		EndReason: row.EndReason, Rating: row.Rating, Fingerprint: row.Fingerprint, HealedFrom: row.HealedFrom,
	})
	return StoredEvent{Event: event, Payload: json.RawMessage(row.Payload), PayloadRaw: row.PayloadRaw, Erasure: row.Erasure}
}

// IsAnnouncement reports whether an event tells of an erasure. A delivery may have the
// type, but no delivery has the rest.
func (e *StoredEvent) IsAnnouncement() bool {
	return e.Erasure != nil && e.Type == ErasedEvent && !e.IsStub()
}
