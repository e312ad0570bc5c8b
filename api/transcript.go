package api

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"

	"rapport"
	"rapport/api/access"
	"rapport/store"
)

func (s *server) registerTranscripts() {
	list(s, huma.Operation{
		OperationID: "list-messages", Path: "/sessions/{session_id}/messages", Tags: []string{"sessions"}, Errors: asOfErrors,
		Summary: "List the messages of a session_id",
	}, s.listMessages)
	list(s, huma.Operation{
		OperationID: "list-events", Path: "/sessions/{session_id}/events", Tags: []string{"sessions"}, Errors: asOfErrors,
		Summary: "List the events of a session_id",
	}, s.listEvents)
}

// message is a chat.push, as in analytics.messages.
type message struct {
	Position    int64      `json:"position" minimum:"1" doc:"Its place in the log, from 1 on."`
	AgentID     string     `json:"agent_id" doc:"The agent."`
	SessionID   string     `json:"session_id" doc:"The sender's session."`
	StartedAt   *timestamp `json:"started_at" nullable:"true" doc:"started_at of its session; null until it is folded."`
	OccurredAt  timestamp  `json:"occurred_at" doc:"When it was said, by the sender."`
	Role        string     `json:"role" doc:"Who says it: user, agent, or what the sender calls them."`
	Text        string     `json:"text" doc:"What is said."`
	CharCount   int        `json:"char_count" minimum:"0" doc:"Unicode code points of the text."`
	MessageType string     `json:"message_type" doc:"As the sender tells it, such as text; empty if it doesn't."`
	Language    string     `json:"language" doc:"As the sender tells it, such as en; empty if it doesn't."`
	UserID      string     `json:"user_id" doc:"The user, as the sender tells; empty if it doesn't."`
}

func messageOf(m *store.Message) message {
	return message{
		Position: m.Position, AgentID: m.AgentID, SessionID: m.SessionID, StartedAt: (*timestamp)(m.SessionStartedAt),
		OccurredAt: timestamp(m.OccurredAt), Role: m.Role, Text: m.Text, CharCount: utf8.RuneCountInString(m.Text),
		MessageType: m.MessageType, Language: m.Language, UserID: m.UserID,
	}
}

// event is a row of the log, as in analytics.events.
type event struct {
	Position      int64           `json:"position" minimum:"1" doc:"Its place in the log, from 1 on."`
	OccurredAt    timestamp       `json:"occurred_at" doc:"When it happened, by the sender; if undated, when it was received."`
	ReceivedAt    timestamp       `json:"received_at" doc:"When it was received, by the server."`
	Undated       bool            `json:"undated" doc:"The delivery carried no time of its own."`
	EventType     string          `json:"event_type" doc:"What happened: chat.push, room.join, session.end, agent.error, …"`
	AgentID       string          `json:"agent_id" doc:"The agent; empty if there is none."`
	SessionID     string          `json:"session_id" doc:"The sender's session; empty if there is none."`
	UserID        string          `json:"user_id" doc:"The user; empty if not told."`
	Role          string          `json:"role" doc:"Of a chat.push, who says it: user, agent, or what the sender calls them."`
	Message       string          `json:"message" doc:"Of a chat.push, what is said; of an agent.error, what it says."`
	MessageType   string          `json:"message_type" doc:"Of a chat.push, as the sender tells it, such as text."`
	Language      string          `json:"language" doc:"Of a chat.push, as the sender tells it, such as en."`
	Participants  *int32          `json:"participants" doc:"Of a room.join, how many are in the room; null if not told."`
	RoomName      string          `json:"room_name" doc:"Of a room.join, the room; empty if not told."`
	ErrorCode     string          `json:"error_code" doc:"Of an agent.error, its code."`
	ErrorSeverity string          `json:"error_severity" doc:"Of an agent.error, how bad it is, in the sender's words."`
	ErrorCategory string          `json:"error_category" doc:"Of an agent.error, what kind it is, in the sender's words."`
	EndReason     string          `json:"end_reason" doc:"Of a session.end, why; empty for any other."`
	Rating        *float64        `json:"rating" doc:"Of a session.userSatisfaction, on the sender's scale; null for any other."`
	Fingerprint   string          `json:"fingerprint" doc:"In hexadecimal."`
	Payload       json.RawMessage `json:"payload" doc:"The body as it came; null where it is not valid UTF-8."`
	PayloadRaw    []byte          `json:"payload_raw" nullable:"true" doc:"The body as it came, in base64, where it is not valid UTF-8."`
	HealedFrom    string          `json:"healed_from" doc:"Where a healed message was read in the sender's record; empty for what was delivered. It counts in its session only while no delivery of it is there."`
	Erased        bool            `json:"erased" doc:"It is a stub: its content is gone, erased or for its age."`
	Erasure       *int64          `json:"erasure" doc:"Null for a whole event. A stub, whose content is gone, has the number of the erasure, 0 if it went for its age."`
}

