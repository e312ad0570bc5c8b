package api

import (
	"bytes"
	"encoding/json"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
)

// A page of sessions has thousands of fields. The rows of the longest lists write
// their JSON themselves: the same as encoding/json would, in a tenth of the time.

// quickRow is a pointer to such a row.
type quickRow interface{ appendJSON(b []byte) []byte }

// quickBody is a pointer to a body that has such rows.
type quickBody interface {
	appendBody(b []byte) ([]byte, error)
}

// writeJSON writes a body of a list.
func writeJSON(w io.Writer, body any) error {
	quick, ok := body.(quickBody)
	if !ok {
		return huma.DefaultJSONFormat.Marshal(w, body)
	}
	text, err := quick.appendBody(newBuffer())
	if err != nil {
		return err
	}
	if held, ok := w.(*heldAnswer); ok {
		return held.hand(text)
	}
	defer reuse(text)
	_, err = w.Write(text)
	return err
}

// buffers are those of bodies that have been written: to make room for a page, and to
// collect it, takes as long as to write it. A large one goes.
var buffers sync.Pool

const (
	smallBuffer = 4 << 10
	largeBuffer = 1 << 20
)

func newBuffer() []byte {
	if b, ok := buffers.Get().(*[]byte); ok {
		return (*b)[:0]
	}
	return make([]byte, 0, smallBuffer)
}

// reuse takes a buffer that nobody reads any more.
func reuse(b []byte) {
	if cap(b) >= smallBuffer && cap(b) <= largeBuffer {
		buffers.Put(&b)
	}
}

// appendBody writes a page as encoding/json would, with a newline behind it as its
// Encoder has it.
func (p *page[T]) appendBody(b []byte) (_ []byte, err error) {
	b = append(b, `{"data":`...)
	if p.own != nil {
		b = p.own.appendRows(b)
	} else if b, err = appendRows(b, p.Data); err != nil {
		return nil, err
	}
	b = appendNext(b, p.NextCursor, p.HasMore)
	b = p.Query.appendJSON(append(b, `,"query":`...))
	return append(b, "}\n"...), nil
}

// appendBody writes a list that may have messages.
func (l *sessionList) appendBody(b []byte) (_ []byte, err error) {
	if b, err = appendRows(append(b, `{"data":`...), l.Data); err != nil {
		return nil, err
	}
	if m := l.Messages; m != nil {
		if b, err = appendRows(append(b, `,"messages":{"data":`...), m.Data); err != nil {
			return nil, err
		}
		b = append(appendNext(b, m.NextCursor, m.HasMore), '}')
	}
	b = l.Query.appendJSON(append(b, `,"query":`...))
	return append(b, "}\n"...), nil
}

// appendNext writes what stands behind the rows of a page.
func appendNext(b []byte, cursor *string, hasMore bool) []byte {
	b = appendTextOrNull(b, `,"next_cursor":`, cursor)
	return strconv.AppendBool(append(b, `,"has_more":`...), hasMore)
}

func appendRows[T any](b []byte, rows []T) ([]byte, error) {
	if _, isQuick := any((*T)(nil)).(quickRow); !isQuick {
		text, err := encodeJSON(rows)
		return append(b, bytes.TrimSuffix(text, []byte("\n"))...), err
	}
	b = append(b, '[')
	for i := range rows {
		if i > 0 {
			b = append(b, ',')
		}
		b = any(&rows[i]).(quickRow).appendJSON(b)
	}
	return append(b, ']'), nil
}

// appendSpliced writes a body whose first member, data, is the rows.
func appendSpliced[T any](b []byte, of *[]T, body any) ([]byte, error) {
	rows := *of
	*of = []T{}
	rest, err := encodeJSON(body)
	*of = rows
	const before = `{"data":[]`
	if err != nil || !bytes.HasPrefix(rest, []byte(before)) {
		rest, err = encodeJSON(body)
		return append(b, rest...), err
	}
	b, err = appendRows(append(b, before[:len(before)-2]...), rows)
	return append(b, rest[len(before):]...), err
}

func encodeJSON(value any) ([]byte, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(value)
	return b.Bytes(), err
}

