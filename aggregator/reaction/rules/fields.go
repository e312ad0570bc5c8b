package rules

import (
	"errors"
	"math"
	"time"

	"cel.dev/cel-go/cel"

	"rapport"
)

// errUnknown is what a condition gets that asks for what is not known: it is not
// true then, as with null in SQL.
var errUnknown = errors.New("it is not known")

// field is one that conditions can ask for, and that templates are given.
type field struct {
	name string
	kind *cel.Type
	get  func(*evaluation) (any, error)

	onlyAsked bool // templates are not given it
}

// record is a kind of thing that has fields.
type record struct {
	typeName string
	fields   []field
}

func (r *record) kind() *cel.Type { return cel.ObjectType(r.typeName) }

// ofEvent are fields of the occasion's event.
func ofEvent(name string, kind *cel.Type, get func(*rapport.Event) any) field {
	return field{name: name, kind: kind, get: func(v *evaluation) (any, error) {
		if v.occasion.Event == nil {
			return nil, errUnknown
		}
		return known(get(v.occasion.Event))
	}}
}

// ofSession are fields of the occasion's session.
func ofSession(name string, kind *cel.Type, get func(*Session) any) field {
	return field{name: name, kind: kind, get: func(v *evaluation) (any, error) {
		if v.occasion.Session == nil {
			return nil, errUnknown
		}
		return known(get(v.occasion.Session))
	}}
}

func known(value any) (any, error) {
	if value == nil {
		return nil, errUnknown
	}
	return value, nil
}

// where is a value, or nothing unless it is known.
func where[T any](isKnown bool, value T) any {
	if !isKnown {
		return nil
	}
	return value
}

// pointed is what a pointer points to, or nothing.
func pointed[T any](p *T) any {
	if p == nil {
		return nil
	}
	return *p
}

// finite leaves out what no JSON can tell.
func finite(n *float64) any {
	if n == nil || math.IsNaN(*n) || math.IsInf(*n, 0) {
		return nil
	}
	return *n
}

var errorRecord = record{"rapport.Error", []field{
	ofEvent("code", cel.StringType, func(e *rapport.Event) any { return e.ErrorCode }),
	ofEvent("severity", cel.StringType, func(e *rapport.Event) any { return e.ErrorSeverity }),
	ofEvent("category", cel.StringType, func(e *rapport.Event) any { return e.ErrorCategory }),
}}

// The names are those of the table of docs/webhooks.md.
var eventRecord = record{"rapport.Event", []field{
	ofEvent("type", cel.StringType, func(e *rapport.Event) any { return e.Type }),
	ofEvent("position", cel.IntType, func(e *rapport.Event) any { return e.Position }),
	ofEvent("occurred_at", cel.TimestampType, func(e *rapport.Event) any { return e.OccurredAt }),
	ofEvent("received_at", cel.TimestampType, func(e *rapport.Event) any { return e.ReceivedAt }),
	ofEvent("agent_id", cel.StringType, func(e *rapport.Event) any { return e.AgentID }),
	ofEvent("session_id", cel.StringType, func(e *rapport.Event) any { return e.SessionID }),
	ofEvent("user_id", cel.StringType, func(e *rapport.Event) any { return e.UserID }),
	ofEvent("role", cel.StringType, func(e *rapport.Event) any { return e.Role }),
	ofEvent("text", cel.StringType, func(e *rapport.Event) any { return e.Text }),
	ofEvent("message_type", cel.StringType, func(e *rapport.Event) any { return e.MessageType }),
	ofEvent("language", cel.StringType, func(e *rapport.Event) any { return e.Language }),
	ofEvent("participants", cel.IntType, func(e *rapport.Event) any { return pointed(e.Participants) }),
	ofEvent("room_name", cel.StringType, func(e *rapport.Event) any { return e.RoomName }),
	ofEvent("end_reason", cel.StringType, func(e *rapport.Event) any { return e.EndReason }),
	ofEvent("rating", cel.DoubleType, func(e *rapport.Event) any { return finite(e.Rating) }),
	ofEvent("healed_from", cel.StringType, func(e *rapport.Event) any { return e.HealedFrom }),
	{name: "error", kind: errorRecord.kind(), get: (*evaluation).self},
	{name: "payload", kind: cel.DynType, get: (*evaluation).payload},
	{name: "said_in_session", kind: cel.ListType(cel.StringType), get: (*evaluation).saidInSession, onlyAsked: true},
	{name: "said_by_user", kind: cel.ListType(cel.StringType), get: (*evaluation).saidByUser, onlyAsked: true},
}}

