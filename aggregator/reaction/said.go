package reaction

import (
	"context"
	"slices"
	"time"

	"rapport"
	"rapport/aggregator/reaction/rules"
	"rapport/store"
)

// said is what people have said, as far as it was asked for. It is read once, and carried
// on with what comes.
type said struct {
	bytes    int                                                  // of the texts, about
	sessions map[store.Conversation]map[int64][]store.SaidMessage // by started_at
	users    map[string][]store.SaidMessage
}

// maxSaidBytes is how much of it is kept in memory.
const maxSaidBytes = 64 << 20

// saidBytes is about what a message costs, besides its text.
const saidBytes = 100

func newSaid() said {
	return said{sessions: make(map[store.Conversation]map[int64][]store.SaidMessage), users: make(map[string][]store.SaidMessage)}
}

// begin makes room.
func (s *said) begin() {
	if s.bytes > maxSaidBytes {
		*s = newSaid()
	}
}

// saying is an event, its session, if it is of one, and its user.
type saying struct {
	event   *rapport.Event
	session *rules.Session
	user    string // empty if nobody knows who it was
}

func sayingOf(o *rules.Occasion) saying { return saying{o.Event, o.Session, o.UserID()} }

// load reads what was said before the step in sessions, and by users.
func (s *said) load(ctx context.Context, tx *store.ReactionTx, needs rules.Needs, sayings []saying, now time.Time) error {
	if needs.SaidInSession {
		if err := s.loadSessions(ctx, tx, sayings); err != nil {
			return err
		}
	}
	if needs.SaidByUser {
		return s.loadUsers(ctx, tx, sayings, now)
	}
	return nil
}

func (s *said) loadSessions(ctx context.Context, tx *store.ReactionTx, sayings []saying) error {
	var spans []store.TalkSpan
	for _, of := range sayings {
		if of.session == nil || !s.expect(of.session) || of.session.FirstPosition > tx.Position { // else nothing of it came before
			continue
		}
		talk := store.Conversation{AgentID: of.session.AgentID, SessionID: of.session.SessionID}
		spans = append(spans, store.TalkSpan{Conversation: talk, Since: of.session.StartedAt, Until: of.session.LastEventAt})
	}
	found, err := tx.SaidInSessions(ctx, spans, rules.SaidMessages)
	for i, span := range spans {
		s.sessions[span.Conversation][span.Since.UnixMicro()] = found[i]
		s.count(found[i])
	}
	return err
}

// expect has it be known what is said in a session. It reports whether what was said before
// is to be read: it is not known yet, or another session has become part of it.
func (s *said) expect(session *rules.Session) bool {
	of := store.Conversation{AgentID: session.AgentID, SessionID: session.SessionID}
	talk := s.sessions[of]
	if talk == nil {
		talk = make(map[int64][]store.SaidMessage)
		s.sessions[of] = talk
	}
	startedAt, last := session.StartedAt.UnixMicro(), session.LastEventAt.UnixMicro()
	_, known := talk[startedAt]
	for other := range talk {
		if other > startedAt && other <= last {
			delete(talk, other)
			known = false
		}
	}
	if !known {
		talk[startedAt] = nil
	}
	return !known
}

func (s *said) loadUsers(ctx context.Context, tx *store.ReactionTx, sayings []saying, now time.Time) error {
	var users []string
	for _, of := range sayings {
		if _, known := s.users[of.user]; known || of.user == "" {
			continue
		}
		s.users[of.user] = nil
		users = append(users, of.user)
	}
	found, err := tx.SaidByUsers(ctx, users, now.Add(-MaxAge-rules.SaidWithin), rules.SaidMessages)
	for i, user := range users {
		s.users[user] = found[i]
		s.count(found[i])
	}
	return err
}

func (s *said) count(messages []store.SaidMessage) {
	s.bytes += saidBytes
	for _, m := range messages {
		s.bytes += len(m.Text) + saidBytes
	}
}

// note adds a message to what was said, where that is known.
func (s *said) note(of saying) {
	if of.session != nil {
		talk := s.sessions[store.Conversation{AgentID: of.session.AgentID, SessionID: of.session.SessionID}]
		startedAt := of.session.StartedAt.UnixMicro()
		if messages, known := talk[startedAt]; known {
			talk[startedAt] = s.added(messages, of.event, of.event.OccurredAt)
		}
	}
	if messages, known := s.users[of.user]; known {
		s.users[of.user] = s.added(messages, of.event, of.event.ReceivedAt)
	}
}

