package rapport

import (
	"slices"
	"time"
	"unicode/utf8"
)

// Fold cuts events into sessions and computes their numbers. It holds no state
// of its own and may be used by many goroutines at once.
type Fold struct {
	settings Settings
	words    []string // frustration words, normalized
}

// NewFold makes the fold of the given settings.
func NewFold(settings Settings) *Fold {
	f := &Fold{settings: settings}
	for _, word := range settings.FrustrationWords {
		if w := normalize(word); w != "" {
			f.words = append(f.words, w)
		}
	}
	return f
}

// Settings are those that the fold was made with.
func (f *Fold) Settings() Settings { return f.settings }

// Window is a session together with what its user has said, which the
// repetitions are counted by.
type Window struct {
	Session
	said map[TextHash]bool // true for the texts that were added by this fold
}

// Resume makes the window of a stored session, from which Continue carries on.
// Of the texts already said, only those need be known that the events to come
// repeat: see Fold.TextHashes.
func Resume(s Session, said []TextHash) *Window {
	w := &Window{Session: s, said: make(map[TextHash]bool, len(said))}
	for _, h := range said {
		w.said[h] = false
	}
	return w
}

// Added are the texts that the fold has added to those already said, in no
// particular order.
func (w *Window) Added() []TextHash {
	var added []TextHash
	for h, isNew := range w.said {
		if isNew {
			added = append(added, h)
		}
	}
	return added
}

// TextHashes are the hashes of what the user says in the events, without
// repetition: what Resume has to be told of.
func (f *Fold) TextHashes(events []*Event) []TextHash {
	var hashes []TextHash
	for _, e := range events {
		if e.Type != ChatPush || e.Role != RoleUser {
			continue
		}
		if h, ok := hashText(normalize(e.Text)); ok && !slices.Contains(hashes, h) {
			hashes = append(hashes, h)
		}
	}
	return hashes
}

// Windows folds all events of one (agent_id, session_id), given in any order
// and any number of times each, into its sessions, ordered by StartedAt. The
// slice is sorted in place. Events that are of no session must not be among
// them: see Event.InSession. Healed messages that were delivered after all do not
// count: see Reconcile.
func (f *Fold) Windows(events []*Event) []*Window {
	counted, healedAt := Reconcile(events)
	windows := f.Continue(nil, counted)
	NoteHealed(windows, healedAt)
	return windows
}

// Continue folds events that all come after those of a window, by Compare, onto
// the window, which it changes, and into new ones behind it. The result
// begins with last, unless that is nil.
//
// It counts every event that it is given: where healed messages are near, the
// caller has reconciled them, and notes them in the windows.
func (f *Fold) Continue(last *Window, events []*Event) []*Window {
	slices.SortFunc(events, Compare)
	events = slices.CompactFunc(events, func(a, b *Event) bool { return Compare(a, b) == 0 })
	var windows []*Window
	if last != nil {
		windows = append(windows, last)
	}
	for _, e := range events {
		if last == nil || f.cuts(&last.Session, e) {
			last = f.open(e)
			windows = append(windows, last)
		}
		f.add(last, e)
	}
	return windows
}

// cuts reports whether e, the event after the window's last, begins a new one.
func (f *Fold) cuts(s *Session, e *Event) bool {
	switch {
	case e.Type == SessionEnd:
		return false // it belongs to the session before it, whatever the gap
	case s.EndCount > 0:
		return true
	default:
		return e.OccurredAt.Sub(s.LastActivityAt) > f.settings.IdleTimeout
	}
}

func (f *Fold) open(e *Event) *Window {
	return &Window{
		Session: Session{
			AgentID:        e.AgentID,
			SessionID:      e.SessionID,
			StartedAt:      e.OccurredAt,
			LastActivityAt: e.OccurredAt,
			FirstPosition:  e.Position,
			LastPosition:   e.Position,
			ScoreVersion:   f.settings.ScoreVersion,
		},
		said: make(map[TextHash]bool),
	}
}

// add folds the next event of the window's order into it.
func (f *Fold) add(w *Window, e *Event) {
	w.EventCount++
	w.FirstPosition = min(w.FirstPosition, e.Position)
	w.LastPosition = max(w.LastPosition, e.Position)
	w.LastEventAt = e.OccurredAt
	if e.Type == SessionEnd {
		w.addEnd(e)
	} else {
		w.addActivity(e, f.settings.ActiveGapCap)
	}
	w.addDetails(e)
	switch e.Type {
	case RoomJoin:
		w.JoinCount++
	case AgentError:
		w.ErrorCount++
	case ChatPush:
		f.addMessage(w, e)
	}
}

func (s *Session) addEnd(e *Event) {
	s.EndCount++
	if s.EndCount > 1 {
		return
	}
	s.EndedAt = e.OccurredAt
	s.EndReason = e.EndReason
	if s.EndReason == "" {
		s.EndReason = EndReasonEnded
	}
}

func (s *Session) addActivity(e *Event, gapCap time.Duration) {
	gap := min(e.OccurredAt.Sub(s.LastActivityAt), gapCap)
	s.ActiveUs += gap.Microseconds()
	s.LastActivityAt = e.OccurredAt
}

func (s *Session) addDetails(e *Event) {
	if e.Participants != nil {
		s.PeakParticipants = max(s.PeakParticipants, *e.Participants)
	}
	if s.RoomName == "" {
		s.RoomName = e.RoomName
	}
	if s.UserID == "" {
		s.UserID = e.UserID
	}
	if e.Rating != nil {
		s.Rating = e.Rating
	}
}

func (f *Fold) addMessage(w *Window, e *Event) {
	w.MessageCount++
	switch e.Role {
	case RoleUser:
		f.addUserMessage(w, e)
	case RoleAgent:
		w.AgentMessageCount++
		w.AgentCharCount += int64(utf8.RuneCountInString(e.Text))
		if w.AwaitsAnswer {
			w.addResponse(e.OccurredAt.Sub(w.LastUserMessageAt), f.settings.QuickAnswer)
		}
	}
}

func (f *Fold) addUserMessage(w *Window, e *Event) {
	w.UserMessageCount++
	w.UserCharCount += int64(utf8.RuneCountInString(e.Text))
	if !w.AwaitsAnswer {
		w.TurnCount++
	}
	w.AwaitsAnswer = true
	w.LastUserMessageAt = e.OccurredAt

	text := normalize(e.Text)
	if h, ok := hashText(text); ok {
		if _, repeated := w.said[h]; repeated {
			w.RepeatCount++
		} else {
			w.said[h] = true
		}
	}
	mood := sentiment(e.Text)
	w.SentimentSum += mood
	if mood <= int64(f.settings.FrustrationSentiment) || f.isFrustrated(text) {
		w.FrictionCount++
	}
}

func (f *Fold) isFrustrated(normalized string) bool {
	return slices.ContainsFunc(f.words, func(word string) bool { return hasWord(normalized, word) })
}

// addResponse closes a turn with its answer.
func (s *Session) addResponse(response, quick time.Duration) {
	ms := response.Milliseconds()
	if s.AnsweredTurnCount == 0 {
		s.FirstResponseMs = ms
	}
	s.AnsweredTurnCount++
	s.ResponseMsTotal += ms
	s.ResponseMsMax = max(s.ResponseMsMax, ms)
	if response <= quick {
		s.QuickAnswerCount++
	}
	s.AwaitsAnswer = false
}
