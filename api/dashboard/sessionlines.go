package dashboard

import (
	"strconv"
	"time"

	"rapport/api/access"
)

// maxEvents is how many events a session may have for all of them to be shown among its
// messages.
const maxEvents = 500

// sessionEvent is an event of the log, as far as it is shown.
type sessionEvent struct {
	Position      int64     `json:"position"`
	OccurredAt    time.Time `json:"occurred_at"`
	EventType     string    `json:"event_type"`
	Message       string    `json:"message"`
	Participants  *int64    `json:"participants"`
	RoomName      string    `json:"room_name"`
	ErrorCode     string    `json:"error_code"`
	ErrorSeverity string    `json:"error_severity"`
	EndReason     string    `json:"end_reason"`
	Rating        *float64  `json:"rating"`
	Erased        bool      `json:"erased"`
}

// otherEvents are those of the session that are no messages.
func (d *sessionData) otherEvents(r *Request) ([]line, error) {
	path, query := d.Session.path()
	query.Set("limit", strconv.Itoa(maxEvents))
	var events listed[sessionEvent]
	if err := r.Get(path+"/events", query, &events); err != nil {
		return nil, err
	}
	var lines []line
	for _, e := range events.Data {
		if e.EventType != "chat.push" {
			lines = append(lines, e.line())
		}
	}
	return lines, nil
}

func (e *sessionEvent) line() line {
	l := line{message: message{Position: e.Position, OccurredAt: e.OccurredAt, Text: e.Message}, Kind: "event", Event: e.EventType}
	switch e.EventType {
	case "room.join":
		l.Event = "Joined"
		if e.RoomName != "" {
			l.Event += " the room " + e.RoomName
		}
		if e.Participants != nil {
			l.Event += " (" + plural(*e.Participants, "participant", "participants") + ")"
		}
	case "agent.error":
		l.Kind, l.Event = "error", "Error"
		if e.ErrorCode != "" {
			l.Event += " " + e.ErrorCode
		}
		if e.ErrorSeverity != "" {
			l.Event += ", " + e.ErrorSeverity
		}
	case "session.end":
		l.Event = "Ended"
		if e.EndReason != "" {
			l.Event += ": " + e.EndReason
		}
	case "session.userSatisfaction":
		l.Event = "Rated"
		if e.Rating != nil {
			l.Event += " " + strconv.FormatFloat(*e.Rating, 'f', -1, 64)
		}
	}
	if e.Erased {
		l.Event += " (its content is erased)"
	}
	return l
}

// longGap is from when on a pause is told.
const longGap = time.Minute

// spaced tells the days and the pauses between lines.
func spaced(lines []line, state State) {
	for i := range lines {
		if date := state.Date(lines[i].OccurredAt); i == 0 || date != state.Date(lines[i-1].OccurredAt) {
			lines[i].Day = date
		}
		if i > 0 {
			if gap := lines[i].OccurredAt.Sub(lines[i-1].OccurredAt); gap >= longGap {
				lines[i].Gap = duration(gap.Seconds())
			}
		}
	}
}

// The parts of the scores: docs/sessions.md says why these. The scores themselves are
// the API's.
func engagementOf(s session) []component {
	const turns, active, returned = 50, 30, 20
	second := component{Name: "A second turn", Is: "no", Weight: returned}
	if s.TurnCount >= 2 {
		second.Is, second.Points = "yes", returned
	}
	return []component{
		{"Turns", ofAtMost(s.TurnCount, 8), turns * float64(min(s.TurnCount, 8)) / 8, turns},
		{"Active time", duration(s.ActiveS) + " of 5" + nbsp + "m", active * min(s.ActiveS, 300) / 300, active},
		second,
	}
}

// qualityOf is empty for a session that has no quality.
func qualityOf(s session) []component {
	if s.QualityScore == nil {
		return nil
	}
	const answered, quick, fresh, calm = 40, 20, 20, 20
	users := float64(max(1, s.UserMessageCount))
	return []component{
		{"Turns answered", ofAll(s.AnsweredTurnCount, s.TurnCount), answered * float64(s.AnsweredTurnCount) / float64(max(1, s.TurnCount)), answered},
		{"Answered within 3" + nbsp + "s", ofAll(s.QuickAnswerCount, s.AnsweredTurnCount), quick * float64(s.QuickAnswerCount) / float64(max(1, s.AnsweredTurnCount)), quick},
		{"Messages that repeat none", ofAll(s.UserMessageCount-s.RepeatCount, s.UserMessageCount), fresh * (users - float64(s.RepeatCount)) / users, fresh},
		{"Messages without friction", ofAll(s.UserMessageCount-s.FrictionCount, s.UserMessageCount), calm * (users - float64(s.FrictionCount)) / users, calm},
	}
}

// ofAtMost is a count of which no more than some add to a score.
func ofAtMost(n, most int64) string {
	if n > most {
		return whole(n) + ", of which " + whole(most) + " count"
	}
	return ofAll(n, most)
}

func ofAll(n, all int64) string { return whole(n) + " of " + whole(all) }

// follow has the script go on from the page, if the session is open and all of it is
// shown.
func (d *sessionData) follow(r *Request, ready progress) {
	if d.Session.Status != "open" || d.Next != "" || d.First != "" || d.Transcript.Failure != nil || !r.Who.May(access.Live) {
		return
	}
	query := valuesOf("session_id", d.Session.SessionID, "agent_id", d.Session.AgentID, "last_event_id", beginAt(ready.Lag.LogHead, d.Session.LastPosition))
	d.Script = &liveScript{
		URL: "/live?" + query.Encode(), Now: r.now.UnixMilli(), TZ: r.State.TZ(), Open: [][4]any{},
		Seen: d.Session.LastPosition, Started: d.Session.StartedAt.UnixMilli(), Closes: d.Session.ClosesAt.UnixMilli(),
	}
}
