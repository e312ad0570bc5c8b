package reaction

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"rapport"
	"rapport/aggregator/reaction/rules"
	"rapport/store"
)

// maxSessionsLag is how far the sessions may be behind for alerts to be looked at: else it
// would be told that nobody comes, where only nobody is folded.
const maxSessionsLag = time.Minute

// look looks at the alerts, at each whole minute. Minutes that were missed are not looked
// at any more.
func (r *Reaction) look(ctx context.Context) error {
	set := r.set.Load()
	if r.defined != set {
		if err := r.define(ctx, set); err != nil {
			return err
		}
	}
	at := r.Now().UTC().Truncate(rules.AlertEvery)
	if len(set.Alerts()) == 0 || !at.After(r.looked) {
		return nil
	}
	lag, err := r.db.FollowerLag(ctx, store.SessionsFollower, r.Now())
	if err != nil || lag.Age > maxSessionsLag {
		return err
	}
	looks := r.values(ctx, set, at)
	_, busy, err := r.transact(ctx, func(ctx context.Context, s *step) error { return s.look(ctx, at, looks) })
	if err == nil && !busy {
		r.looked = at
	}
	return err
}

// define has the alerts of the file be in force, and no others.
func (r *Reaction) define(ctx context.Context, set *rules.Set) error {
	var alerts []store.Alert
	for _, rule := range set.Rules() {
		a := rule.Alert
		if a == nil {
			continue
		}
		filter, err := json.Marshal(a.Filter.Fields())
		if err != nil {
			return fmt.Errorf("writing the filter of %s: %w", rule.Name, err)
		}
		alerts = append(alerts, store.Alert{
			Rule: rule.Name, Description: rule.Description, Severity: rule.Severity, Metric: a.Metric.Name, Filter: filter,
			Window: a.Window, Above: a.Above, Below: a.Below, NoData: a.NoData,
		})
	}
	_, busy, err := r.transact(ctx, func(ctx context.Context, s *step) error { return s.tx.DefineAlerts(ctx, alerts) })
	if err == nil && !busy {
		r.defined = set
	}
	return err
}

// looked is the metric of an alert at a look.
type looked struct {
	alert *rules.Alert
	value *float64
}

// values computes the metrics, outside of the step: it may take a while. What can't be
// computed is left out, until the next look.
func (r *Reaction) values(ctx context.Context, set *rules.Set, at time.Time) []looked {
	var looks []looked
	for _, alert := range set.Alerts() {
		totals, err := r.totals(ctx, alert, []time.Time{at.Add(-alert.Window), at})
		if err != nil {
			r.remarks.Do(func() { r.logger.Error("an alert could not be looked at", "rule", alert.Rule, "error", err) })
			continue
		}
		looks = append(looks, looked{alert, alert.Value(&totals[0])})
	}
	return looks
}

func (r *Reaction) totals(ctx context.Context, alert *rules.Alert, bounds []time.Time) ([]rapport.Totals, error) {
	filter := alert.Filter
	if filter == (rules.Filter{AgentID: filter.AgentID}) {
		return r.db.SessionTotals(ctx, store.TotalsFilter{AgentID: filter.AgentID, Percentiles: alert.Metric.Percentile}, bounds)
	}
	return r.db.FilteredTotals(ctx, store.SessionFilter{
		TotalsFilter: store.TotalsFilter{AgentID: filter.AgentID, Percentiles: alert.Metric.Percentile}, EngagementTier: filter.EngagementTier,
		UserID: filter.UserID, RoomName: filter.RoomName, MinMessages: filter.MinMessages,
	}, bounds)
}

func (s *step) look(ctx context.Context, at time.Time, looks []looked) error {
	if !at.After(s.tx.LookedAt) { // another process was faster
		s.isIdle = true
		return nil
	}
	alerts, err := s.tx.Alerts(ctx)
	if err != nil {
		return fmt.Errorf("reading the alerts: %w", err)
	}
	states := make(alertMemory, len(alerts))
	for i := range alerts {
		states[alerts[i].Rule] = &alerts[i]
	}
	for _, l := range looks {
		if states[l.alert.Rule] == nil { // other rules were read meanwhile
			continue
		}
		err := s.judge(ctx, &rules.Occasion{On: rules.OnMetric, At: at, Rule: l.alert.Rule, Value: l.value}, states)
		if _, isItsFault := isOf[occasionError](err); isItsFault {
			s.remarks.Do(func() { s.logger.Error("an alert could not be judged", "rule", l.alert.Rule, "error", err) })
		} else if err != nil {
			return err
		}
	}
	s.after.LookedAt = at
	return nil
}

func (s *step) judge(ctx context.Context, o *rules.Occasion, states alertMemory) error {
	wasFiring := states[o.Rule].State == store.AlertFiring
	candidates, err := s.candidates(ctx, occasion{o, fault("the alert " + o.Rule)})
	if err != nil {
		return err
	}
	for i := range candidates {
		fired, err := candidates[i].fire(states)
		if err != nil {
			return err
		}
		s.firings = append(s.firings, fired...)
	}
	is := states[o.Rule]
	is.EvaluatedAt = o.At
	if err := s.tx.JudgeAlert(ctx, is); err != nil {
		return err
	}
	change := store.AlertChange{Rule: o.Rule, State: store.AlertResolved, Value: o.Value, At: o.At}
	switch isFiring := is.State == store.AlertFiring; {
	case isFiring == wasFiring:
		return nil
	case isFiring:
		change.State = store.AlertFiring
	}
	return s.tx.NoteAlertChange(ctx, change)
}

// alertMemory is what rules on metrics remember: the rows of the alerts.
type alertMemory map[string]*store.Alert

// Alert tells the state of an alert.
func (m alertMemory) Alert(_ context.Context, rule string) (rules.AlertState, error) {
	a := m[rule]
	return rules.AlertState{Firing: a.State == store.AlertFiring, Since: a.Since, Value: a.Value}, nil
}

// SetAlert remembers it.
func (m alertMemory) SetAlert(_ context.Context, rule string, state rules.AlertState) error {
	a := m[rule]
	a.Since, a.Value = state.Since, state.Value
	switch {
	case state.Firing:
		a.State = store.AlertFiring
	case state.Value == nil:
		a.State = store.AlertNoData
	default:
		a.State = store.AlertOK
	}
	return nil
}

// Count is of the Memory: these rules count nothing.
func (m alertMemory) Count(context.Context, rules.Entry, time.Duration) (int64, error) { return 0, nil }

// Throttle is of the Memory.
func (m alertMemory) Throttle(context.Context, rules.Entry, time.Duration) (bool, error) {
	return true, nil
}
