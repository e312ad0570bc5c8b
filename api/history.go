package api

import (
	"bytes"
	"context"
	"encoding/json"
	"reflect"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"rapport"
	"rapport/api/access"
	"rapport/store"
)

func (s *server) registerHistory() {
	list(s, huma.Operation{
		OperationID: "list-history", Path: "/sessions/{session_id}/history", Tags: []string{"sessions"}, Errors: asOfErrors,
		Summary: "Explain the numbers of a session_id",
		Description: "Its events in the order in which they were kept, and what each of them changed in which session: the changes add up to what the sessions are now. " +
			"A late event may lengthen a session, begin one, join two or cut one. It is told by the rules of today, and up to what the rollups contain. " +
			"What was erased, or is too old, is passed over; 410 if there is nothing else.",
	}, s.listHistory)
}

// told is an event, and what its arrival changed.
type told struct {
	Position   int64           `json:"position" doc:"Place in the log."`
	OccurredAt timestamp       `json:"occurred_at" doc:"When it happened, by the sender's clock."`
	ReceivedAt timestamp       `json:"received_at" doc:"When it was received, by the server's clock."`
	EventType  string          `json:"event_type" doc:"Its type, such as chat.push."`
	Role       string          `json:"role" doc:"Who spoke, of a chat.push."`
	AgentID    string          `json:"agent_id" doc:"The agent."`
	SessionID  string          `json:"session_id" doc:"The sender's session."`
	LeftOut    *string         `json:"left_out" enum:"probe,dead_letter,superseded" nullable:"true" doc:"Why it counts in no session: it is a test or ping of the sender, could not be folded, or was healed although its delivery was there. Null where it counts."`
	Sessions   []sessionChange `json:"sessions" nullable:"false" doc:"The sessions that it changed, in the order of time."`
}

// sessionChange is what became of a session.
type sessionChange struct {
	StartedAt timestamp   `json:"started_at" doc:"started_at of the session, after the change."`
	Change    string      `json:"change" enum:"began,grew,moved,merged,cut,vanished" doc:"began: it is new. grew: it was there already. moved: it began later before. merged: it was several. cut: it was the end of another one. vanished: nothing of it is left."`
	Replaces  []timestamp `json:"replaces" nullable:"false" doc:"Where it moved or merged: started_at of the sessions that it was before, and that are no more."`
	CutFrom   *timestamp  `json:"cut_from" nullable:"true" doc:"Where it was cut: started_at of the session that it was the end of."`
	Changes   changes     `json:"changes" doc:"What changed, by the names of a session: from what to what. Of several sessions that merged, from what the earliest one had. status and the end_reason idle depend on the reader's time, and are not told."`
}

// changes are what changed, in the order of a session's fields.
type changes []fieldChange

type fieldChange struct {
	name     string
	from, to json.RawMessage
}

// MarshalJSON writes an object of pairs.
func (c changes) MarshalJSON() ([]byte, error) {
	text := []byte{'{'}
	for i, f := range c {
		if i > 0 {
			text = append(text, ',')
		}
		name, err := json.Marshal(f.name)
		if err != nil {
			return nil, err
		}
		text = append(append(text, name...), ":["...)
		text = append(append(append(text, f.from...), ','), f.to...)
		text = append(text, ']')
	}
	return append(text, '}'), nil
}

// Schema describes it to huma.
func (changes) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{
		Type:                 huma.TypeObject,
		AdditionalProperties: &huma.Schema{Type: huma.TypeArray, MinItems: new(2), MaxItems: new(2), Items: &huma.Schema{}},
		Examples:             []any{map[string]any{"message_count": []any{3, 4}}},
	}
}

// untold are the fields of a session that no event changes by itself, or that tell
// only what the row of the event tells already.
var untold = map[string]bool{
	"agent_id": true, "session_id": true, "started_at": true, "status": true, "score_version": true,
	"first_position": true, "last_position": true, "erased_at": true,
}

// numbersOf is a session as its history tells it: never closed by the time alone.
func numbersOf(row *store.SessionRow) session {
	shown := sessionAt(row, time.Time{})
	if !row.EndedAt.IsZero() {
		shown.EndReason = new(row.EndReason)
	}
	return shown
}

// changesBetween compares the fields of a session. One that began had nothing before,
// of which numbers are 0.
func changesBetween(before, after *store.SessionRow) (changes, error) {
	from, to := reflect.ValueOf(session{}), reflect.ValueOf(numbersOf(after))
	if before != nil {
		from = reflect.ValueOf(numbersOf(before))
	}
	var changed changes
	for i := range to.NumField() {
		name, _, _ := strings.Cut(to.Type().Field(i).Tag.Get("json"), ",")
		if untold[name] {
			continue
		}
		a, err := json.Marshal(from.Field(i).Interface())
		if err != nil {
			return nil, err
		}
		b, err := json.Marshal(to.Field(i).Interface())
		if err != nil {
			return nil, err
		}
		if before == nil && a[0] == '"' {
			a = []byte("null")
			if string(b) == `""` {
				continue
			}
		}
		if !bytes.Equal(a, b) {
			changed = append(changed, fieldChange{name, a, b})
		}
	}
	return changed, nil
}

