package store

import (
	"time"

	"rapport"
	"rapport/store/internal/dbsqlc"
)

// sessionRow and sessionOf are the two ways between a session and its row.

func sessionRow(s *rapport.Session, idleTimeout time.Duration) dbsqlc.Session {
	row := dbsqlc.Session{
		AgentID: s.AgentID, SessionID: s.SessionID, StartedAt: s.StartedAt, LastActivityAt: s.LastActivityAt,
		LastEventAt: s.LastEventAt, ClosesAt: s.ClosesAt(idleTimeout), EndedAt: orNull(s.EndedAt),
		EndReason: s.EndReason, EventCount: s.EventCount, EndCount: s.EndCount, JoinCount: s.JoinCount,
		ErrorCount: s.ErrorCount, MessageCount: s.MessageCount, UserMessageCount: s.UserMessageCount,
		AgentMessageCount: s.AgentMessageCount, UserCharCount: s.UserCharCount, AgentCharCount: s.AgentCharCount,
		DurationMs: s.DurationMs(), ActiveUs: s.ActiveUs, TurnCount: s.TurnCount,
		AnsweredTurnCount: s.AnsweredTurnCount, QuickAnswerCount: s.QuickAnswerCount,
		ResponseMsTotal: s.ResponseMsTotal, ResponseMsMax: s.ResponseMsMax, FirstResponseMs: s.FirstResponseMs,
		AwaitsAnswer: s.AwaitsAnswer, LastUserMessageAt: orNull(s.LastUserMessageAt), RepeatCount: s.RepeatCount,
		FrictionCount: s.FrictionCount, SentimentSum: s.SentimentSum, PeakParticipants: s.PeakParticipants,
		RoomName: s.RoomName, UserID: s.UserID, Rating: s.Rating, EngagementTier: s.EngagementTier(),
		EngagementTenths: s.EngagementScore(), ScoreVersion: int32(s.ScoreVersion),
		FirstPosition: s.FirstPosition, LastPosition: s.LastPosition, HealedUntil: orNull(s.HealedUntil),
		ErasedAt: orNull(s.ErasedAt),
	}
	if quality, ok := s.QualityScore(); ok {
		row.QualityTenths = &quality
	}
	return row
}

func sessionOf(row dbsqlc.Session) rapport.Session {
	return rapport.Session{
		AgentID: row.AgentID, SessionID: row.SessionID, StartedAt: row.StartedAt, LastActivityAt: row.LastActivityAt,
		LastEventAt: row.LastEventAt, EndedAt: orZero(row.EndedAt), EndReason: row.EndReason,
		EventCount: row.EventCount, EndCount: row.EndCount, JoinCount: row.JoinCount, ErrorCount: row.ErrorCount,
		MessageCount: row.MessageCount, UserMessageCount: row.UserMessageCount,
		AgentMessageCount: row.AgentMessageCount, UserCharCount: row.UserCharCount,
		AgentCharCount: row.AgentCharCount, ActiveUs: row.ActiveUs, TurnCount: row.TurnCount,
		AnsweredTurnCount: row.AnsweredTurnCount, QuickAnswerCount: row.QuickAnswerCount,
		ResponseMsTotal: row.ResponseMsTotal, ResponseMsMax: row.ResponseMsMax, FirstResponseMs: row.FirstResponseMs,
		AwaitsAnswer: row.AwaitsAnswer, LastUserMessageAt: orZero(row.LastUserMessageAt), RepeatCount: row.RepeatCount,
		FrictionCount: row.FrictionCount, SentimentSum: row.SentimentSum, PeakParticipants: row.PeakParticipants,
		RoomName: row.RoomName, UserID: row.UserID, Rating: row.Rating, ScoreVersion: int(row.ScoreVersion),
		FirstPosition: row.FirstPosition, LastPosition: row.LastPosition, HealedUntil: orZero(row.HealedUntil),
		ErasedAt: orZero(row.ErasedAt),
	}
}

func orNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func orZero(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return *t
}