// added is a list with one message more. It is cut at the end of the step only: each of the
// step's messages may ask what came before it.
func (s *said) added(messages []store.SaidMessage, e *rapport.Event, at time.Time) []store.SaidMessage {
	s.bytes += len(e.Text) + saidBytes
	return append(messages, store.SaidMessage{Position: e.Position, At: at, Text: e.Text})
}

// cut lets go of what nobody asks for any more, at the end of a step.
func (s *said) cut(sayings []saying) {
	for _, of := range sayings {
		if of.session != nil {
			talk := s.sessions[store.Conversation{AgentID: of.session.AgentID, SessionID: of.session.SessionID}]
			startedAt := of.session.StartedAt.UnixMicro()
			if len(talk[startedAt]) > rules.SaidMessages {
				talk[startedAt] = s.newest(talk[startedAt])
			}
		}
		if len(s.users[of.user]) > rules.SaidMessages {
			s.users[of.user] = s.newest(s.users[of.user])
		}
	}
}

func (s *said) newest(messages []store.SaidMessage) []store.SaidMessage {
	gone := len(messages) - rules.SaidMessages
	for _, m := range messages[:gone] {
		s.bytes -= len(m.Text) + saidBytes
	}
	return slices.Clone(messages[gone:])
}

// inSession is what was said in an occasion's session before its event.
func (s *said) inSession(o *rules.Occasion) []string {
	if o.Session == nil {
		return nil
	}
	talk := s.sessions[store.Conversation{AgentID: o.Session.AgentID, SessionID: o.Session.SessionID}]
	return before(talk[o.Session.StartedAt.UnixMicro()], o, func(m *store.SaidMessage) bool { return !m.At.After(o.Session.LastEventAt) })
}

// byUser is what an occasion's user said before its event.
func (s *said) byUser(o *rules.Occasion) []string {
	return before(s.users[o.UserID()], o, func(m *store.SaidMessage) bool { return o.At.Sub(m.At) <= rules.SaidWithin })
}

// before are the newest texts at positions before an occasion's, in the order of the log.
func before(messages []store.SaidMessage, o *rules.Occasion, counts func(*store.SaidMessage) bool) []string {
	if o.Event == nil {
		return nil
	}
	var texts []string
	for i := len(messages) - 1; i >= 0 && len(texts) < rules.SaidMessages; i-- {
		if m := &messages[i]; m.Position < o.Event.Position && counts(m) {
			texts = append(texts, m.Text)
		}
	}
	slices.Reverse(texts)
	return texts
}

// background answers what only some conditions ask for, in the transaction of a step.
type background struct {
	tx    *store.ReactionTx
	known *known
}

// readError is one of the database's, and no occasion's fault.
type readError struct{ error }

func (e readError) Unwrap() error { return e.error }

// SaidInSession is of rules.Background.
func (b background) SaidInSession(_ context.Context, o *rules.Occasion) ([]string, error) {
	return b.known.said.inSession(o), nil
}

// SaidByUser is of rules.Background.
func (b background) SaidByUser(_ context.Context, o *rules.Occasion) ([]string, error) {
	return b.known.said.byUser(o), nil
}

// Agent is of rules.Background.
func (b background) Agent(ctx context.Context, o *rules.Occasion) (rules.Agent, error) {
	open, err := b.known.open.at(ctx, b.tx, o.At)
	if err != nil {
		return rules.Agent{}, readError{err}
	}
	mine := open.byAgent[o.AgentID()]
	return rules.Agent{OpenSessions: mine.Sessions, Participants: mine.Participants, AllOpenSessions: open.all}, nil
}

// openSessions are the sessions that were open at a time.
type openSessions struct {
	time    time.Time
	took    time.Duration // to find out; 0 if nothing is known
	byAgent map[string]store.OpenSessions
	all     int64
}

// openFor is for how many times as long as it took to find out the numbers are used again,
// so that finding out takes a twentieth of the time at most.
const openFor = 20

// at tells of a time, or of one that is close to it.
func (s *openSessions) at(ctx context.Context, tx *store.ReactionTx, at time.Time) (*openSessions, error) {
	if s.took > 0 && at.Sub(s.time).Abs() <= openFor*s.took {
		return s, nil
	}
	began := time.Now()
	byAgent, err := tx.OpenAt(ctx, at)
	if err != nil {
		return nil, err
	}
	*s = openSessions{time: at, took: max(1, time.Since(began)), byAgent: byAgent}
	for _, open := range byAgent {
		s.all += open.Sessions
	}
	return s, nil
}