func (s *session) appendJSON(b []byte) []byte {
	b = appendText(b, `{"agent_id":`, s.AgentID)
	b = appendText(b, `,"session_id":`, s.SessionID)
	b = appendTime(b, `,"started_at":`, &s.StartedAt)
	b = appendTime(b, `,"last_activity_at":`, &s.LastActivityAt)
	b = appendTime(b, `,"closes_at":`, &s.ClosesAt)
	b = appendText(b, `,"status":`, s.Status)
	b = appendTextOrNull(b, `,"end_reason":`, s.EndReason)
	b = appendDecimal(b, `,"duration_s":`, &s.DurationS)
	b = appendDecimal(b, `,"active_s":`, &s.ActiveS)
	b = s.appendCounts(b)
	b = appendDecimal(b, `,"sentiment":`, s.Sentiment)
	b = appendInt(b, `,"peak_participants":`, int64(s.PeakParticipants))
	b = appendText(b, `,"room_name":`, s.RoomName)
	b = appendText(b, `,"user_id":`, s.UserID)
	b = appendFloat(b, `,"rating":`, s.Rating)
	b = appendText(b, `,"engagement_tier":`, s.EngagementTier)
	b = appendTenths(b, `,"engagement_score":`, &s.EngagementScore)
	b = appendTenths(b, `,"quality_score":`, s.QualityScore)
	b = appendInt(b, `,"score_version":`, int64(s.ScoreVersion))
	b = appendInt(b, `,"first_position":`, s.FirstPosition)
	b = appendInt(b, `,"last_position":`, s.LastPosition)
	b = appendTime(b, `,"erased_at":`, s.ErasedAt)
	return append(b, '}')
}

func (s *session) appendCounts(b []byte) []byte {
	b = appendInt(b, `,"event_count":`, s.EventCount)
	b = appendInt(b, `,"join_count":`, s.JoinCount)
	b = appendInt(b, `,"message_count":`, s.MessageCount)
	b = appendInt(b, `,"error_count":`, s.ErrorCount)
	b = appendInt(b, `,"user_message_count":`, s.UserMessageCount)
	b = appendInt(b, `,"agent_message_count":`, s.AgentMessageCount)
	b = appendInt(b, `,"user_char_count":`, s.UserCharCount)
	b = appendInt(b, `,"agent_char_count":`, s.AgentCharCount)
	b = appendInt(b, `,"turn_count":`, s.TurnCount)
	b = appendInt(b, `,"answered_turn_count":`, s.AnsweredTurnCount)
	b = appendIntOrNull(b, `,"response_ms_total":`, s.ResponseMsTotal)
	b = appendIntOrNull(b, `,"response_ms_max":`, s.ResponseMsMax)
	b = appendIntOrNull(b, `,"first_response_ms":`, s.FirstResponseMs)
	b = appendDecimal(b, `,"avg_response_s":`, s.AvgResponseS)
	b = appendInt(b, `,"quick_answer_count":`, s.QuickAnswerCount)
	b = appendInt(b, `,"repeat_count":`, s.RepeatCount)
	return appendInt(b, `,"friction_count":`, s.FrictionCount)
}

func (m *message) appendJSON(b []byte) []byte {
	b = appendInt(b, `{"position":`, m.Position)
	b = appendText(b, `,"agent_id":`, m.AgentID)
	b = appendText(b, `,"session_id":`, m.SessionID)
	b = appendTime(b, `,"started_at":`, m.StartedAt)
	b = appendTime(b, `,"occurred_at":`, &m.OccurredAt)
	b = appendText(b, `,"role":`, m.Role)
	b = appendText(b, `,"text":`, m.Text)
	b = appendInt(b, `,"char_count":`, int64(m.CharCount))
	b = appendText(b, `,"message_type":`, m.MessageType)
	b = appendText(b, `,"language":`, m.Language)
	b = appendText(b, `,"user_id":`, m.UserID)
	return append(b, '}')
}

