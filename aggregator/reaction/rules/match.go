package rules

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// ConditionError says that a condition could not be evaluated, so that its rule did
// not fire: it divides by zero, say, or costs too much.
type ConditionError struct {
	Rule string
	Err  error
}

func (e *ConditionError) Error() string { return fmt.Sprintf("rule %s: when: %v", e.Rule, e.Err) }

// Unwrap is what the condition says.
func (e *ConditionError) Unwrap() error { return e.Err }

// ConditionErrors are those of one occasion. What fired beside them is valid.
type ConditionErrors []*ConditionError

func (e ConditionErrors) Error() string {
	lines := make([]string, len(e))
	for i, of := range e {
		lines[i] = of.Error()
	}
	return strings.Join(lines, "; ")
}

// Match tells what an occasion fires, rule by rule in the order of the file, and
// destination by destination. A rule looks at its condition first, counts what is
// true, and is throttled when there is enough of it.
//
// An error of type [ConditionErrors] comes with valid firings. With any other (of the
// memory, of the Background, or of ctx) nothing is valid, and what the memory has
// noted is to be taken back.
func (s *Set) Match(ctx context.Context, o *Occasion, memory Memory) ([]Firing, error) {
	candidates, err := s.Candidates(ctx, o)
	if _, isCondition := errors.AsType[ConditionErrors](err); err != nil && !isCondition {
		return nil, err
	}
	var firings []Firing
	for _, c := range candidates {
		found, failed := c.Fire(memory)
		if failed != nil {
			return nil, failed
		}
		firings = append(firings, found...)
	}
	return firings, err
}

// Candidate is a rule whose condition is true of an occasion.
type Candidate struct {
	rule *Rule
	v    *evaluation
}

// Candidates are the rules whose conditions are true of an occasion: the first half of a
// Match, which asks no memory. The errors are those of Match.
func (s *Set) Candidates(ctx context.Context, o *Occasion) ([]Candidate, error) {
	if o.Event != nil && isComputed(o.On) { // a sender may name its events so
		return nil, nil
	}
	var candidates []Candidate
	var wrong ConditionErrors
	v := &evaluation{ctx: ctx, occasion: o}
	for _, rule := range s.byOccasion[o.On] {
		holds, err := rule.holds(v)
		if condition, ok := errors.AsType[*ConditionError](err); ok {
			wrong = append(wrong, condition)
			continue
		}
		if err != nil {
			return nil, err
		}
		if holds {
			candidates = append(candidates, Candidate{rule, v})
		}
	}
	if len(wrong) > 0 {
		return candidates, wrong
	}
	return candidates, nil
}

func (rule *Rule) holds(v *evaluation) (bool, error) {
	if rule.Alert != nil {
		return v.occasion.Rule == rule.Name, nil
	}
	holds, err := rule.when.holds(v)
	switch {
	case v.failed != nil:
		return false, v.failed
	case v.ctx.Err() != nil:
		return false, v.ctx.Err()
	case err != nil:
		return false, &ConditionError{rule.Name, err}
	}
	return holds, nil
}

// Fire tells what a candidate fires: the second half of a Match.
func (c *Candidate) Fire(memory Memory) ([]Firing, error) {
	if c.rule.Alert != nil {
		return c.rule.matchMetric(c.v, memory)
	}
	about := &details{}
	enough, err := c.rule.countUp(c.v, memory, about)
	if err != nil || !enough {
		return nil, err
	}
	if passes, err := c.rule.passes(c.v, memory); err != nil || !passes {
		return nil, err
	}
	return c.rule.firings(c.v, about)
}

// details is what a firing tells besides its occasion.
type details struct {
	count    int64
	by       map[string]string
	resolved bool
	since    time.Time
	hasSince bool
}

func (rule *Rule) entry(key string, o *Occasion) Entry {
	return Entry{Rule: rule.Name, Key: key, At: o.At, Position: o.position(), AgentID: o.AgentID(), SessionID: o.SessionID()}
}

func (rule *Rule) countUp(v *evaluation, memory Memory, about *details) (bool, error) {
	if rule.Count == nil {
		return true, nil
	}
	key, values, known := keyOf(rule.Count.By, v.occasion)
	if !known {
		return false, nil
	}
	n, err := memory.Count(v.ctx, rule.entry(key, v.occasion), rule.Count.Over)
	about.count, about.by = n, values
	return n > rule.Count.MoreThan, err
}

func (rule *Rule) passes(v *evaluation, memory Memory) (bool, error) {
	if rule.Throttle == nil {
		return true, nil
	}
	key, _, known := keyOf(rule.Throttle.By, v.occasion)
	if !known {
		return true, nil
	}
	return memory.Throttle(v.ctx, rule.entry(key, v.occasion), rule.Throttle.Per)
}

func (rule *Rule) matchMetric(v *evaluation, memory Memory) ([]Firing, error) {
	was, err := memory.Alert(v.ctx, rule.Name)
	if err != nil {
		return nil, err
	}
	is := rule.Alert.judge(was, v.occasion.Value, v.occasion.At)
	if err := memory.SetAlert(v.ctx, rule.Name, is); err != nil || is.Firing == was.Firing {
		return nil, err
	}
	return rule.firings(v, &details{resolved: was.Firing, since: was.Since, hasSince: was.Firing})
}

func (rule *Rule) firings(v *evaluation, about *details) ([]Firing, error) {
	o := v.occasion
	firings := make([]Firing, 0, len(rule.Then))
	for _, destination := range rule.Then {
		f := Firing{
			ID: rule.id(destination, o, about), Rule: rule.Name, Destination: destination, Severity: rule.Severity, On: o.On,
			At: o.At, Position: o.position(), Resolved: about.resolved, AgentID: o.AgentID(), SessionID: o.SessionID(),
		}
		var err error
		if f.Data, err = rule.data(&f, v, about); err != nil {
			return nil, err
		}
		firings = append(firings, f)
	}
	return firings, nil
}

// id tells firings apart: rule, destination, and the event's position; or the session,
// what became of it, and its last_position; or when the alert began.
func (rule *Rule) id(destination string, o *Occasion, about *details) string {
	parts := []string{rule.Name, destination}
	switch {
	case o.Event != nil:
		parts = append(parts, strconv.FormatInt(o.Event.Position, 10))
	case o.Session != nil:
		s := o.Session
		sum := sha256.Sum256([]byte(packed(s.AgentID, s.SessionID, strconv.FormatInt(s.StartedAt.UnixMicro(), 10))))
		parts = append(parts, strings.TrimPrefix(o.On, "session."), hex.EncodeToString(sum[:8]), strconv.FormatInt(s.LastPosition, 10))
	case about.resolved:
		parts = append(parts, "resolved", strconv.FormatInt(o.At.UnixMicro(), 10))
	default:
		parts = append(parts, "alert", strconv.FormatInt(o.At.UnixMicro(), 10))
	}
	return strings.Join(parts, ":")
}
