package rules

import (
	"context"
	"encoding/json"
	"fmt"

	"rapport"
)

// evaluation is what is known of an occasion while rules look at it. What its
// Background and the payload tell is asked once, and only if a rule wants to know.
type evaluation struct {
	ctx      context.Context
	occasion *Occasion

	parsed bool
	body   any // of the payload

	agentKnown *Agent
	inSession  *[]string
	byUser     *[]string

	failed error // of the Background

	asked   map[string]any             // see variables
	objects map[string]json.RawMessage // by the names of records: see written
}

// variables are those of conditions.
func (v *evaluation) variables() map[string]any {
	if v.asked == nil {
		v.asked = map[string]any{"event": v, "session": v, "agent": v}
	}
	return v.asked
}

// written is a record in JSON, null if nothing of it is known: the same for all that tell
// of the occasion.
func (v *evaluation) written(name string, of *record, withPayload bool) (json.RawMessage, error) {
	key := name
	if withPayload {
		key += " with payload"
	}
	if object, known := v.objects[key]; known {
		return object, nil
	}
	object, err := v.object(of, withPayload)
	if err != nil {
		return nil, err
	}
	text := json.RawMessage("null")
	if object != nil {
		if text, err = marshal(object); err != nil {
			return nil, err
		}
	}
	if v.objects == nil {
		v.objects = make(map[string]json.RawMessage)
	}
	v.objects[key] = text
	return text, nil
}

func (v *evaluation) self() (any, error) {
	if v.occasion.Event == nil {
		return nil, errUnknown
	}
	return v, nil
}

func (v *evaluation) status() (any, error) {
	s := v.occasion.Session
	if s == nil {
		return nil, errUnknown
	}
	if v.occasion.At.Before(s.ClosesAt) {
		return "open", nil
	}
	return "closed", nil
}

// endReason is known of a closed session alone.
func (v *evaluation) endReason() (any, error) {
	s := v.occasion.Session
	switch {
	case s == nil || v.occasion.At.Before(s.ClosesAt):
		return nil, errUnknown
	case s.EndedAt.IsZero():
		return rapport.EndReasonIdle, nil
	}
	return s.EndReason, nil
}

func (v *evaluation) agent() (*Agent, error) {
	if v.agentKnown == nil {
		if v.occasion.Background == nil {
			return nil, errUnknown
		}
		agent, err := v.occasion.Background.Agent(v.ctx, v.occasion)
		if err != nil {
			return nil, v.fail("what the agent has to do", err)
		}
		v.agentKnown = &agent
	}
	return v.agentKnown, nil
}

func (v *evaluation) saidInSession() (any, error) {
	return v.said(&v.inSession, Background.SaidInSession)
}

func (v *evaluation) saidByUser() (any, error) {
	return v.said(&v.byUser, Background.SaidByUser)
}

func (v *evaluation) said(texts **[]string, ask func(Background, context.Context, *Occasion) ([]string, error)) (any, error) {
	if *texts == nil {
		said := []string{}
		if v.occasion.Background != nil {
			var err error
			if said, err = ask(v.occasion.Background, v.ctx, v.occasion); err != nil {
				return nil, v.fail("what was said before", err)
			}
		}
		*texts = &said
	}
	return **texts, nil
}

func (v *evaluation) fail(what string, err error) error {
	v.failed = fmt.Errorf("reading %s: %w", what, err)
	return v.failed
}