func (g *group) appendJSON(b []byte) []byte {
	b = appendText(b, `{"kind":`, g.Kind)
	b = appendText(b, `,"key":`, g.Key)
	if g.ErrorSeverity != nil {
		b = appendText(b, `,"error_severity":`, *g.ErrorSeverity)
	}
	if g.ErrorCategory != nil {
		b = appendText(b, `,"error_category":`, *g.ErrorCategory)
	}
	return append(b, '}')
}

func (c *bucket) appendJSON(b []byte) []byte {
	b = time.Time(c.Start).AppendFormat(append(b, `{"start":`...), localTimeLayout)
	b = appendTime(b, `,"from":`, &c.From)
	b = appendTime(b, `,"to":`, &c.To)
	return append(strconv.AppendBool(append(b, `,"partial":`...), c.Partial), '}')
}

// appendJSON writes the fields of K, and then the metrics.
func (r *statRow[K]) appendJSON(b []byte) []byte {
	if quick, ok := any(&r.of).(quickRow); ok {
		b = quick.appendJSON(b)
	} else if of, err := encodeJSON(&r.of); err == nil { // structs of texts and numbers always marshal
		b = append(b, bytes.TrimSuffix(of, []byte("\n"))...)
	}
	if len(r.numbers) == 0 {
		return b
	}
	b[len(b)-1] = ','
	return r.appendMembers(b)
}

// appendMembers writes the metrics in their order, and a brace.
func (n *statNumbers) appendMembers(b []byte) []byte {
	for i, m := range n.metrics {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(append(b, '"'), m.Name...), `":`...) // a name is lower case and underscores
		b = n.numbers[i].append(b)
	}
	return append(b, '}')
}

// Each of these appends a member: its name, with what stands before it, and its value.

func appendText(b []byte, name, text string) []byte {
	b = append(b, name...)
	if !isPlain(text) {
		quoted, err := encodeJSON(text)
		if err != nil {
			return append(b, `""`...) // a string always marshals
		}
		return append(b, bytes.TrimSuffix(quoted, []byte("\n"))...)
	}
	b = append(b, '"')
	b = append(b, text...)
	return append(b, '"')
}

// isPlain reports whether a text needs nothing but quotes around it.
func isPlain(text string) bool {
	var has byteKind
	for i := range len(text) {
		has |= byteKinds[text[i]]
	}
	return has == 0 || has == beyondASCII && utf8.ValidString(text) && !strings.ContainsAny(text, "\u2028\u2029")
}

// byteKind is what a byte means to a text in JSON; 0 stands for itself.
type byteKind uint8

const (
	escaped byteKind = 1 << iota
	beyondASCII
)

var byteKinds = func() (kinds [256]byteKind) {
	for c := range kinds {
		switch {
		case c < ' ', c == '"', c == '\\':
			kinds[c] = escaped
		case c >= utf8.RuneSelf:
			kinds[c] = beyondASCII
		}
	}
	return kinds
}()

func appendTextOrNull(b []byte, name string, text *string) []byte {
	if text == nil {
		return appendNull(b, name)
	}
	return appendText(b, name, *text)
}

func appendInt(b []byte, name string, n int64) []byte {
	return strconv.AppendInt(append(b, name...), n, 10)
}

func appendIntOrNull(b []byte, name string, n *int64) []byte {
	if n == nil {
		return appendNull(b, name)
	}
	return appendInt(b, name, *n)
}

func appendDecimal(b []byte, name string, n *thousandths) []byte {
	if n == nil {
		return appendNull(b, name)
	}
	return appendNumber(append(b, name...), int64(*n), 3)
}

func appendTenths(b []byte, name string, n *tenths) []byte {
	if n == nil {
		return appendNull(b, name)
	}
	return appendNumber(append(b, name...), int64(*n), 1)
}

func appendFloat(b []byte, name string, n *float64) []byte {
	if n == nil {
		return appendNull(b, name)
	}
	number, err := json.Marshal(*n)
	if err != nil {
		return appendNull(b, name) // no rating is infinite
	}
	return append(append(b, name...), number...)
}

func appendTime(b []byte, name string, at *timestamp) []byte {
	if at == nil {
		return appendNull(b, name)
	}
	return (*at).append(append(b, name...))
}

func appendNull(b []byte, name string) []byte { return append(append(b, name...), "null"...) }
