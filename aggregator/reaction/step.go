package reaction

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"rapport"
	"rapport/aggregator/reaction/rules"
	"rapport/store"
)

// step is a transaction in which rules are asked.
type step struct {
	*Reaction
	tx     *store.ReactionTx
	set    *rules.Set
	now    time.Time
	after  store.ReactionState // what it leaves behind
	memory *memory

	isIdle    bool       // there was nothing to do
	occasions []occasion // in order
	sayings   []saying   // of users, in order, where rules ask what was said
	about     []fault    // any of which may be to blame, if the step is refused
	firings   []rules.Firing
	wrong     []*rules.ConditionError
	passed    []fault // what it passes over
}

// transact takes a step, if no other process is at it.
func (r *Reaction) transact(ctx context.Context, do func(context.Context, *step) error) (s *step, busy bool, err error) {
	set := r.set.Load()
	busy, err = r.db.React(ctx, func(tx *store.ReactionTx) error {
		s = &step{Reaction: r, tx: tx, set: set, now: r.Now(), after: tx.ReactionState}
		r.known.begin(&tx.ReactionState)
		s.memory = newMemory(&r.known)
		if err := s.begin(ctx); err != nil {
			return err
		}
		if err := do(ctx, s); err != nil {
			return err
		}
		if s.isIdle = s.isIdle && s.after == tx.ReactionState; s.isIdle {
			return nil
		}
		return s.leave(ctx)
	})
	if err != nil {
		r.known.forget()
		if s != nil {
			err = stepError{err, s.about}
		}
		return nil, false, err
	}
	if !busy {
		r.known.committed(&s.tx.ReactionState, s.isIdle)
		r.begun = true
		r.tell(s)
	}
	return s, busy, nil
}

// begin sees to it that rules which are new, or were away for long, begin now.
func (s *step) begin(ctx context.Context) error {
	if !s.begun {
		if err := s.beginAtHead(ctx); err != nil {
			return err
		}
	}
	switch isOnClosed := s.isOnClosed(); {
	case !isOnClosed:
		s.after.BeganAt, s.after.ClosedTo = time.Time{}, time.Time{}
	case s.after.BeganAt.IsZero():
		s.after.BeganAt, s.after.ClosedTo = s.now, s.now
	}
	return nil
}

// beginAtHead passes over what came while there were no rules, unless that was a short
// time.
func (s *step) beginAtHead(ctx context.Context) error {
	if s.tx.Begun {
		if s.now.Sub(s.tx.MovedAt) <= MaxAge {
			return nil
		}
		if since, err := s.tx.WaitsSince(ctx, s.tx.Position); err != nil || s.now.Sub(since) <= MaxAge {
			return err
		}
	}
	s.after.Position, s.after.BeganAt = s.tx.Head, time.Time{}
	if passed := s.tx.Head - s.tx.Position; passed > 0 {
		s.logger.Info("the rules begin at the end of the log: what came before fires nothing", "events", passed)
	}
	return nil
}

func (s *step) isOnClosed() bool {
	return s.set.IsOn(rules.SessionClosed) || s.set.IsOn(rules.SessionChanged)
}

// leave enqueues what has fired, and writes down where the step has come to.
func (s *step) leave(ctx context.Context) error {
	if err := s.memory.write(ctx, s.tx); err != nil {
		return err
	}
	deliveries := make([]store.Delivery, len(s.firings))
	for i := range s.firings {
		f := &s.firings[i]
		deliveries[i] = store.Delivery{
			ID: f.ID, Rule: f.Rule, Destination: f.Destination, Position: f.Position, Body: f.Data,
			Subject: store.Conversation{AgentID: f.AgentID, SessionID: f.SessionID},
		}
	}
	if _, err := s.tx.Enqueue(ctx, deliveries...); err != nil {
		return err
	}
	return s.tx.Leave(ctx, s.after)
}

// tell counts and logs what a step did, once it is committed.
func (r *Reaction) tell(s *step) {
	r.counts.fired(s.firings)
	for _, wrong := range s.wrong {
		r.counts.failed.WithLabelValues(wrong.Rule).Inc()
		r.remarks.Do(func() {
			r.logger.Warn("a condition could not be evaluated, so that its rule did not fire", "rule", wrong.Rule, "error", wrong.Err)
		})
	}
	slices.Sort(s.passed) // an event may be two occasions
	for _, fault := range slices.Compact(s.passed) {
		r.counts.passed.Inc()
		r.logger.Error("rules could not be asked, and never will be, of this", "of", string(fault), "error", r.faults.passed[fault])
		delete(r.faults.passed, fault)
	}
}

// follow asks the rules of the next events, at most so many.
func (r *Reaction) follow(ctx context.Context, limit int) (progress, error) {
	s, busy, err := r.transact(ctx, func(ctx context.Context, s *step) error { return s.follow(ctx, limit) })
	if err != nil || busy {
		return progress{busy: busy}, err
	}
	return progress{isAtHead: s.after.Position >= s.tx.Folded}, nil
}

