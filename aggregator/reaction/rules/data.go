package rules

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"rapport"
)

// data is what a firing tells: the fields are in docs/rules.md.
func (rule *Rule) data(f *Firing, v *evaluation, about *details) (json.RawMessage, error) {
	o := v.occasion
	data := map[string]any{
		"id": f.ID, "rule": f.Rule, "description": rule.Description, "severity": f.Severity, "on": f.On, "at": f.At.UTC().Format(timeLayout),
		"replaces": nil, "count": nil, "by": nil, "event": nil, "session": nil, "agent": nil, "metric": nil,
	}
	if !o.Replaces.IsZero() {
		data["replaces"] = o.Replaces.UTC().Format(timeLayout)
	}
	if rule.Count != nil {
		data["count"], data["by"] = about.count, about.by
	}
	if rule.Alert != nil {
		data["metric"] = rule.Alert.told(o, about)
	}
	for name, of := range records {
		if o.Event == nil && name == "event" || name == "agent" && !rule.when.asksAgent() {
			continue
		}
		object, err := v.written(name, of, rule.withPayload)
		if err != nil {
			return nil, err
		}
		data[name] = object
	}
	return marshal(data)
}

// told is what an alert tells of its metric.
func (a *Alert) told(o *Occasion, about *details) map[string]any {
	metric := map[string]any{
		"name": a.Metric.Name, "value": o.Value, "above": a.Above, "below": a.Below, "resolved": about.resolved, "since": nil,
		"from": o.At.Add(-a.Window).UTC().Format(timeLayout), "to": o.At.UTC().Format(timeLayout), "filter": a.Filter.Fields(),
	}
	if about.hasSince {
		metric["since"] = about.since.UTC().Format(timeLayout)
	}
	return metric
}

// Fields are what the filter says, by the names of the file.
func (f *Filter) Fields() map[string]any {
	filter := make(map[string]any)
	for name, value := range map[string]string{
		"agent_id": f.AgentID, "engagement_tier": f.EngagementTier, "user_id": f.UserID, "room_name": f.RoomName,
	} {
		if value != "" {
			filter[name] = value
		}
	}
	if f.MinMessages > 0 {
		filter["min_messages"] = f.MinMessages
	}
	return filter
}

func marshal(value any) (json.RawMessage, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return nil, fmt.Errorf("writing what is told: %w", err)
	}
	return bytes.TrimSpace(b.Bytes()), nil
}

// samples are data such as the rule makes: with all that may be known, and with as
// little as may be.
func (rule *Rule) samples() ([][]byte, error) {
	var samples [][]byte
	for _, on := range rule.On {
		for _, o := range rule.sampleOccasions(on) {
			v := &evaluation{ctx: context.Background(), occasion: o}
			firings, err := rule.firings(v, &details{count: 6, by: sampleBy(rule, o), resolved: o.Value == nil, since: o.At, hasSince: o.Value == nil})
			if err != nil && !errors.Is(err, errUnknown) {
				return nil, err
			}
			for _, f := range firings {
				samples = append(samples, f.Data)
			}
		}
	}
	return samples, nil
}

func sampleBy(rule *Rule, o *Occasion) map[string]string {
	if rule.Count == nil {
		return nil
	}
	_, values, _ := keyOf(rule.Count.By, o)
	return values
}

// sampleText has what breaks a body that doesn't escape it.
const sampleText = "She said: \"it's {broken}\" \\ <b>\n\ttwice</b>"

func (rule *Rule) sampleOccasions(on string) []*Occasion {
	at := time.Date(2026, 1, 31, 9, 30, 0, 0, time.UTC)
	session := &Session{ClosesAt: at.Add(-time.Minute), Session: rapport.Session{
		AgentID: "agent-7", SessionID: "session-1", UserID: sampleText, RoomName: sampleText, StartedAt: at.Add(-time.Hour), LastActivityAt: at,
		EndedAt: at.Add(-time.Minute), EndReason: sampleText, EventCount: 3, UserMessageCount: 1, TurnCount: 1, AnsweredTurnCount: 1, Rating: new(4.5), LastPosition: 3,
	}}
	bare := &Session{ClosesAt: at.Add(time.Minute), Session: rapport.Session{AgentID: "agent-7", SessionID: "session-1", StartedAt: at, LastActivityAt: at}}
	event := &rapport.Event{
		Position: 1, Type: on, AgentID: "agent-7", SessionID: "session-1", UserID: sampleText, Text: sampleText, Role: rapport.RoleUser,
		Participants: new(int32(2)), Rating: new(4.5), ErrorCode: sampleText, OccurredAt: at, ReceivedAt: at,
	}
	busy := sampleBackground{}
	switch on {
	case OnMetric:
		return []*Occasion{{On: on, At: at, Rule: rule.Name, Value: new(12.5)}, {On: on, At: at, Rule: rule.Name}}
	case SessionOpened, SessionClosed, SessionChanged:
		return []*Occasion{
			{On: on, At: at, Session: session, Replaces: at, Background: busy}, {On: on, At: at, Session: bare, Background: busy},
		}
	}
	return []*Occasion{
		{On: on, At: at, Event: event, Session: session, Background: busy},
		{On: on, At: at, Event: &rapport.Event{Type: on, Position: 1}, Background: busy},
	}
}

type sampleBackground struct{}

func (sampleBackground) Agent(context.Context, *Occasion) (Agent, error) { return Agent{}, nil }
func (sampleBackground) SaidInSession(context.Context, *Occasion) ([]string, error) {
	return nil, nil
}
func (sampleBackground) SaidByUser(context.Context, *Occasion) ([]string, error) { return nil, nil }
