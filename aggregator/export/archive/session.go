package archive

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"time"

	"rapport"
	"rapport/store"
)

// sessionObject is a closed session: what GET /sessions says of it, by the same names,
// and its transcript behind that.
type sessionObject struct {
	AgentID           string     `json:"agent_id"`
	SessionID         string     `json:"session_id"`
	StartedAt         time.Time  `json:"started_at"`
	LastActivityAt    time.Time  `json:"last_activity_at"`
	ClosesAt          time.Time  `json:"closes_at"`
	Status            string     `json:"status"`
	EndReason         string     `json:"end_reason"`
	DurationS         float64    `json:"duration_s"`
	ActiveS           float64    `json:"active_s"`
	EventCount        int64      `json:"event_count"`
	JoinCount         int64      `json:"join_count"`
	MessageCount      int64      `json:"message_count"`
	ErrorCount        int64      `json:"error_count"`
	UserMessageCount  int64      `json:"user_message_count"`
	AgentMessageCount int64      `json:"agent_message_count"`
	UserCharCount     int64      `json:"user_char_count"`
	AgentCharCount    int64      `json:"agent_char_count"`
	TurnCount         int64      `json:"turn_count"`
	AnsweredTurnCount int64      `json:"answered_turn_count"`
	ResponseMsTotal   *int64     `json:"response_ms_total"`
	ResponseMsMax     *int64     `json:"response_ms_max"`
	FirstResponseMs   *int64     `json:"first_response_ms"`
	AvgResponseS      *float64   `json:"avg_response_s"`
	QuickAnswerCount  int64      `json:"quick_answer_count"`
	RepeatCount       int64      `json:"repeat_count"`
	FrictionCount     int64      `json:"friction_count"`
	Sentiment         *float64   `json:"sentiment"`
	PeakParticipants  int32      `json:"peak_participants"`
	RoomName          string     `json:"room_name"`
	UserID            string     `json:"user_id"`
	Rating            *float64   `json:"rating"`
	EngagementTier    string     `json:"engagement_tier"`
	EngagementScore   float64    `json:"engagement_score"`
	QualityScore      *float64   `json:"quality_score"`
	ScoreVersion      int        `json:"score_version"`
	FirstPosition     int64      `json:"first_position"`
	LastPosition      int64      `json:"last_position"`
	ErasedAt          *time.Time `json:"erased_at"`
}

// messageObject is a message of a transcript.
type messageObject struct {
	Position    int64     `json:"position"`
	OccurredAt  time.Time `json:"occurred_at"`
	Role        string    `json:"role"`
	Text        string    `json:"text"`
	MessageType string    `json:"message_type"`
	Language    string    `json:"language,omitempty"`
	UserID      string    `json:"user_id,omitempty"`
}

// decimals is an integer of which so many parts make one.
func decimals(n, parts int64) float64 { return float64(n) / float64(parts) }

func sessionObjectOf(s *rapport.Session, closesAt time.Time) sessionObject {
	o := sessionObject{
		AgentID: s.AgentID, SessionID: s.SessionID, StartedAt: s.StartedAt, LastActivityAt: s.LastActivityAt, ClosesAt: closesAt,
		Status: "closed", EndReason: rapport.EndReasonIdle, DurationS: decimals(s.DurationMs(), 1000), ActiveS: decimals(s.ActiveMs(), 1000),
		EventCount: s.EventCount, JoinCount: s.JoinCount, MessageCount: s.MessageCount, ErrorCount: s.ErrorCount,
		UserMessageCount: s.UserMessageCount, AgentMessageCount: s.AgentMessageCount, UserCharCount: s.UserCharCount,
		AgentCharCount: s.AgentCharCount, TurnCount: s.TurnCount, AnsweredTurnCount: s.AnsweredTurnCount,
		QuickAnswerCount: s.QuickAnswerCount, RepeatCount: s.RepeatCount, FrictionCount: s.FrictionCount,
		PeakParticipants: s.PeakParticipants, RoomName: s.RoomName, UserID: s.UserID, Rating: s.Rating,
		EngagementTier: s.EngagementTier(), EngagementScore: decimals(s.EngagementScore(), 10), ScoreVersion: s.ScoreVersion,
		FirstPosition: s.FirstPosition, LastPosition: s.LastPosition, ErasedAt: orNull(s.ErasedAt),
	}
	if !s.EndedAt.IsZero() {
		o.EndReason = s.EndReason
	}
	if s.AnsweredTurnCount > 0 {
		o.ResponseMsTotal, o.ResponseMsMax, o.FirstResponseMs = &s.ResponseMsTotal, &s.ResponseMsMax, &s.FirstResponseMs
		o.AvgResponseS = new(decimals(s.AvgResponseMs(), 1000))
	}
	if s.UserMessageCount > 0 {
		o.Sentiment = new(decimals(s.SentimentMean(), 1000))
	}
	if quality, ok := s.QualityScore(); ok {
		o.QualityScore = new(decimals(quality, 10))
	}
	return o
}

// What is in memory of a transcript: so many messages, and fewer of long ones.
const (
	messagePage  = 50
	messageChars = 1 << 20
)

func messagesAtOnce(s *rapport.Session) int {
	if s.MessageCount == 0 {
		return 1
	}
	average := (s.UserCharCount + s.AgentCharCount) / s.MessageCount
	return int(max(1, min(messagePage, messageChars/max(1, average))))
}

// writeSession writes a session with its transcript, a page after the other.
func writeSession(ctx context.Context, w io.Writer, db *store.DB, s *rapport.Session, closesAt time.Time) error {
	numbers, err := json.Marshal(sessionObjectOf(s, closesAt))
	if err != nil {
		return err
	}
	b := bufio.NewWriter(w)
	_, _ = b.Write(numbers[:len(numbers)-1]) // errors come with Flush
	_, _ = b.WriteString(`,"transcript":[`)
	query := store.TranscriptQuery{
		SessionID: s.SessionID, Agents: []string{s.AgentID}, Span: store.Span{StartedAt: s.StartedAt, LastEventAt: s.LastEventAt},
		Limit: messagesAtOnce(s),
	}
	for separator := "\n"; ; {
		messages, next, err := db.Messages(ctx, query)
		if err != nil {
			return err
		}
		for i := range messages {
			if err := writeMessage(b, separator, &messages[i]); err != nil {
				return err
			}
			separator = ",\n"
		}
		if query.After = next; next == nil {
			break
		}
	}
	_, _ = b.WriteString("]}\n")
	return b.Flush()
}

func writeMessage(b *bufio.Writer, separator string, m *store.Message) error {
	text, err := json.Marshal(messageObject{
		Position: m.Position, OccurredAt: m.OccurredAt, Role: m.Role, Text: m.Text, MessageType: m.MessageType,
		Language: m.Language, UserID: m.UserID,
	})
	if err != nil {
		return err
	}
	_, _ = b.WriteString(separator)
	_, err = b.Write(text)
	return err
}
