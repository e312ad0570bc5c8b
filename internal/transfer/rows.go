package transfer

import (
	"encoding/hex"
	"encoding/json"
	"time"
	"unicode/utf8"

	"rapport"
	"rapport/store"
)

// The rows of an export have the columns of the views of analytics, by the same names.
// A pointer is null where SQL has null.

// sessionRow is a session, with the status that it had when the export began.
type sessionRow struct {
	AgentID           string     `json:"agent_id" parquet:"agent_id,dict"`
	SessionID         string     `json:"session_id" parquet:"session_id"`
	StartedAt         time.Time  `json:"started_at" parquet:"started_at,timestamp(microsecond)"`
	LastActivityAt    time.Time  `json:"last_activity_at" parquet:"last_activity_at,timestamp(microsecond)"`
	ClosesAt          time.Time  `json:"closes_at" parquet:"closes_at,timestamp(microsecond)"`
	Status            string     `json:"status" parquet:"status,dict"`
	EndReason         *string    `json:"end_reason" parquet:"end_reason,optional,dict"`
	DurationS         float64    `json:"duration_s" parquet:"duration_s"`
	ActiveS           float64    `json:"active_s" parquet:"active_s"`
	EventCount        int64      `json:"event_count" parquet:"event_count"`
	JoinCount         int64      `json:"join_count" parquet:"join_count"`
	MessageCount      int64      `json:"message_count" parquet:"message_count"`
	ErrorCount        int64      `json:"error_count" parquet:"error_count"`
	UserMessageCount  int64      `json:"user_message_count" parquet:"user_message_count"`
	AgentMessageCount int64      `json:"agent_message_count" parquet:"agent_message_count"`
	UserCharCount     int64      `json:"user_char_count" parquet:"user_char_count"`
	AgentCharCount    int64      `json:"agent_char_count" parquet:"agent_char_count"`
	TurnCount         int64      `json:"turn_count" parquet:"turn_count"`
	AnsweredTurnCount int64      `json:"answered_turn_count" parquet:"answered_turn_count"`
	ResponseMsTotal   *int64     `json:"response_ms_total" parquet:"response_ms_total,optional"`
	ResponseMsMax     *int64     `json:"response_ms_max" parquet:"response_ms_max,optional"`
	FirstResponseMs   *int64     `json:"first_response_ms" parquet:"first_response_ms,optional"`
	AvgResponseS      *float64   `json:"avg_response_s" parquet:"avg_response_s,optional"`
	QuickAnswerCount  int64      `json:"quick_answer_count" parquet:"quick_answer_count"`
	RepeatCount       int64      `json:"repeat_count" parquet:"repeat_count"`
	FrictionCount     int64      `json:"friction_count" parquet:"friction_count"`
	Sentiment         *float64   `json:"sentiment" parquet:"sentiment,optional"`
	PeakParticipants  int32      `json:"peak_participants" parquet:"peak_participants"`
	RoomName          string     `json:"room_name" parquet:"room_name"`
	UserID            string     `json:"user_id" parquet:"user_id"`
	Rating            *float64   `json:"rating" parquet:"rating,optional"`
	EngagementTier    string     `json:"engagement_tier" parquet:"engagement_tier,dict"`
	EngagementScore   float64    `json:"engagement_score" parquet:"engagement_score"`
	QualityScore      *float64   `json:"quality_score" parquet:"quality_score,optional"`
	ScoreVersion      int32      `json:"score_version" parquet:"score_version"`
	FirstPosition     int64      `json:"first_position" parquet:"first_position"`
	LastPosition      int64      `json:"last_position" parquet:"last_position"`
	ErasedAt          *time.Time `json:"erased_at" parquet:"erased_at,optional,timestamp(microsecond)"`
}

// decimals is an integer of which so many parts make one: the nearest float64 shows
// the same digits.
func decimals(n, parts int64) float64 { return float64(n) / float64(parts) }

func sessionRowOf(s *store.SessionRow, now time.Time) sessionRow {
	row := sessionRow{
		AgentID: s.AgentID, SessionID: s.SessionID, StartedAt: s.StartedAt, LastActivityAt: s.LastActivityAt,
		ClosesAt: s.ClosesAt, Status: "open", DurationS: decimals(s.DurationMs(), 1000), ActiveS: decimals(s.ActiveMs(), 1000),
		EventCount: s.EventCount, JoinCount: s.JoinCount, MessageCount: s.MessageCount, ErrorCount: s.ErrorCount,
		UserMessageCount: s.UserMessageCount, AgentMessageCount: s.AgentMessageCount, UserCharCount: s.UserCharCount,
		AgentCharCount: s.AgentCharCount, TurnCount: s.TurnCount, AnsweredTurnCount: s.AnsweredTurnCount,
		QuickAnswerCount: s.QuickAnswerCount, RepeatCount: s.RepeatCount, FrictionCount: s.FrictionCount,
		PeakParticipants: s.PeakParticipants, RoomName: s.RoomName, UserID: s.UserID, Rating: s.Rating,
		EngagementTier: s.EngagementTier(), EngagementScore: decimals(s.EngagementScore(), 10),
		ScoreVersion: int32(s.ScoreVersion), FirstPosition: s.FirstPosition, LastPosition: s.LastPosition,
	}
	if !s.ErasedAt.IsZero() {
		row.ErasedAt = &s.ErasedAt
	}
	if !now.Before(s.ClosesAt) {
		row.Status, row.EndReason = "closed", new(rapport.EndReasonIdle)
		if !s.EndedAt.IsZero() {
			row.EndReason = &s.EndReason
		}
	}
	if s.AnsweredTurnCount > 0 {
		row.ResponseMsTotal, row.ResponseMsMax, row.FirstResponseMs = &s.ResponseMsTotal, &s.ResponseMsMax, &s.FirstResponseMs
		row.AvgResponseS = new(decimals(s.AvgResponseMs(), 1000))
	}
	if s.UserMessageCount > 0 {
		row.Sentiment = new(decimals(s.SentimentMean(), 1000))
	}
	if quality, ok := s.QualityScore(); ok {
		row.QualityScore = new(decimals(quality, 10))
	}
	return row
}

