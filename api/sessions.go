package api

import (
	"bytes"
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"rapport"
	"rapport/api/access"
	"rapport/store"
)

func (s *server) registerSessions() {
	list(s, huma.Operation{
		OperationID: "list-sessions", Path: "/sessions", Tags: []string{"sessions"},
		Summary:     "List sessions",
		Description: "Ties sort by agent_id, session_id and started_at; nulls come last in both directions. All pages of a list tell status as it was at the time of the first.",
	}, s.listSessions)
	list(s, huma.Operation{
		OperationID: "get-session", Path: "/sessions/{session_id}", Tags: []string{"sessions"}, Errors: asOfErrors,
		Summary:     "Get the sessions of a session_id",
		Description: "One session_id has several sessions if its conversation paused for longer than the idle timeout. In the order of started_at.",
	}, s.sessionsOfID)
}

type sessionsInput struct {
	ReadParams
	PageParams
	From           timeParam `query:"from" doc:"Sessions that started then or later; RFC 3339."`
	To             timeParam `query:"to" doc:"Sessions that started before; RFC 3339."`
	AgentID        string    `query:"agent_id" doc:"Sessions of this agent alone."`
	SessionID      string    `query:"session_id" doc:"Sessions of this session_id alone."`
	Status         string    `query:"status" enum:"open,closed" doc:"Sessions that are open, or closed, at the time of the first page."`
	UserID         string    `query:"user_id" doc:"Sessions of this visitor alone."`
	RoomName       string    `query:"room_name" doc:"Sessions in rooms of this name alone."`
	EngagementTier string    `query:"engagement_tier" enum:"bounced,engaged,continued,deep" doc:"Sessions of this tier alone: bounced, without a user message; engaged, fewer than 2 turns; continued, 2 or 3; deep, 4 or more."`
	MinMessages    int64     `query:"min_messages" minimum:"0" doc:"Sessions with as many messages or more."`
	Sort           string    `query:"sort" default:"-started_at" enum:"started_at,-started_at,last_activity_at,-last_activity_at,message_count,-message_count,engagement_score,-engagement_score,quality_score,-quality_score,duration_s,-duration_s" doc:"- is descending."`
}

// query is what the input asks of the store, but for Now and After, and the hash
// of it.
func (in *sessionsInput) query() (store.SessionQuery, string, error) {
	if in.From.set && in.To.set && !in.From.at.Before(in.To.at) {
		return store.SessionQuery{}, "", badParameter("from", "must be before to")
	}
	column, descending := strings.CutPrefix(in.Sort, "-")
	query := store.SessionQuery{
		From: in.From.bound(), To: in.To.bound(), AgentID: rapport.CleanText(in.AgentID),
		SessionID: rapport.CleanText(in.SessionID), Status: in.Status, EngagementTier: in.EngagementTier,
		UserID: rapport.CleanText(in.UserID), RoomName: rapport.CleanText(in.RoomName), MinMessages: in.MinMessages, Sort: store.SessionSort(column), Descending: descending,
	}
	hash, err := listHash("sessions", query)
	query.Limit, query.Keep = in.Limit, in.Limit <= maxKept && !in.streams()
	return query, hash, err
}

// maxKept is the rows of a page that somebody looks at again, at most: who asks for more
// walks through all.
const maxKept = 100

// sessionPlace is store.SessionPlace in a cursor.
type sessionPlace struct {
	Value     *int64 `json:"v"`
	AgentID   string `json:"a"`
	SessionID string `json:"s"`
	StartedAt int64  `json:"t"` // µs since 1970
}

func (p sessionPlace) isValid() bool {
	return isMicros(p.StartedAt) && isClean(p.AgentID) && isClean(p.SessionID)
}

func (p sessionPlace) ofStore() *store.SessionPlace {
	return &store.SessionPlace{Value: p.Value, Key: store.SessionKey{
		Conversation: store.Conversation{AgentID: p.AgentID, SessionID: p.SessionID},
		StartedAt:    fromMicros(p.StartedAt),
	}}
}