// The names and values are those of GET /sessions.
var sessionRecord = record{"rapport.Session", []field{
	ofSession("agent_id", cel.StringType, func(s *Session) any { return s.AgentID }),
	ofSession("session_id", cel.StringType, func(s *Session) any { return s.SessionID }),
	ofSession("started_at", cel.TimestampType, func(s *Session) any { return s.StartedAt }),
	ofSession("last_activity_at", cel.TimestampType, func(s *Session) any { return s.LastActivityAt }),
	ofSession("closes_at", cel.TimestampType, func(s *Session) any { return s.ClosesAt }),
	{name: "status", kind: cel.StringType, get: (*evaluation).status},
	{name: "end_reason", kind: cel.StringType, get: (*evaluation).endReason},
	ofSession("duration_s", cel.DoubleType, func(s *Session) any { return thousandths(s.DurationMs()) }),
	ofSession("active_s", cel.DoubleType, func(s *Session) any { return thousandths(s.ActiveMs()) }),
	ofSession("event_count", cel.IntType, func(s *Session) any { return s.EventCount }),
	ofSession("join_count", cel.IntType, func(s *Session) any { return s.JoinCount }),
	ofSession("message_count", cel.IntType, func(s *Session) any { return s.MessageCount }),
	ofSession("error_count", cel.IntType, func(s *Session) any { return s.ErrorCount }),
	ofSession("user_message_count", cel.IntType, func(s *Session) any { return s.UserMessageCount }),
	ofSession("agent_message_count", cel.IntType, func(s *Session) any { return s.AgentMessageCount }),
	ofSession("user_char_count", cel.IntType, func(s *Session) any { return s.UserCharCount }),
	ofSession("agent_char_count", cel.IntType, func(s *Session) any { return s.AgentCharCount }),
	ofSession("turn_count", cel.IntType, func(s *Session) any { return s.TurnCount }),
	ofSession("answered_turn_count", cel.IntType, func(s *Session) any { return s.AnsweredTurnCount }),
	ofSession("response_ms_total", cel.IntType, func(s *Session) any { return where(s.AnsweredTurnCount > 0, s.ResponseMsTotal) }),
	ofSession("response_ms_max", cel.IntType, func(s *Session) any { return where(s.AnsweredTurnCount > 0, s.ResponseMsMax) }),
	ofSession("first_response_ms", cel.IntType, func(s *Session) any { return where(s.AnsweredTurnCount > 0, s.FirstResponseMs) }),
	ofSession("avg_response_s", cel.DoubleType, func(s *Session) any {
		return where(s.AnsweredTurnCount > 0, thousandths(s.AvgResponseMs()))
	}),
	ofSession("quick_answer_count", cel.IntType, func(s *Session) any { return s.QuickAnswerCount }),
	ofSession("repeat_count", cel.IntType, func(s *Session) any { return s.RepeatCount }),
	ofSession("friction_count", cel.IntType, func(s *Session) any { return s.FrictionCount }),
	ofSession("sentiment", cel.DoubleType, func(s *Session) any {
		return where(s.UserMessageCount > 0, thousandths(s.SentimentMean()))
	}),
	ofSession("peak_participants", cel.IntType, func(s *Session) any { return s.PeakParticipants }),
	ofSession("room_name", cel.StringType, func(s *Session) any { return s.RoomName }),
	ofSession("user_id", cel.StringType, func(s *Session) any { return s.UserID }),
	ofSession("rating", cel.DoubleType, func(s *Session) any { return finite(s.Rating) }),
	ofSession("engagement_tier", cel.StringType, func(s *Session) any { return s.EngagementTier() }),
	ofSession("engagement_score", cel.DoubleType, func(s *Session) any { return float64(s.EngagementScore()) / 10 }),
	ofSession("quality_score", cel.DoubleType, func(s *Session) any {
		score, ok := s.QualityScore()
		return where(ok, float64(score)/10)
	}),
	ofSession("score_version", cel.IntType, func(s *Session) any { return s.ScoreVersion }),
	ofSession("first_position", cel.IntType, func(s *Session) any { return s.FirstPosition }),
	ofSession("last_position", cel.IntType, func(s *Session) any { return s.LastPosition }),
}}

var agentRecord = record{"rapport.Agent", []field{
	{name: "id", kind: cel.StringType, get: func(v *evaluation) (any, error) { return v.occasion.AgentID(), nil }},
	ofAgent("open_sessions", func(a *Agent) int64 { return a.OpenSessions }),
	ofAgent("participants", func(a *Agent) int64 { return a.Participants }),
	ofAgent("all_open_sessions", func(a *Agent) int64 { return a.AllOpenSessions }),
}}

func ofAgent(name string, get func(*Agent) int64) field {
	return field{name: name, kind: cel.IntType, get: func(v *evaluation) (any, error) {
		agent, err := v.agent()
		if err != nil {
			return nil, err
		}
		return get(agent), nil
	}}
}

func thousandths(n int64) float64 { return float64(n) / 1000 }

// records are those that conditions know, by the variables that have them.
var records = map[string]*record{"event": &eventRecord, "session": &sessionRecord, "agent": &agentRecord}

// timeLayout is how templates are given times, as in the API.
const timeLayout = "2006-01-02T15:04:05.000000Z"

// object is a record as templates are given it; nil if nothing of it is known. What
// is not known is null.
func (v *evaluation) object(of *record, withPayload bool) (map[string]any, error) {
	object := make(map[string]any, len(of.fields))
	isKnown := false
	for _, f := range of.fields {
		if f.onlyAsked || f.name == "payload" && !withPayload {
			continue
		}
		value, err := f.get(v)
		isUnknown := errors.Is(err, errUnknown)
		if err == nil && f.name == "error" {
			value, err = v.object(&errorRecord, false)
		}
		if err != nil && !isUnknown {
			return nil, err
		}
		if at, ok := value.(time.Time); ok {
			value = at.UTC().Format(timeLayout)
		}
		object[f.name], isKnown = value, isKnown || !isUnknown
	}
	if !isKnown {
		return nil, nil
	}
	return object, nil
}

// payload is the body, if that is JSON.
func (v *evaluation) payload() (any, error) {
	if v.occasion.Event == nil {
		return nil, errUnknown
	}
	if !v.parsed {
		v.parsed = true
		v.body = parsedJSON(v.occasion.Event.Payload)
	}
	return known(v.body)
}