func eventOf(e *store.StoredEvent) event {
	return event{
		Position: e.Position, OccurredAt: timestamp(e.OccurredAt), ReceivedAt: timestamp(e.ReceivedAt),
		Undated: e.Undated, EventType: e.Type, AgentID: e.AgentID, SessionID: e.SessionID, UserID: e.UserID,
		Role: e.Role, Message: e.Text, MessageType: e.MessageType, Language: e.Language,
		Participants: e.Participants, RoomName: e.RoomName, ErrorCode: e.ErrorCode, ErrorSeverity: e.ErrorSeverity,
		ErrorCategory: e.ErrorCategory, EndReason: e.EndReason, Rating: e.Rating,
		Fingerprint: hex.EncodeToString(e.Fingerprint[:]), Payload: e.Payload, PayloadRaw: e.PayloadRaw,
		HealedFrom: e.HealedFrom, Erased: e.IsStub(), Erasure: e.Erasure,
	}
}

type transcriptInput struct {
	ReadParams
	PageParams
	SessionID string    `path:"session_id" doc:"The sender's session, percent-encoded."`
	AgentID   string    `query:"agent_id" doc:"Of this agent alone."`
	StartedAt timeParam `query:"started_at" doc:"Of the session that started then alone."`
	AsOf      asOfParam `query:"as_of" doc:"What was known at a moment: a log position, or a time (RFC 3339) by which events had been received. It is told anew, by the rules of today, from what had come by then."`
}

// eventPlace is store.EventPlace in a cursor.
type eventPlace struct {
	OccurredAt  int64  `json:"t"` // µs since 1970
	Rank        int32  `json:"r"`
	Fingerprint []byte `json:"f"`
}

func (p eventPlace) isValid() bool {
	return isMicros(p.OccurredAt) && len(p.Fingerprint) == len(rapport.Fingerprint{})
}

func (p eventPlace) ofStore() *store.EventPlace {
	return &store.EventPlace{
		OccurredAt: fromMicros(p.OccurredAt), Rank: p.Rank, Fingerprint: rapport.Fingerprint(p.Fingerprint),
	}
}

// transcript is what a page of messages or events asks for.
type transcript struct {
	query store.TranscriptQuery
	list  []any                 // that it is a page of, for listHash
	past  *store.PastTranscript // nil at present
}

// askedTranscript reads what a page asks for, and waits for the position that it
// asks for.
func (s *server) askedTranscript(ctx context.Context, kind string, in *transcriptInput) (*transcript, error) {
	t := &transcript{query: store.TranscriptQuery{
		SessionID: rapport.CleanText(in.SessionID), AgentID: rapport.CleanText(in.AgentID),
		Agents: access.Of(ctx).Agents, Limit: in.Limit,
	}}
	t.isOf(kind, in.StartedAt, &in.AsOf)
	if in.Cursor != "" {
		hash, err := listHash(t.list...)
		if err != nil {
			return nil, err
		}
		from, err := decodeCursor[eventPlace](in.Cursor, hash)
		if err != nil {
			return nil, err
		}
		t.query.After = from.Place.ofStore()
	}
	err := s.wait(ctx, in.ReadParams)
	if err != nil {
		return nil, err
	}
	if in.AsOf.set {
		t.past, err = s.pastTranscript(ctx, kind, &t.query, in)
		return t, err
	}
	if in.StartedAt.set {
		return t, s.selectWindow(ctx, &t.query, in.StartedAt)
	}
	return t, nil
}

// isOf says which list the page is of, before its query is narrowed.
func (t *transcript) isOf(kind string, startedAt timeParam, asOf *asOfParam) {
	t.list = []any{kind, t.query.SessionID, t.query.AgentID, startedAt.bound(), asOf}
}

// selectWindow narrows a query to the session that started at a time.
func (s *server) selectWindow(ctx context.Context, query *store.TranscriptQuery, startedAt timeParam) error {
	rows, err := s.DB.SessionsOfID(ctx, query.SessionID, query.AgentID, query.Agents...)
	if err != nil {
		return err
	}
	found := 0
	for _, row := range rows {
		if row.StartedAt.Equal(startedAt.at) {
			found++
			query.AgentID = row.AgentID
			query.Span = store.Span{StartedAt: row.StartedAt, LastEventAt: row.LastEventAt}
		}
	}
	switch found {
	case 0:
		return newProblem(http.StatusNotFound, "no such session started then")
	case 1:
		return nil
	}
	return badParameter("agent_id", "needed: sessions of several agents started then")
}

