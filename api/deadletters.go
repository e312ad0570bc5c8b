package api

import (
	"context"
	"net/http"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"rapport/api/access"
	"rapport/store"
)

func (s *server) registerDeadLetters() {
	list(s, huma.Operation{
		OperationID: "list-dead-letters", Path: "/dead-letters", Tags: []string{"operating"},
		Summary:     "List the dead letters",
		Description: "Events that could not be folded into their session, and were put aside so that the others go on. They are in the log all the same. The newest events first.",
	}, s.listDeadLetters)
	change(s, huma.Operation{
		OperationID: "retry-dead-letter", Path: "/dead-letters/{position}/retry", Tags: []string{"operating"},
		Summary:     "Try a dead letter again",
		Description: "Soon after the answer it is folded like an event that comes late. If that fails again, it is a dead letter again, with one attempt more.",
	}, s.retryDeadLetter)
	change(s, huma.Operation{
		OperationID: "retry-dead-letters", Path: "/dead-letters/retry", Tags: []string{"operating"},
		Summary: "Try all dead letters again",
	}, s.retryDeadLetters)
}

type deadLetter struct {
	Follower  string    `json:"follower" doc:"Who could not take it: sessions."`
	Position  int64     `json:"position" doc:"Its place in the log."`
	AgentID   string    `json:"agent_id" doc:"Its agent."`
	SessionID string    `json:"session_id" doc:"Its session_id."`
	EventType string    `json:"event_type" doc:"Its type, such as chat.push."`
	Reason    string    `json:"reason" doc:"Why it could not be taken, the last time."`
	Attempts  int       `json:"attempts" doc:"How often it was tried."`
	FailedAt  timestamp `json:"failed_at" doc:"When it failed last."`
	Retry     bool      `json:"retry" doc:"It is about to be tried again."`
}

func deadLetterOf(l *store.DeadLetter) deadLetter {
	return deadLetter{
		Follower: l.Follower, Position: l.Position, AgentID: l.AgentID, SessionID: l.SessionID, EventType: l.EventType,
		Reason: l.Reason, Attempts: l.Attempts, FailedAt: timestamp(l.FailedAt), Retry: l.Retry,
	}
}

type deadLettersInput struct {
	ReadParams
	PageParams
}

// deadLetterPlace is behind which dead letter a page begins.
type deadLetterPlace struct {
	Position int64  `json:"p"`
	Follower string `json:"f"`
}

func (p deadLetterPlace) isValid() bool { return p.Position > 0 && isClean(p.Follower) }

func (s *server) listDeadLetters(ctx context.Context, in *deadLettersInput) (*answer[page[deadLetter]], error) {
	hash, err := listHash("dead-letters")
	if err != nil {
		return nil, err
	}
	var from cursor[deadLetterPlace]
	if in.Cursor != "" {
		if from, err = decodeCursor[deadLetterPlace](in.Cursor, hash); err != nil {
			return nil, err
		}
	}
	if err := s.wait(ctx, in.ReadParams); err != nil {
		return nil, err
	}
	letters, err := s.DB.DeadLetterList(ctx, from.Place.Position, from.Place.Follower, in.Limit+1, access.Of(ctx).Agents...) // one more, to know of more
	if err != nil {
		return nil, err
	}
	next := ""
	if len(letters) > in.Limit {
		letters = letters[:in.Limit]
		last := letters[in.Limit-1]
		next = cursor[deadLetterPlace]{
			Version: cursorVersion, List: hash, Place: deadLetterPlace{last.Position, last.Follower},
		}.encode()
	}
	return newPage(letters, deadLetterOf, next), nil
}

type deadLetterInput struct {
	Position positionParam `path:"position" doc:"Of the dead letter, in the log."`
}

// positionParam is a log position in a path, 0 if it is none: nothing is there.
type positionParam int64

// UnmarshalText reads the parameter.
func (p *positionParam) UnmarshalText(text []byte) error {
	n, err := strconv.ParseInt(string(text), 10, 64)
	if err == nil {
		*p = positionParam(n)
	}
	return nil
}

// Schema describes it to huma.
func (positionParam) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeInteger, Format: "int64", Minimum: new(1.0)}
}

type retrying struct {
	Retrying int64 `json:"retrying" doc:"How many dead letters are tried again for this request."`
}

func (s *server) retryDeadLetter(ctx context.Context, in *deadLetterInput) (*answer[retrying], error) {
	found, err := s.DB.RetryDeadLetters(ctx, []int64{int64(in.Position)}, actorOf(ctx))
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, newProblem(http.StatusNotFound, "there is no dead letter at this position")
	}
	return &answer[retrying]{Body: retrying{int64(len(found))}}, nil
}

func (s *server) retryDeadLetters(ctx context.Context, _ *struct{}) (*answer[retrying], error) {
	n, err := s.DB.RetryAllDeadLetters(ctx, actorOf(ctx))
	if err != nil {
		return nil, err
	}
	return &answer[retrying]{Body: retrying{n}}, nil
}
