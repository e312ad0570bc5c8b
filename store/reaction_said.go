package store

import (
	"context"
	"time"

	"rapport/store/internal/dbsqlc"
)

// SaidMessage is what a user said.
type SaidMessage struct {
	Position int64
	At       time.Time // in a session its occurred_at, of a user its receipt
	Text     string
}

// SaidInSessions is, of each session, what users said in it up to where the step begins:
// the newest limit of each, in the order of the log.
func (tx *ReactionTx) SaidInSessions(ctx context.Context, sessions []TalkSpan, limit int) ([][]SaidMessage, error) {
	said := make([][]SaidMessage, len(sessions))
	if len(sessions) == 0 {
		return said, nil
	}
	params := dbsqlc.ReactionSaidInSessionsParams{UpTo: tx.Position, MaxMessages: int32(limit)}
	params.Ns, params.AgentIds, params.SessionIds, params.Sinces, params.Untils = spans(sessions)
	rows, err := tx.q.ReactionSaidInSessions(ctx, params)
	for _, row := range rows {
		said[row.N] = append(said[row.N], SaidMessage{row.Position, row.OccurredAt, row.Message})
	}
	return said, err
}

// ownSessions is how long before its messages were received a session of a user may have
// started, for them to be found.
const ownSessions = 7 * 24 * time.Hour

// SaidByUsers is what each of some users said, received since a time, up to where the step
// begins: the newest limit of each, in the order of the log.
func (tx *ReactionTx) SaidByUsers(ctx context.Context, users []string, since time.Time, limit int) ([][]SaidMessage, error) {
	said := make([][]SaidMessage, len(users))
	if len(users) == 0 {
		return said, nil
	}
	params := dbsqlc.ReactionSaidByUsersParams{
		UserIds: users, StartedSince: since.Add(-ownSessions), ReceivedSince: since, UpTo: tx.Position, MaxMessages: int32(limit),
	}
	for i := range users {
		params.Ns = append(params.Ns, int64(i))
	}
	rows, err := tx.q.ReactionSaidByUsers(ctx, params)
	for _, row := range rows {
		said[row.N] = append(said[row.N], SaidMessage{row.Position, row.ReceivedAt, row.Message})
	}
	return said, err
}

// OpenSessions is how many sessions of an agent are open.
type OpenSessions struct {
	Sessions     int64
	Participants int64 // the sum of their peak_participants
}

// OpenAt are the sessions that were open at a time, by agent.
func (tx *ReactionTx) OpenAt(ctx context.Context, at time.Time) (map[string]OpenSessions, error) {
	rows, err := tx.q.ReactionOpenSessions(ctx, at)
	open := make(map[string]OpenSessions, len(rows))
	for _, row := range rows {
		open[row.AgentID] = OpenSessions{row.Sessions, row.Participants}
	}
	return open, err
}