// next is the cursor of the page that begins behind a place; empty if there is none.
func (t *transcript) next(behind *store.EventPlace) (string, error) {
	if behind == nil {
		return "", nil
	}
	hash, err := listHash(t.list...)
	if err != nil {
		return "", err
	}
	place := eventPlace{behind.OccurredAt.UnixMicro(), behind.Rank, behind.Fingerprint[:]}
	return cursor[eventPlace]{Version: cursorVersion, List: hash, Place: place}.encode(), nil
}

// exists is a 404 for a session_id that the log doesn't know. Rows tell already
// that it does.
func (s *server) exists(ctx context.Context, t *transcript, rows int) error {
	if rows > 0 || t.query.After != nil || t.past != nil {
		return nil
	}
	has, err := s.DB.HasEvents(ctx, &t.query)
	if err == nil && !has {
		return newProblem(http.StatusNotFound, "there are no events of such a session")
	}
	return err
}

// A page of a transcript is read in parts, and ends early where it has become large:
// a text may have a megabyte, and of a thousand such for each of many readers there
// is no memory. Each part has at most partGrowth times the rows of the one before, and
// no more than fit if they are like those before.
const (
	firstRows  = 32 // of real conversations 98 of 100 have no more, and half have over 16
	partGrowth = 8
	pageBytes  = 8 << 20 // from so many on, no other part is read
)

// readPart reads a part.
type readPart[R any] = func(context.Context, store.TranscriptQuery) ([]R, *store.EventPlace, error)

// pageOf is a page of a transcript, whose rows have a size in bytes.
func pageOf[R, T any](ctx context.Context, t *transcript, read readPart[R], size func(*R) int, show func(*R) T) (*answer[page[T]], error) {
	rows, behind, err := inParts(ctx, t.query, read, size)
	if err != nil {
		return nil, err
	}
	next, err := t.next(behind)
	if err != nil {
		return nil, err
	}
	return newPage(rows, show, next), nil
}

// inParts reads a page, and the place behind it if there are more.
func inParts[R any](ctx context.Context, query store.TranscriptQuery, read readPart[R], size func(*R) int) (rows []R, behind *store.EventPlace, err error) {
	p := parts{limit: query.Limit}
	for {
		query.Limit = p.next()
		part, place, err := read(ctx, query)
		if err != nil {
			return nil, nil, err
		}
		for i := range part {
			p.add(size(&part[i]))
		}
		rows = append(rows, part...)
		if place == nil || p.isFull() {
			return rows, place, nil
		}
		query.After = place
	}
}

// parts tells how many rows the parts of a page have.
type parts struct {
	limit int // of the page, in rows
	rows  int // read
	bytes int // of them
	last  int // how many were asked for last
}

func (p *parts) next() int {
	most := firstRows
	if p.last > 0 {
		fits := pageBytes // of rows that are empty
		if p.rows > 0 {
			fits = (pageBytes - p.bytes) / max(1, p.bytes/p.rows)
		}
		most = max(1, min(p.last*partGrowth, fits))
	}
	p.last = min(p.limit-p.rows, most)
	return p.last
}

func (p *parts) add(bytes int) { p.rows, p.bytes = p.rows+1, p.bytes+bytes }

func (p *parts) isFull() bool { return p.rows >= p.limit || p.bytes >= pageBytes }

// messageBytes is about how much memory a message takes.
func messageBytes(m *store.Message) int { return len(m.Text) }

func (s *server) listMessages(ctx context.Context, in *transcriptInput) (*answer[page[message]], error) {
	t, err := s.askedTranscript(ctx, "messages", in)
	if err != nil {
		return nil, err
	}
	read := s.DB.Messages
	if t.past != nil {
		read = t.past.Messages
	}
	p, err := pageOf(ctx, t, read, messageBytes, messageOf)
	if err != nil {
		return nil, err
	}
	return p, s.exists(ctx, t, len(p.Body.Data))
}

// eventBytes is about how much memory an event takes.
func eventBytes(e *store.StoredEvent) int { return len(e.Text) + len(e.Payload) + len(e.PayloadRaw) }

func (s *server) listEvents(ctx context.Context, in *transcriptInput) (*answer[page[event]], error) {
	t, err := s.askedTranscript(ctx, "events", in)
	if err != nil {
		return nil, err
	}
	read := s.DB.Events
	if t.past != nil {
		read = t.past.Events
	}
	p, err := pageOf(ctx, t, read, eventBytes, eventOf)
	if err != nil {
		return nil, err
	}
	return p, s.exists(ctx, t, len(p.Body.Data))
}
