package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"rapport/api/access"
	"rapport/store"
)

func (s *server) registerUsers() {
	list(s, huma.Operation{
		OperationID: "list-user-sessions", Path: "/users/{user_id}/sessions", Tags: []string{"sessions"},
		Summary:     "List the sessions of a visitor",
		Description: "As GET /sessions, for one user_id: the first that a session told. 404 if there is no session of such a visitor at all.",
	}, s.listUserSessions)
}

type userSessionsInput struct {
	ReadParams
	PageParams
	UserID  string    `path:"user_id" doc:"Percent-encoded."`
	From    timeParam `query:"from" doc:"Sessions that started then or later; RFC 3339."`
	To      timeParam `query:"to" doc:"Sessions that started before; RFC 3339."`
	AgentID string    `query:"agent_id" doc:"Sessions of this agent alone." example:"agent-7"`
	Status  string    `query:"status" enum:"open,closed" doc:"Sessions that are open, or closed, at the time of the first page."`
	Sort    string    `query:"sort" default:"-started_at" enum:"started_at,-started_at" doc:"- is descending."`
}

func (s *server) listUserSessions(ctx context.Context, in *userSessionsInput) (*answer[page[session]], error) {
	of := sessionsInput{
		UserID: in.UserID, From: in.From, To: in.To, AgentID: in.AgentID, Status: in.Status, Sort: in.Sort, PageParams: in.PageParams,
	}
	query, hash, err := of.query()
	if err != nil {
		return nil, err
	}
	out, err := s.pageOfSessions(ctx, query, hash, in.Cursor, in.ReadParams)
	if err != nil || out.Body.count() > 0 || in.Cursor != "" {
		return out, err
	}
	return out, s.userExists(ctx, query.UserID)
}

// userExists is a 404 for a visitor of whom the reader sees no session.
func (s *server) userExists(ctx context.Context, userID string) error {
	rows, _, err := s.DB.Sessions(ctx, store.SessionQuery{
		UserID: userID, Agents: access.Of(ctx).Agents, Sort: store.SortStartedAt, Limit: 1,
	})
	if err == nil && len(rows) == 0 {
		return newProblem(http.StatusNotFound, "there are no sessions of such a visitor")
	}
	return err
}
