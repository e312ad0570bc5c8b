package api

import (
	"time"

	"github.com/danielgtaylor/huma/v2"

	"rapport"
	"rapport/store"
)

// session is a session as it is read: the same names in JSON and in SQL.
type session struct {
	AgentID           string       `json:"agent_id" doc:"The agent; with session_id and started_at the identity."`
	SessionID         string       `json:"session_id" doc:"The sender's session."`
	StartedAt         timestamp    `json:"started_at" doc:"First occurred_at."`
	LastActivityAt    timestamp    `json:"last_activity_at" doc:"Last occurred_at; a session.end is no activity."`
	ClosesAt          timestamp    `json:"closes_at" doc:"When it closes, or closed: after the idle timeout, or at its first session.end if that is earlier."`
	Status            string       `json:"status" enum:"open,closed" doc:"At the time of the first page."`
	EndReason         *string      `json:"end_reason" doc:"Reason of the first session.end; idle for any other closed session; null while open."`
	DurationS         thousandths  `json:"duration_s" minimum:"0" doc:"Seconds, 3 decimals, from started_at to last_activity_at."`
	ActiveS           thousandths  `json:"active_s" minimum:"0" doc:"Seconds, 3 decimals; sum of the gaps between events, each at most 60 s."`
	EventCount        int64        `json:"event_count" minimum:"1" doc:"Its events, of any type."`
	JoinCount         int64        `json:"join_count" minimum:"0" doc:"room.join events."`
	MessageCount      int64        `json:"message_count" minimum:"0" doc:"chat.push events, of any role."`
	ErrorCount        int64        `json:"error_count" minimum:"0" doc:"agent.error events."`
	UserMessageCount  int64        `json:"user_message_count" minimum:"0" doc:"chat.push events of the role user."`
	AgentMessageCount int64        `json:"agent_message_count" minimum:"0" doc:"chat.push events of the role agent."`
	UserCharCount     int64        `json:"user_char_count" minimum:"0" doc:"Unicode code points of the user's texts."`
	AgentCharCount    int64        `json:"agent_char_count" minimum:"0" doc:"Unicode code points of the agent's texts."`
	TurnCount         int64        `json:"turn_count" minimum:"0" doc:"Runs of neighbouring user messages."`
	AnsweredTurnCount int64        `json:"answered_turn_count" minimum:"0" doc:"Turns that the agent answered."`
	ResponseMsTotal   *int64       `json:"response_ms_total" minimum:"0" doc:"Sum of the response times, in milliseconds; null without an answered turn."`
	ResponseMsMax     *int64       `json:"response_ms_max" minimum:"0" doc:"The longest response time, in milliseconds; null without an answered turn."`
	FirstResponseMs   *int64       `json:"first_response_ms" minimum:"0" doc:"The first response time, in milliseconds; null without an answered turn."`
	AvgResponseS      *thousandths `json:"avg_response_s" nullable:"true" minimum:"0" doc:"Mean response time in seconds, 3 decimals; null without an answered turn."`
	QuickAnswerCount  int64        `json:"quick_answer_count" minimum:"0" doc:"Turns answered within 3 s."`
	RepeatCount       int64        `json:"repeat_count" minimum:"0" doc:"User messages that say again what an earlier one said."`
	FrictionCount     int64        `json:"friction_count" minimum:"0" doc:"User messages with a frustration word or a sentiment of -0.5 or lower."`
	Sentiment         *thousandths `json:"sentiment" nullable:"true" minimum:"-1" maximum:"1" doc:"Mean VADER compound of the user messages, -1 to 1; null without any."`
	PeakParticipants  int32        `json:"peak_participants" minimum:"0" doc:"Greatest number of participants told; 0 if never told."`
	RoomName          string       `json:"room_name" doc:"First name told; empty if never told."`
	UserID            string       `json:"user_id" doc:"First id told; empty if never told."`
	Rating            *float64     `json:"rating" doc:"The last satisfaction told, on the sender's scale; null if never told."`
	EngagementTier    string       `json:"engagement_tier" enum:"bounced,engaged,continued,deep" doc:"bounced: no user message; engaged: fewer than 2 turns; continued: 2 or 3; deep: 4 or more."`
	EngagementScore   tenths       `json:"engagement_score" minimum:"0" maximum:"100" doc:"0 to 100, 1 decimal: half of it for turns, up to 8; 0.3 for active_s, up to 300; 0.2 for a second turn."`
	QualityScore      *tenths      `json:"quality_score" nullable:"true" minimum:"0" maximum:"100" doc:"0 to 100, 1 decimal: the health of the conversation, 0.4 for answered turns, 0.2 each for quick answers, few repeats and little friction; null without a user message."`
	ScoreVersion      int          `json:"score_version" minimum:"1" doc:"Version of the two scores."`
	FirstPosition     int64        `json:"first_position" minimum:"1" doc:"Least log position of its events."`
	LastPosition      int64        `json:"last_position" minimum:"1" doc:"Greatest log position of its events: its version."`
	ErasedAt          *timestamp   `json:"erased_at" nullable:"true" doc:"When what was said was erased: the numbers stay as they were then. Null for any other."`
}

