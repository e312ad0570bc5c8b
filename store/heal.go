package store

import (
	"context"
	"fmt"

	"rapport"
	"rapport/store/internal/dbsqlc"
)

// AgentOfSession is the agent_id under which the log has what was delivered of a
// session: the one given if that is among them, or the only one. The one given is
// right too where nothing was delivered. ok is false if there are several others.
func (db *DB) AgentOfSession(ctx context.Context, sessionID, agentID string) (name string, ok bool, err error) {
	known, err := db.q.DeliveredExistsOfSession(ctx, dbsqlc.DeliveredExistsOfSessionParams{SessionID: sessionID, AgentID: agentID})
	if err != nil || known {
		return agentID, true, wrapHeal(err)
	}
	agents, err := db.q.DeliveredAgentList(ctx, dbsqlc.DeliveredAgentListParams{SessionID: sessionID, MaxRows: 2})
	switch {
	case err != nil:
		return "", false, wrapHeal(err)
	case len(agents) == 1:
		return agents[0], true, nil
	default:
		return agentID, len(agents) == 0, nil
	}
}

// MessagesWithin are the messages of a conversation within a span, ends included,
// in no particular order. Of each there is what pairing looks at (see
// rapport.Missing), its text cut to maxChars code points.
func (db *DB) MessagesWithin(ctx context.Context, of Conversation, span Span, maxChars int) ([]*rapport.Event, error) {
	rows, err := db.q.HealMessageList(ctx, dbsqlc.HealMessageListParams{
		SessionID: of.SessionID, AgentID: of.AgentID, Since: span.StartedAt, Until: span.LastEventAt,
		MaxChars: int32(maxChars),
	})
	if err != nil {
		return nil, wrapHeal(err)
	}
	messages := make([]*rapport.Event, len(rows))
	for i, row := range rows {
		messages[i] = &rapport.Event{
			Type: rapport.ChatPush, AgentID: of.AgentID, SessionID: of.SessionID, OccurredAt: row.OccurredAt, Role: row.Role,
			Text: row.Message, Fingerprint: rapport.Fingerprint(row.Fingerprint), HealedFrom: row.HealedFrom,
		}
	}
	return messages, nil
}

func wrapHeal(err error) error {
	if err != nil {
		return fmt.Errorf("reading the messages of a session: %w", err)
	}
	return nil
}