func sessionPlaceOf(p *store.SessionPlace) sessionPlace {
	return sessionPlace{p.Value, p.Key.AgentID, p.Key.SessionID, p.Key.StartedAt.UnixMicro()}
}

// fits reports whether a place can be one of a list that is sorted so: only a
// quality_score may be null, and times have to be times.
func (p sessionPlace) fits(sort store.SessionSort) bool {
	switch sort {
	case store.SortQualityScore:
		return true
	case store.SortStartedAt, store.SortLastActivityAt:
		return p.Value != nil && isMicros(*p.Value)
	}
	return p.Value != nil
}

func (s *server) listSessions(ctx context.Context, in *sessionsInput) (*answer[page[session]], error) {
	query, hash, err := in.query()
	if err != nil {
		return nil, err
	}
	return s.pageOfSessions(ctx, query, hash, in.Cursor, in.ReadParams)
}

// pageOfSessions is the page of a list, which has a hash, behind a cursor.
func (s *server) pageOfSessions(ctx context.Context, query store.SessionQuery, hash, after string, read ReadParams) (*answer[page[session]], error) {
	if after != "" {
		from, err := decodeCursor[sessionPlace](after, hash)
		if err != nil {
			return nil, err
		}
		if !from.Place.fits(query.Sort) {
			return nil, badParameter("cursor", "malformed: send a next_cursor as it came")
		}
		query.Now, query.After = fromMicros(from.Now), from.Place.ofStore()
	}
	if err := s.wait(ctx, read); err != nil {
		return nil, err
	}
	if query.After == nil {
		query.Now = s.now()
	}
	query.Agents = access.Of(ctx).Agents
	rows, behind, err := s.DB.Sessions(ctx, query)
	if err != nil {
		return nil, err
	}
	next := ""
	if behind != nil {
		next = cursor[sessionPlace]{cursorVersion, hash, query.Now.UnixMicro(), sessionPlaceOf(behind)}.encode()
	}
	if query.Keep {
		p := page[session]{own: &shownSessions{rows, query.Now}}
		return p.until(next), nil
	}
	return newPage(rows, func(row **store.SessionRow) session { return sessionAt(*row, query.Now) }, next), nil
}

// shownSessions are sessions as they are at a time. The JSON of those that are kept and
// closed, which stays as it is, is kept too.
type shownSessions struct {
	rows []*store.SessionRow
	now  time.Time
}

func (s *shownSessions) count() int { return len(s.rows) }

func (s *shownSessions) appendRows(b []byte) []byte {
	b = append(b, '[')
	for i, row := range s.rows {
		if i > 0 {
			b = append(b, ',')
		}
		b = s.append(b, row)
	}
	return append(b, ']')
}

func (s *shownSessions) append(b []byte, row *store.SessionRow) []byte {
	staysSo := row.Shown != nil && !s.now.Before(row.ClosesAt)
	if staysSo {
		if shown := row.Shown.Load(); shown != nil {
			return append(b, *shown...)
		}
	}
	at, begin := sessionAt(row, s.now), len(b)
	b = at.appendJSON(b)
	if staysSo {
		row.Shown.Store(new(bytes.Clone(b[begin:])))
	}
	return b
}

type sessionInput struct {
	ReadParams
	TableParams
	SessionID string    `path:"session_id" doc:"The sender's session, percent-encoded."`
	AgentID   string    `query:"agent_id" doc:"Sessions of this agent alone."`
	AsOf      asOfParam `query:"as_of" doc:"What was known at a moment: a log position, or a time (RFC 3339) by which events had been received. It is told anew, by the rules of today, from what had come by then. status is as it was then; for a position, at the receipt of its event."`
	Include   string    `query:"include" enum:"messages" doc:"messages: the first messages, too, 50 of them or fewer where they are long, as GET /sessions/{session_id}/messages has them. As JSON alone."`
}