// messageRow is a message.
type messageRow struct {
	Position    int64      `json:"position" parquet:"position"`
	AgentID     string     `json:"agent_id" parquet:"agent_id,dict"`
	SessionID   string     `json:"session_id" parquet:"session_id,dict"`
	StartedAt   *time.Time `json:"started_at" parquet:"started_at,optional,timestamp(microsecond)"`
	OccurredAt  time.Time  `json:"occurred_at" parquet:"occurred_at,timestamp(microsecond)"`
	Role        string     `json:"role" parquet:"role,dict"`
	Text        string     `json:"text" parquet:"text"`
	CharCount   int64      `json:"char_count" parquet:"char_count"`
	MessageType string     `json:"message_type" parquet:"message_type,dict"`
	Language    string     `json:"language" parquet:"language,dict"`
	UserID      string     `json:"user_id" parquet:"user_id"`
}

func messageRowOf(m *store.Message) messageRow {
	return messageRow{
		Position: m.Position, AgentID: m.AgentID, SessionID: m.SessionID, StartedAt: m.SessionStartedAt,
		OccurredAt: m.OccurredAt, Role: m.Role, Text: m.Text, CharCount: int64(utf8.RuneCountInString(m.Text)),
		MessageType: m.MessageType, Language: m.Language, UserID: m.UserID,
	}
}

// eventRow is an event. What is erased is a stub, whose erasure is not null. What an
// import needs of it are the members of line.
type eventRow struct {
	Position      int64           `json:"position" parquet:"position"`
	OccurredAt    time.Time       `json:"occurred_at" parquet:"occurred_at,timestamp(microsecond)"`
	ReceivedAt    time.Time       `json:"received_at" parquet:"received_at,timestamp(microsecond)"`
	Undated       bool            `json:"undated" parquet:"undated"`
	EventType     string          `json:"event_type" parquet:"event_type,dict"`
	AgentID       string          `json:"agent_id" parquet:"agent_id,dict"`
	SessionID     string          `json:"session_id" parquet:"session_id,dict"`
	UserID        string          `json:"user_id" parquet:"user_id"`
	Role          string          `json:"role" parquet:"role,dict"`
	Message       string          `json:"message" parquet:"message"`
	MessageType   string          `json:"message_type" parquet:"message_type,dict"`
	Language      string          `json:"language" parquet:"language,dict"`
	Participants  *int32          `json:"participants" parquet:"participants,optional"`
	RoomName      string          `json:"room_name" parquet:"room_name"`
	ErrorCode     string          `json:"error_code" parquet:"error_code,dict"`
	ErrorSeverity string          `json:"error_severity" parquet:"error_severity,dict"`
	ErrorCategory string          `json:"error_category" parquet:"error_category,dict"`
	EndReason     string          `json:"end_reason" parquet:"end_reason,dict"`
	Rating        *float64        `json:"rating" parquet:"rating,optional"`
	Fingerprint   string          `json:"fingerprint" parquet:"fingerprint"`
	Headers       json.RawMessage `json:"headers" parquet:"headers,json"`
	Payload       *string         `json:"payload" parquet:"payload,optional"`
	PayloadRaw    []byte          `json:"payload_raw" parquet:"payload_raw,optional"`
	HealedFrom    string          `json:"healed_from" parquet:"healed_from,dict"`
	Erasure       *int64          `json:"erasure" parquet:"erasure,optional"`
}

func eventRowOf(e *store.ExportedEvent) eventRow {
	row := eventRow{
		Position: e.Position, OccurredAt: e.OccurredAt, ReceivedAt: e.ReceivedAt, Undated: e.Undated, EventType: e.Type,
		AgentID: e.AgentID, SessionID: e.SessionID, UserID: e.UserID, Role: e.Role, Message: e.Text,
		MessageType: e.MessageType, Language: e.Language, Participants: e.Participants, RoomName: e.RoomName,
		ErrorCode: e.ErrorCode, ErrorSeverity: e.ErrorSeverity, ErrorCategory: e.ErrorCategory, EndReason: e.EndReason,
		Rating: e.Rating, Fingerprint: hex.EncodeToString(e.Fingerprint[:]), Headers: e.Headers, PayloadRaw: e.PayloadRaw,
		HealedFrom: e.HealedFrom, Erasure: e.Erasure,
	}
	if e.PayloadRaw == nil {
		row.Payload = new(string(e.Payload)) // to the byte
	}
	return row
}
