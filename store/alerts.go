package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"rapport/store/internal/dbsqlc"
)

// The states of an alert, and the changes of its history.
const (
	AlertOK       = "ok"
	AlertFiring   = "firing"
	AlertNoData   = "no_data"  // it does not fire, and the metric was null at the last look
	AlertResolved = "resolved" // of a change alone
)

// Alert is a rule on a metric, and how it stands.
type Alert struct {
	Rule        string
	Metric      string
	Filter      json.RawMessage // an object: which sessions it is of
	Window      time.Duration   // over which it is computed, up to EvaluatedAt
	Above       *float64        // it fires for more; nil if for no more
	Below       *float64        // it fires for less; nil if for no less
	NoData      string          // what it means that there is no data: ok, alert or keep
	Severity    string
	Description string

	State       string    // AlertOK, AlertFiring or AlertNoData
	Since       time.Time // when it began or ended to fire last; zero if it never did
	Value       *float64  // at the last look; nil without data
	EvaluatedAt time.Time // the last look; zero before the first
}

// Alerts are those of the rules that are in force, by the names of the rules.
func (db *DB) Alerts(ctx context.Context) ([]Alert, error) {
	rows, err := db.q.AlertList(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the alerts: %w", err)
	}
	return alertsOf(rows), nil
}

func alertsOf(rows []dbsqlc.Alert) []Alert {
	alerts := make([]Alert, len(rows))
	for i, row := range rows {
		alerts[i] = Alert{
			Rule: row.Rule, Metric: row.Metric, Filter: row.Filter, Window: time.Duration(row.WindowS) * time.Second,
			Above: row.Above, Below: row.Below, NoData: row.NoData, Severity: row.Severity, Description: row.Description,
			State: row.State, Since: orZero(row.Since), Value: row.Value, EvaluatedAt: orZero(row.EvaluatedAt),
		}
	}
	return alerts
}

// AlertChange is that an alert began, or ended, to fire.
type AlertChange struct {
	ID    int64
	Rule  string // which may be in force no more
	State string // AlertFiring or AlertResolved
	Value *float64
	At    time.Time
}

// AlertHistoryQuery asks for a page of changes.
type AlertHistoryQuery struct {
	Rule   string   // of this one; any if empty
	Agents []string // that were of one of these agents alone; any if there are none
	Before int64    // the ID behind which the page begins; 0 is the newest
	Limit  int
}

// AlertHistory are the changes of alerts, the newest first.
func (db *DB) AlertHistory(ctx context.Context, query AlertHistoryQuery) ([]AlertChange, error) {
	rows, err := db.q.AlertChangeList(ctx, dbsqlc.AlertChangeListParams{
		Rule: query.Rule, Before: query.Before, Every: len(query.Agents) == 0, Agents: orNone(query.Agents), MaxRows: int32(query.Limit),
	})
	if err != nil {
		return nil, fmt.Errorf("reading the history of alerts: %w", err)
	}
	changes := make([]AlertChange, len(rows))
	for i, row := range rows {
		changes[i] = AlertChange(row)
	}
	return changes, nil
}

// Alerts are those of the rules that were in force at the last step.
func (tx *ReactionTx) Alerts(ctx context.Context) ([]Alert, error) {
	rows, err := tx.q.AlertList(ctx)
	return alertsOf(rows), err
}

// DefineAlerts has exactly these be in force. One that was before keeps its state.
func (tx *ReactionTx) DefineAlerts(ctx context.Context, alerts []Alert) error {
	rules := make([]string, len(alerts))
	for i := range alerts {
		rules[i] = alerts[i].Rule
	}
	if err := tx.q.AlertKeep(ctx, rules); err != nil {
		return err
	}
	for i := range alerts {
		a := &alerts[i]
		err := tx.q.AlertDefine(ctx, dbsqlc.AlertDefineParams{
			Rule: a.Rule, Description: storable(a.Description), Severity: a.Severity, Metric: a.Metric, Filter: a.Filter,
			WindowS: int64(a.Window / time.Second), Above: a.Above, Below: a.Below, NoData: a.NoData,
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// JudgeAlert notes how an alert stands after a look: its State, Since, Value and EvaluatedAt.
func (tx *ReactionTx) JudgeAlert(ctx context.Context, a *Alert) error {
	return tx.q.AlertJudge(ctx, dbsqlc.AlertJudgeParams{
		Rule: a.Rule, State: a.State, Value: a.Value, Since: orNull(a.Since), EvaluatedAt: &a.EvaluatedAt,
	})
}

// NoteAlertChange adds to the history of alerts.
func (tx *ReactionTx) NoteAlertChange(ctx context.Context, change AlertChange) error {
	return tx.q.AlertChangeInsert(ctx, dbsqlc.AlertChangeInsertParams{Rule: change.Rule, State: change.State, Value: change.Value, At: change.At})
}