// sessionList is a list that is not told in pages: it is short.
type sessionList struct {
	Data     []session     `json:"data" nullable:"false" doc:"Its sessions, in the order of started_at."`
	Messages *messageStart `json:"messages,omitempty" doc:"Where they are included: the messages of all its sessions together."`
	Echo
}

// messageStart is the first page of a transcript.
type messageStart struct {
	Data       []message `json:"data" nullable:"false" doc:"The messages, in the order in which they were said."`
	NextCursor *string   `json:"next_cursor" doc:"Send it as cursor to GET /sessions/{session_id}/messages, with the same agent_id and as_of, for the next page; null if there is none."`
	HasMore    bool      `json:"has_more" doc:"Whether there are more messages."`
}

func (l *sessionList) rows() *rows { return rowsOf(l.Data, nil, l.Query) }

func (in *sessionInput) formatParams() *FormatParams { return &FormatParams{Format: in.Format} }

func (in *sessionInput) seek(string) {}

func (s *server) sessionsOfID(ctx context.Context, in *sessionInput) (*answer[sessionList], error) {
	if in.Include != "" && in.Format != formatJSON {
		return nil, badParameter("include", "JSON alone has room for messages: ask GET /sessions/{session_id}/messages for them as "+in.Format)
	}
	if err := s.wait(ctx, in.ReadParams); err != nil {
		return nil, err
	}
	if in.AsOf.set {
		return s.sessionsAsOf(ctx, in)
	}
	rows, messages, err := s.sessionsNow(ctx, in)
	if err != nil {
		return nil, err
	}
	if len(rows) == 0 {
		return nil, newProblem(http.StatusNotFound, "there is no such session")
	}
	return sessionsAt(rows, s.now(), messages), nil
}

// sessionsNow are the sessions of a session_id, with their messages if these are
// included.
func (s *server) sessionsNow(ctx context.Context, in *sessionInput) (rows []store.SessionRow, messages *messageStart, err error) {
	query := in.query(ctx)
	if in.Include == "" {
		rows, err = s.DB.SessionsOfID(ctx, query.SessionID, query.AgentID, query.Agents...)
		return rows, nil, err
	}
	messages, err = in.begin(ctx, func(ctx context.Context, query store.TranscriptQuery) (first []store.Message, behind *store.EventPlace, err error) {
		if query.After != nil {
			return s.DB.Messages(ctx, query)
		}
		rows, first, behind, err = s.DB.SessionsAndMessages(ctx, query)
		return first, behind, err
	})
	return rows, messages, err
}

// query is what is asked of the log.
func (in *sessionInput) query(ctx context.Context) store.TranscriptQuery {
	return store.TranscriptQuery{
		SessionID: rapport.CleanText(in.SessionID), AgentID: rapport.CleanText(in.AgentID), Agents: access.Of(ctx).Agents, Limit: defaultLimit,
	}
}

// begin reads the first messages.
func (in *sessionInput) begin(ctx context.Context, read readPart[store.Message]) (*messageStart, error) {
	t := transcript{query: in.query(ctx)}
	t.isOf("messages", timeParam{}, &in.AsOf)
	p, err := pageOf(ctx, &t, read, messageBytes, messageOf)
	if err != nil {
		return nil, err
	}
	return &messageStart{p.Body.Data, p.Body.NextCursor, p.Body.HasMore}, nil
}

// sessionsAt are sessions as they are at a time.
func sessionsAt(rows []store.SessionRow, now time.Time, messages *messageStart) *answer[sessionList] {
	list := sessionList{Data: make([]session, len(rows)), Messages: messages}
	for i := range rows {
		list.Data[i] = sessionAt(&rows[i], now)
	}
	return &answer[sessionList]{Body: list}
}