func (s *step) follow(ctx context.Context, limit int) error {
	if s.after.Position != s.tx.Position { // it begins at the head
		return nil
	}
	events, reached, err := s.tx.Events(ctx, store.ReactionQuery{Types: s.typesWithText(), PayloadTypes: s.set.PayloadTypes(), Limit: limit})
	if err != nil {
		return err
	}
	s.after.Position = reached
	return s.react(ctx, events)
}

// typesWithText are the types of events of which the text is read.
func (s *step) typesWithText() []string {
	types := s.set.Types()
	if s.asksWhatWasSaid() && !slices.Contains(types, rapport.ChatPush) {
		types = append(types, rapport.ChatPush)
	}
	return types
}

func (s *step) asksWhatWasSaid() bool {
	needs := s.set.Needs()
	return needs.SaidInSession || needs.SaidByUser
}

func (s *step) react(ctx context.Context, events []*rapport.Event) error {
	sessions, err := s.sessionsOf(ctx, events)
	if err != nil {
		return fmt.Errorf("reading the sessions of events: %w", err)
	}
	due := make(dueTalks)
	for _, e := range events {
		of := fault("event " + strconv.FormatInt(e.Position, 10))
		s.about = append(s.about, of)
		session := sessions.of(e)
		if s.asksWhatWasSaid() && e.Type == rapport.ChatPush && e.Role == rapport.RoleUser {
			s.sayings = append(s.sayings, sayingOf(&rules.Occasion{Event: e, Session: session}))
		}
		if s.now.Sub(e.ReceivedAt) > MaxAge {
			continue
		}
		if s.set.IsOn(e.Type) {
			s.add(of, &rules.Occasion{On: e.Type, At: e.ReceivedAt, Event: e, Session: session})
		}
		if session == nil {
			continue
		}
		if session.FirstPosition == e.Position && s.set.IsOn(rules.SessionOpened) {
			s.add(of, &rules.Occasion{On: rules.SessionOpened, At: e.ReceivedAt, Session: session})
		}
		if s.isOnClosed() && !session.ClosesAt.After(s.now.Add(rules.Settle)) {
			due.add(e)
		}
	}
	if err := s.match(ctx); err != nil {
		return err
	}
	return s.tx.AddDue(ctx, s.now.Add(rules.Settle), due.list())
}

// add adds an occasion, unless it is to be passed over.
func (s *step) add(of fault, o *rules.Occasion) {
	if s.faults.passed[of] != nil {
		s.passed = append(s.passed, of)
		return
	}
	o.Background = background{s.tx, &s.known}
	s.occasions = append(s.occasions, occasion{o, of})
}

// match asks the rules of all occasions: first which conditions are true; then, since only
// now it is known which, all that rules remember is read at once.
func (s *step) match(ctx context.Context) error {
	if err := s.recall(ctx); err != nil {
		return err
	}
	var candidates []candidate
	for _, o := range s.occasions {
		found, err := s.candidates(ctx, o)
		if err != nil {
			return err
		}
		candidates = append(candidates, found...)
	}
	asked := newScout()
	for i := range candidates {
		if _, err := candidates[i].fire(asked); err != nil {
			return err
		}
	}
	if err := s.memory.load(ctx, s.tx, asked); err != nil {
		return fmt.Errorf("reading what rules remember: %w", err)
	}
	for i := range candidates {
		fired, err := candidates[i].fire(s.memory)
		if err != nil {
			return err
		}
		s.firings = append(s.firings, fired...)
	}
	s.known.said.cut(s.sayings)
	return nil
}

// recall has it be known what was said before, by those of whom rules may ask it.
func (s *step) recall(ctx context.Context) error {
	if !s.asksWhatWasSaid() {
		return nil
	}
	types := s.set.SaidTypes()
	var asked []saying
	for _, o := range s.occasions {
		if o.Event != nil && slices.Contains(types, o.Event.Type) {
			asked = append(asked, sayingOf(o.Occasion))
		}
	}
	if err := s.known.said.load(ctx, s.tx, s.set.Needs(), asked, s.now); err != nil {
		return fmt.Errorf("reading what was said before: %w", err)
	}
	for _, of := range s.sayings { // each asks for what is before it
		s.known.said.note(of)
	}
	return nil
}

// occasion is one that rules are asked of, and what to blame if they can't be.
type occasion struct {
	*rules.Occasion
	of fault
}

// candidate is a rule that may fire, and what to blame if it can't.
type candidate struct {
	rules.Candidate
	of fault
}

// candidates are the rules whose conditions are true of an occasion.
func (s *step) candidates(ctx context.Context, o occasion) (candidates []candidate, err error) {
	defer blamePanic(o.of, &err)
	found, err := s.set.Candidates(ctx, o.Occasion)
	if wrong, isWrong := isOf[rules.ConditionErrors](err); isWrong {
		s.wrong, err = append(s.wrong, wrong...), nil
	}
	if _, isRead := isOf[readError](err); err != nil && !isRead && ctx.Err() == nil {
		err = occasionError{err, o.of}
	}
	for _, c := range found {
		candidates = append(candidates, candidate{c, o.of})
	}
	return candidates, err
}