// sessionAt shows a stored session as it is at a time.
func sessionAt(row *store.SessionRow, now time.Time) session {
	s := session{
		AgentID: row.AgentID, SessionID: row.SessionID, StartedAt: timestamp(row.StartedAt),
		LastActivityAt: timestamp(row.LastActivityAt), ClosesAt: timestamp(row.ClosesAt), Status: "open",
		DurationS: thousandths(row.DurationMs()), ActiveS: thousandths(row.ActiveMs()), EventCount: row.EventCount,
		JoinCount: row.JoinCount, MessageCount: row.MessageCount, ErrorCount: row.ErrorCount,
		UserMessageCount: row.UserMessageCount, AgentMessageCount: row.AgentMessageCount,
		UserCharCount: row.UserCharCount, AgentCharCount: row.AgentCharCount, TurnCount: row.TurnCount,
		AnsweredTurnCount: row.AnsweredTurnCount, QuickAnswerCount: row.QuickAnswerCount,
		RepeatCount: row.RepeatCount, FrictionCount: row.FrictionCount, PeakParticipants: row.PeakParticipants,
		RoomName: row.RoomName, UserID: row.UserID, Rating: row.Rating, EngagementTier: row.EngagementTier(),
		EngagementScore: tenths(row.EngagementScore()), ScoreVersion: row.ScoreVersion,
		FirstPosition: row.FirstPosition, LastPosition: row.LastPosition,
	}
	if !row.ErasedAt.IsZero() {
		s.ErasedAt = new(timestamp(row.ErasedAt))
	}
	if !now.Before(row.ClosesAt) {
		s.Status, s.EndReason = "closed", new(endReason(row))
	}
	if row.AnsweredTurnCount > 0 {
		s.ResponseMsTotal, s.ResponseMsMax = &row.ResponseMsTotal, &row.ResponseMsMax
		s.FirstResponseMs, s.AvgResponseS = &row.FirstResponseMs, new(thousandths(row.AvgResponseMs()))
	}
	if row.UserMessageCount > 0 {
		s.Sentiment = new(thousandths(row.SentimentMean()))
	}
	if quality, ok := row.QualityScore(); ok {
		s.QualityScore = new(tenths(quality))
	}
	return s
}

// endReason is that of a closed session.
func endReason(row *store.SessionRow) string {
	if row.EndedAt.IsZero() {
		return rapport.EndReasonIdle
	}
	return row.EndReason
}

// timestamp is RFC 3339 in UTC with six decimals in JSON.
type timestamp time.Time

const timestampLayout = `"2006-01-02T15:04:05.000000Z"`

// MarshalJSON writes it.
func (t timestamp) MarshalJSON() ([]byte, error) { return t.append(nil), nil }

// append is AppendFormat of timestampLayout, in a fifth of the time.
func (t timestamp) append(b []byte) []byte {
	at := time.Time(t).UTC()
	year, month, day := at.Date()
	if year < 0 || year > 9999 {
		return at.AppendFormat(b, timestampLayout)
	}
	hour, minute, second := at.Clock()
	b = appendDigits(append(b, '"'), year, 4)
	b = appendDigits(append(b, '-'), int(month), 2)
	b = appendDigits(append(b, '-'), day, 2)
	b = appendDigits(append(b, 'T'), hour, 2)
	b = appendDigits(append(b, ':'), minute, 2)
	b = appendDigits(append(b, ':'), second, 2)
	b = appendDigits(append(b, '.'), at.Nanosecond()/1000, 6)
	return append(b, 'Z', '"')
}

// appendDigits writes a number of at most so many digits, with zeros in front.
func appendDigits(b []byte, n, digits int) []byte {
	for range digits {
		b = append(b, '0')
	}
	for at := len(b) - 1; n > 0; n /= 10 {
		b[at] = byte('0' + n%10)
		at--
	}
	return b
}

// Schema describes it to huma.
func (timestamp) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, Format: "date-time", Examples: []any{"2026-01-31T09:30:00.000000Z"}}
}

// thousandths and tenths are integers of which JSON shows the decimals, so that
// no number passes through a float.
type (
	thousandths int64
	tenths      int64
)

// MarshalJSON writes three decimals.
func (n thousandths) MarshalJSON() ([]byte, error) { return appendNumber(nil, int64(n), 3), nil }

// Schema describes it to huma.
func (thousandths) Schema(huma.Registry) *huma.Schema { return &huma.Schema{Type: huma.TypeNumber} }

// MarshalJSON writes one decimal.
func (n tenths) MarshalJSON() ([]byte, error) { return appendNumber(nil, int64(n), 1), nil }

// Schema describes it to huma.
func (tenths) Schema(huma.Registry) *huma.Schema { return &huma.Schema{Type: huma.TypeNumber} }

// appendNumber writes n with its last places digits behind the point.
func appendNumber(b []byte, n int64, places int) []byte {
	var text [24]byte // the longest int64, its sign and a point
	at := len(text)
	size := uint64(n)
	if n < 0 {
		size = -size
	}
	for place := 0; size > 0 || place <= places; place++ {
		if place == places {
			at--
			text[at] = '.'
		}
		at--
		text[at] = byte('0' + size%10)
		size /= 10
	}
	if n < 0 {
		at--
		text[at] = '-'
	}
	return append(b, text[at:]...)
}
