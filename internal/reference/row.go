package reference

import (
	"math/big"
	"time"

	"rapport"
)

// Row is a session as GET /sessions shows it: the same names, the same JSON.
// Times are RFC 3339 in UTC with six decimals; what may be null is a pointer.
type Row struct {
	AgentID           string   `json:"agent_id"`
	SessionID         string   `json:"session_id"`
	StartedAt         string   `json:"started_at"`
	LastActivityAt    string   `json:"last_activity_at"`
	ClosesAt          string   `json:"closes_at"`
	Status            string   `json:"status"`
	EndReason         *string  `json:"end_reason"`
	DurationS         float64  `json:"duration_s"`
	ActiveS           float64  `json:"active_s"`
	EventCount        int      `json:"event_count"`
	JoinCount         int      `json:"join_count"`
	MessageCount      int      `json:"message_count"`
	ErrorCount        int      `json:"error_count"`
	UserMessageCount  int      `json:"user_message_count"`
	AgentMessageCount int      `json:"agent_message_count"`
	UserCharCount     int      `json:"user_char_count"`
	AgentCharCount    int      `json:"agent_char_count"`
	TurnCount         int      `json:"turn_count"`
	AnsweredTurnCount int      `json:"answered_turn_count"`
	ResponseMSTotal   *int64   `json:"response_ms_total"`
	ResponseMSMax     *int64   `json:"response_ms_max"`
	FirstResponseMS   *int64   `json:"first_response_ms"`
	AvgResponseS      *float64 `json:"avg_response_s"`
	QuickAnswerCount  int      `json:"quick_answer_count"`
	RepeatCount       int      `json:"repeat_count"`
	FrictionCount     int      `json:"friction_count"`
	Sentiment         *float64 `json:"sentiment"`
	PeakParticipants  int32    `json:"peak_participants"`
	RoomName          string   `json:"room_name"`
	UserID            string   `json:"user_id"`
	Rating            *float64 `json:"rating"`
	EngagementTier    string   `json:"engagement_tier"`
	EngagementScore   float64  `json:"engagement_score"`
	QualityScore      *float64 `json:"quality_score"`
	ScoreVersion      int      `json:"score_version"`
	FirstPosition     int64    `json:"first_position"`
	LastPosition      int64    `json:"last_position"`
	ErasedAt          *string  `json:"erased_at"` // never: what was erased can't be computed
}

// window is one session's events in order, each once. It is never empty.
type window []rapport.Event

func row(w window, settings rapport.Settings, now time.Time) Row {
	closesAt := closesAt(w, settings)
	closed := !now.Before(closesAt)
	return Row{
		AgentID:           w[0].AgentID,
		SessionID:         w[0].SessionID,
		StartedAt:         timestamp(startedAt(w)),
		LastActivityAt:    timestamp(lastActivityAt(w)),
		ClosesAt:          timestamp(closesAt),
		Status:            status(closed),
		EndReason:         endReason(w, closed),
		DurationS:         seconds(durationMS(w)),
		ActiveS:           seconds(activeMS(w, settings)),
		EventCount:        len(w),
		JoinCount:         len(ofType(w, rapport.RoomJoin)),
		MessageCount:      len(ofType(w, rapport.ChatPush)),
		ErrorCount:        len(ofType(w, rapport.AgentError)),
		UserMessageCount:  len(messagesOf(w, rapport.RoleUser)),
		AgentMessageCount: len(messagesOf(w, rapport.RoleAgent)),
		UserCharCount:     charCount(messagesOf(w, rapport.RoleUser)),
		AgentCharCount:    charCount(messagesOf(w, rapport.RoleAgent)),
		TurnCount:         len(turns(w)),
		AnsweredTurnCount: len(responses(w)),
		ResponseMSTotal:   responseMSTotal(w),
		ResponseMSMax:     responseMSMax(w),
		FirstResponseMS:   firstResponseMS(w),
		AvgResponseS:      avgResponseS(w),
		QuickAnswerCount:  quickAnswerCount(w, settings),
		RepeatCount:       repeatCount(w),
		FrictionCount:     frictionCount(w, settings),
		Sentiment:         sentiment(w),
		PeakParticipants:  peakParticipants(w),
		RoomName:          roomName(w),
		UserID:            userID(w),
		Rating:            rating(w),
		EngagementTier:    engagementTier(w),
		EngagementScore:   engagementScore(w, settings),
		QualityScore:      qualityScore(w, settings),
		ScoreVersion:      settings.ScoreVersion,
		FirstPosition:     firstPosition(w),
		LastPosition:      lastPosition(w),
	}
}

func timestamp(t time.Time) string {
	return t.UTC().Format("2006-01-02T15:04:05.000000Z")
}

func seconds(ms int64) float64 {
	return float(big.NewRat(ms, 1000))
}