// fire tells what a candidate fires.
func (c *candidate) fire(memory rules.Memory) (fired []rules.Firing, err error) {
	defer blamePanic(c.of, &err)
	if fired, err = c.Fire(memory); err != nil {
		return nil, occasionError{err, c.of}
	}
	return fired, nil
}

// blamePanic is deferred.
func blamePanic(of fault, err *error) {
	if panicked := recover(); panicked != nil {
		*err = occasionError{fmt.Errorf("it panicked: %v", panicked), of}
	}
}

// talks are sessions by their conversations.
type talks map[store.Conversation][]*rules.Session

// sessionsOf reads the sessions of events, in one query.
func (s *step) sessionsOf(ctx context.Context, events []*rapport.Event) (talks, error) {
	spans := make(map[store.Conversation]store.TalkSpan)
	for _, e := range events {
		if !e.InSession() {
			continue
		}
		talk := store.Conversation{AgentID: e.AgentID, SessionID: e.SessionID}
		span, known := spans[talk]
		if !known || e.OccurredAt.Before(span.Since) {
			span.Since = e.OccurredAt
		}
		if !known || e.OccurredAt.After(span.Until) {
			span.Until = e.OccurredAt
		}
		span.Conversation = talk
		spans[talk] = span
	}
	list := make([]store.TalkSpan, 0, len(spans))
	for _, span := range spans {
		list = append(list, span)
	}
	rows, err := s.tx.SessionsDuring(ctx, list)
	found := make(talks, len(spans))
	for i := range rows {
		talk := store.Conversation{AgentID: rows[i].AgentID, SessionID: rows[i].SessionID}
		found[talk] = append(found[talk], sessionOf(&rows[i]))
	}
	return found, err
}

func sessionOf(row *store.SessionRow) *rules.Session {
	return &rules.Session{Session: row.Session, ClosesAt: row.ClosesAt}
}

// of is an event's session; nil if it is of none.
func (t talks) of(e *rapport.Event) *rules.Session {
	if !e.InSession() {
		return nil
	}
	for _, session := range t[store.Conversation{AgentID: e.AgentID, SessionID: e.SessionID}] {
		if !e.OccurredAt.Before(session.StartedAt) && !e.OccurredAt.After(session.LastEventAt) {
			return session
		}
	}
	return nil
}

// dueTalks are conversations of which something came to a session that was closed.
type dueTalks map[store.Conversation]*store.DueConversation

func (t dueTalks) add(e *rapport.Event) {
	of := store.Conversation{AgentID: e.AgentID, SessionID: e.SessionID}
	d := t[of]
	if d == nil {
		t[of] = &store.DueConversation{
			TalkSpan:   store.TalkSpan{Conversation: of, Since: e.OccurredAt, Until: e.OccurredAt},
			ReceivedAt: e.ReceivedAt, Position: e.Position,
		}
		return
	}
	if e.OccurredAt.Before(d.Since) {
		d.Since = e.OccurredAt
	}
	if e.OccurredAt.After(d.Until) {
		d.Until = e.OccurredAt
	}
	if e.ReceivedAt.After(d.ReceivedAt) {
		d.ReceivedAt = e.ReceivedAt
	}
}

func (t dueTalks) list() []store.DueConversation {
	list := make([]store.DueConversation, 0, len(t))
	for _, d := range t {
		list = append(list, *d)
	}
	return list
}

// fault names what rules could not be asked of.
type fault string

// occasionError says that an occasion is to blame.
type occasionError struct {
	error
	of fault
}

func (e occasionError) Error() string { return fmt.Sprintf("%s: %v", e.of, e.error) }
func (e occasionError) Unwrap() error { return e.error }

// stepError is one of a step, in which any of some may be to blame.
type stepError struct {
	error
	of []fault
}

func (e stepError) Unwrap() error { return e.error }

// faults are what has failed, how often, and what is to be passed over for it.
type faults struct {
	tries  map[fault]int
	passed map[fault]error
	most   int // closed sessions of a step; 0 is no limit
}

// maxTries is how often rules are asked of what they can't be asked of.
const maxTries = 3

func newFaults() faults { return faults{tries: make(map[fault]int), passed: make(map[fault]error)} }

// note notes why a step failed. It reports whether the next one should be smaller, so that
// what is to blame is found.
func (f *faults) note(err error) (smaller bool) {
	if of, isOne := isOf[occasionError](err); isOne {
		f.blame(of.of, err)
		return false
	}
	if of, isStep := isOf[stepError](err); isStep && len(of.of) == 1 && store.IsDataError(err) {
		f.blame(of.of[0], err)
	}
	return store.IsDataError(err) || store.TookTooLong(err) || errors.Is(err, context.DeadlineExceeded)
}

func (f *faults) blame(of fault, err error) {
	f.tries[of]++
	if f.tries[of] < maxTries {
		return
	}
	delete(f.tries, of)
	f.passed[of] = err
}
