package api

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"rapport"
	"rapport/store"
)

func (s *server) registerErasure() {
	change(s, huma.Operation{
		OperationID: "erase-session", Method: http.MethodDelete, Path: "/sessions/{session_id}", Tags: []string{"sessions"},
		Summary: "Erase what was said in the sessions of a session_id",
		Description: "Texts, bodies, names and headers go for good. Of each event a stub stays, which keeps its place and its time, and of each session its numbers. " +
			"What else comes of the time before is let go. It may be repeated: it then finds nothing more.",
	}, s.eraseSession)
}

type eraseInput struct {
	SessionID string `path:"session_id" doc:"Percent-encoded."`
	AgentID   string `query:"agent_id" doc:"Of this agent alone."`
	Reason    string `query:"reason" maxLength:"500" doc:"Why, for the record. It is kept: name nobody."`
}

type erased struct {
	Erasure       *int64 `json:"erasure" nullable:"true" doc:"Number of the erasure, as in the log's rapport.erased; null if there was nothing left to erase."`
	Conversations int64  `json:"conversations" doc:"Of which events were erased; one for each agent."`
	Events        int64  `json:"events" doc:"That became stubs."`
	Sessions      int64  `json:"sessions" doc:"That keep their numbers from now on."`
	DeadLetters   int64  `json:"dead_letters" doc:"That were deleted."`
	Deliveries    int64  `json:"deliveries" doc:"To destinations of the rules, that were deleted: waiting, under way, dead or done."`
	Quarantined   int64  `json:"quarantined" doc:"Bodies of the quarantine that mentioned the session_id, and were deleted."`
}

// foldPatience is for how long the sessions may take to be folded while somebody waits
// for the answer.
const foldPatience = 3 * time.Second

func (s *server) eraseSession(ctx context.Context, in *eraseInput) (*answer[erased], error) {
	plan, err := s.DB.PlanErasure(ctx, store.ErasureRequest{
		Kind: store.EraseSession, SessionID: rapport.CleanText(in.SessionID), AgentID: rapport.CleanText(in.AgentID),
		Reason: rapport.CleanText(in.Reason), By: actorOf(ctx), Patience: foldPatience,
	})
	if err != nil {
		return nil, err
	}
	if !plan.Known {
		return nil, newProblem(http.StatusNotFound, "there is no such session")
	}
	// Whoever asked may leave: it is not to be half done for that.
	done, err := s.DB.Erase(context.WithoutCancel(ctx), plan, nil)
	if errors.Is(err, store.ErrNotFolded) {
		return nil, newProblem(http.StatusConflict, "its events are not folded into sessions yet, whose numbers are to stay; ask again later")
	}
	if err != nil {
		return nil, err
	}
	body := erased{
		Conversations: done.Conversations, Events: done.Events, Sessions: done.Sessions, DeadLetters: done.DeadLetters,
		Deliveries: done.Deliveries, Quarantined: done.Quarantined,
	}
	if done.ID != 0 {
		body.Erasure = &done.ID
	}
	return &answer[erased]{Body: body}, nil
}