func changeOf(c *store.SessionChange) (sessionChange, error) {
	if c.After == nil {
		return sessionChange{StartedAt: timestamp(c.Before.StartedAt), Change: "vanished", Replaces: []timestamp{}}, nil
	}
	shown := sessionChange{StartedAt: timestamp(c.After.StartedAt), Change: "grew", Replaces: make([]timestamp, len(c.Replaces))}
	for i, at := range c.Replaces {
		shown.Replaces[i] = timestamp(at)
	}
	switch {
	case c.Before == nil && !c.CutFrom.IsZero():
		shown.Change, shown.CutFrom = "cut", new(timestamp(c.CutFrom))
	case c.Before == nil:
		shown.Change = "began"
	case len(c.Replaces) > 1 || len(c.Replaces) == 1 && c.Before.StartedAt.Equal(c.After.StartedAt):
		shown.Change = "merged"
	case len(c.Replaces) == 1:
		shown.Change = "moved"
	}
	var err error
	shown.Changes, err = changesBetween(c.Before, c.After)
	return shown, err
}

func toldOf(t *store.Told) (told, error) {
	e := t.Event
	shown := told{
		Position: e.Position, OccurredAt: timestamp(e.OccurredAt), ReceivedAt: timestamp(e.ReceivedAt), EventType: e.Type,
		Role: e.Role, AgentID: e.AgentID, SessionID: e.SessionID, Sessions: []sessionChange{},
	}
	switch {
	case !e.InSession():
		shown.LeftOut = new("probe")
	case t.Aside:
		shown.LeftOut = new("dead_letter")
	case t.Replaced:
		shown.LeftOut = new("superseded")
	}
	for _, c := range t.Changes {
		change, err := changeOf(&c)
		if err != nil {
			return told{}, err
		}
		shown.Sessions = append(shown.Sessions, change)
	}
	return shown, nil
}

type historyInput struct {
	ReadParams
	PageParams
	SessionID string `path:"session_id" doc:"Percent-encoded."`
	AgentID   string `query:"agent_id" doc:"The agent; needed if several have such a session_id."`
}

// historyPlace is behind which event a page begins.
type historyPlace struct {
	Position int64 `json:"p"`
}

func (p historyPlace) isValid() bool { return p.Position > 0 }

func (s *server) listHistory(ctx context.Context, in *historyInput) (*answer[page[told]], error) {
	of := store.TranscriptQuery{
		SessionID: rapport.CleanText(in.SessionID), AgentID: rapport.CleanText(in.AgentID), Agents: access.Of(ctx).Agents,
	}
	hash, err := listHash("history", of.SessionID, of.AgentID)
	if err != nil {
		return nil, err
	}
	var from cursor[historyPlace]
	if in.Cursor != "" {
		if from, err = decodeCursor[historyPlace](in.Cursor, hash); err != nil {
			return nil, err
		}
	}
	if err := s.wait(ctx, in.ReadParams); err != nil {
		return nil, err
	}
	agent, err := s.agentOf(ctx, &of)
	if err != nil {
		return nil, err
	}
	rows, behind, err := s.DB.History(ctx, store.HistoryQuery{
		Conversation: store.Conversation{AgentID: agent, SessionID: of.SessionID}, After: from.Place.Position, Limit: in.Limit,
	})
	if err != nil {
		return nil, asOfProblem(err)
	}
	next := ""
	if behind > 0 {
		next = cursor[historyPlace]{Version: cursorVersion, List: hash, Place: historyPlace{behind}}.encode()
	}
	return historyPage(rows, next)
}

// agentOf is the one agent that has a query's session_id.
func (s *server) agentOf(ctx context.Context, of *store.TranscriptQuery) (string, error) {
	agents, err := s.DB.AgentsOfSession(ctx, of)
	switch {
	case err != nil:
		return "", err
	case len(agents) > 1:
		return "", badParameter("agent_id", "needed: several agents have such a session_id")
	case len(agents) == 1:
		return agents[0], nil
	}
	if err := s.exists(ctx, &transcript{query: *of}, 0); err != nil {
		return "", err
	}
	return "", asOfProblem(store.ErrGone) // there is a session, and none of its events
}

func historyPage(rows []store.Told, next string) (*answer[page[told]], error) {
	shown := make([]told, len(rows))
	for i := range rows {
		var err error
		if shown[i], err = toldOf(&rows[i]); err != nil {
			return nil, err
		}
	}
	return newPage(shown, func(t *told) told { return *t }, next), nil
}
