package dashboard

import (
	"net/url"
	"time"
)

// session is what the pages show of one; the names are the API's.
type session struct {
	AgentID           string     `json:"agent_id"`
	SessionID         string     `json:"session_id"`
	StartedAt         time.Time  `json:"started_at"`
	LastActivityAt    time.Time  `json:"last_activity_at"`
	ClosesAt          time.Time  `json:"closes_at"`
	Status            string     `json:"status"`
	EndReason         *string    `json:"end_reason"`
	DurationS         float64    `json:"duration_s"`
	ActiveS           float64    `json:"active_s"`
	EventCount        int64      `json:"event_count"`
	MessageCount      int64      `json:"message_count"`
	ErrorCount        int64      `json:"error_count"`
	UserMessageCount  int64      `json:"user_message_count"`
	AgentMessageCount int64      `json:"agent_message_count"`
	TurnCount         int64      `json:"turn_count"`
	AnsweredTurnCount int64      `json:"answered_turn_count"`
	ResponseMsMax     *int64     `json:"response_ms_max"`
	FirstResponseMs   *int64     `json:"first_response_ms"`
	AvgResponseS      *float64   `json:"avg_response_s"`
	QuickAnswerCount  int64      `json:"quick_answer_count"`
	RepeatCount       int64      `json:"repeat_count"`
	FrictionCount     int64      `json:"friction_count"`
	Sentiment         *float64   `json:"sentiment"`
	PeakParticipants  int64      `json:"peak_participants"`
	RoomName          string     `json:"room_name"`
	UserID            string     `json:"user_id"`
	Rating            *float64   `json:"rating"`
	EngagementTier    string     `json:"engagement_tier"`
	EngagementScore   float64    `json:"engagement_score"`
	QualityScore      *float64   `json:"quality_score"`
	LastPosition      int64      `json:"last_position"`
	ErasedAt          *time.Time `json:"erased_at"`
}

// Ended says how a session ended; empty while it is open.
func (s session) Ended() string {
	if s.EndReason == nil {
		return ""
	}
	return *s.EndReason
}

// Link is the URL of the session's page.
func (s session) Link(state State) string {
	return sessionLink(state, s.AgentID, s.SessionID, &s.StartedAt)
}

// TierName is the engagement tier in words.
func (s session) TierName() string { return tierNames[s.EngagementTier] }

// ErasedTime is when its content was erased; zero if it wasn't.
func (s session) ErasedTime() time.Time {
	if s.ErasedAt == nil {
		return time.Time{}
	}
	return *s.ErasedAt
}

// Visitor is what a session is called in a list.
func (s session) Visitor() string {
	if s.UserID != "" {
		return s.UserID
	}
	return s.SessionID
}

const sessionsPath = "/ui/sessions"

// sessionLink is the URL of a session's page.
func sessionLink(state State, agentID, sessionID string, startedAt *time.Time) string {
	started := ""
	if startedAt != nil {
		started = startedAt.UTC().Format(time.RFC3339Nano)
	}
	if sessionID == "." || sessionID == ".." { // which browsers take for folders
		return state.Link(sessionsPath, "session_id", sessionID)
	}
	return state.Link(sessionsPath+"/"+url.PathEscape(sessionID), "agent_id", agentID, "started_at", started)
}

// pathValue is a part of the path, as it was before it was percent-encoded.
func pathValue(r *Request, name string) string {
	value := r.PathValue(name)
	if r.URL.RawPath == "" {
		return value
	}
	if plain, err := url.PathUnescape(value); err == nil {
		return plain
	}
	return value
}
