package api

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/danielgtaylor/huma/v2"

	"rapport"
	"rapport/api/access"
	"rapport/store"
)

func (s *server) registerAlerts() {
	list(s, huma.Operation{
		OperationID: "list-alerts", Path: "/alerts", Tags: []string{"operating"},
		Summary: "List the alerts",
		Description: "The rules on metrics that are in force, by their names, and how each stood when it was looked at last: every minute, as long as a server has rules. " +
			"For a key that is limited to agents, those whose filter is one of its agents.",
	}, s.listAlerts)
	list(s, huma.Operation{
		OperationID: "list-alert-history", Path: "/alerts/history", Tags: []string{"operating"},
		Summary: "List when alerts began and were over",
		Description: "The newest first, those of rules that are in force no more among them. " +
			"For a key that is limited to agents, of those alerts alone that it sees now.",
	}, s.listAlertHistory)
}

// alertFilter says which sessions a metric is of, as in GET /stats.
type alertFilter struct {
	AgentID        *string `json:"agent_id" nullable:"true" doc:"Of this agent; null for all."`
	EngagementTier *string `json:"engagement_tier" nullable:"true" doc:"Of this tier; null for all."`
	UserID         *string `json:"user_id" nullable:"true" doc:"Of this user; null for all."`
	RoomName       *string `json:"room_name" nullable:"true" doc:"In this room; null for all."`
	MinMessages    *int64  `json:"min_messages" nullable:"true" doc:"With so many messages at least; null for all."`
}

// alert is a rule on a metric, and how it stands.
type alert struct {
	Rule        string      `json:"rule" doc:"Its name."`
	Description string      `json:"description" doc:"What the rule says of itself."`
	Severity    string      `json:"severity" enum:"low,medium,high,critical" doc:"How bad it is if it fires."`
	Metric      string      `json:"metric" doc:"One of those of GET /stats."`
	Filter      alertFilter `json:"filter" doc:"Of which sessions."`
	WindowS     int64       `json:"window_s" doc:"Over how many seconds it is computed, up to evaluated_at: over the sessions that started in them."`
	Above       *float64    `json:"above" nullable:"true" doc:"It fires for more; null if for no more."`
	Below       *float64    `json:"below" nullable:"true" doc:"It fires for less; null if for no less."`
	NoData      string      `json:"no_data" enum:"ok,alert,keep" doc:"What it means that there is nothing to compute it from: that nothing is wrong, that something is, or nothing at all."`
	State       string      `json:"state" enum:"ok,firing,no_data" doc:"How it stands. no_data: it does not fire, and there was nothing to compute it from."`
	Value       *float64    `json:"value" nullable:"true" doc:"The metric at the last look; null if there was nothing to compute it from."`
	Since       *timestamp  `json:"since" nullable:"true" doc:"When it began to fire, or was over, last; null if it never did."`
	EvaluatedAt *timestamp  `json:"evaluated_at" nullable:"true" doc:"When it was looked at last; null before the first time."`
}

func alertOf(a *visibleAlert) alert {
	return alert{
		Rule: a.Rule, Description: a.Description, Severity: a.Severity, Metric: a.Metric, Filter: a.of, WindowS: int64(a.Window.Seconds()),
		Above: a.Above, Below: a.Below, NoData: a.NoData, State: a.State, Value: a.Value,
		Since: seenAt(a.Since), EvaluatedAt: seenAt(a.EvaluatedAt),
	}
}

// visibleAlert is one that whoever asks may see.
type visibleAlert struct {
	store.Alert
	of alertFilter
}

// visibleAlerts are all that whoever asks may see, by their rules.
func (s *server) visibleAlerts(ctx context.Context) ([]visibleAlert, error) {
	alerts, err := s.DB.Alerts(ctx)
	if err != nil {
		return nil, err
	}
	agents := access.Of(ctx).Agents
	visible := make([]visibleAlert, 0, len(alerts))
	for _, a := range alerts {
		v := visibleAlert{Alert: a}
		if err := json.Unmarshal(a.Filter, &v.of); err != nil {
			return nil, fmt.Errorf("reading the filter of the alert %s: %w", a.Rule, err)
		}
		if len(agents) == 0 || v.of.AgentID != nil && slices.Contains(agents, *v.of.AgentID) {
			visible = append(visible, v)
		}
	}
	return visible, nil
}

type alertsInput struct {
	PageParams
	State string `query:"state" enum:"ok,firing,no_data" doc:"Those that stand so."`
}

// alertPlace is behind which rule a page begins.
type alertPlace struct {
	Rule string `json:"r"`
}

func (p alertPlace) isValid() bool { return p.Rule != "" }

func (s *server) listAlerts(ctx context.Context, in *alertsInput) (*answer[page[alert]], error) {
	hash, err := listHash("alerts", in.State)
	if err != nil {
		return nil, err
	}
	var from cursor[alertPlace]
	if in.Cursor != "" {
		if from, err = decodeCursor[alertPlace](in.Cursor, hash); err != nil {
			return nil, err
		}
	}
	alerts, err := s.visibleAlerts(ctx)
	if err != nil {
		return nil, err
	}
	alerts = slices.DeleteFunc(alerts, func(a visibleAlert) bool {
		return a.Rule <= from.Place.Rule || in.State != "" && a.State != in.State
	})
	next := ""
	if len(alerts) > in.Limit {
		alerts = alerts[:in.Limit]
		next = cursor[alertPlace]{Version: cursorVersion, List: hash, Place: alertPlace{alerts[in.Limit-1].Rule}}.encode()
	}
	return newPage(alerts, alertOf, next), nil
}

// alertChange is that an alert began to fire, or was over.
type alertChange struct {
	ID    int64     `json:"id" minimum:"1" doc:"Its number: a newer one has a greater."`
	Rule  string    `json:"rule" doc:"The alert."`
	State string    `json:"state" enum:"firing,resolved" doc:"firing: it began. resolved: it was over."`
	Value *float64  `json:"value" nullable:"true" doc:"The metric then; null if there was nothing to compute it from."`
	At    timestamp `json:"at" doc:"When."`
}

func alertChangeOf(c *store.AlertChange) alertChange {
	return alertChange{c.ID, c.Rule, c.State, c.Value, timestamp(c.At)}
}

type alertHistoryInput struct {
	PageParams
	Rule string `query:"rule" doc:"Of this alert alone."`
}

// alertChangePlace is behind which change a page begins.
type alertChangePlace struct {
	ID int64 `json:"id"`
}

func (p alertChangePlace) isValid() bool { return p.ID > 0 }

func (s *server) listAlertHistory(ctx context.Context, in *alertHistoryInput) (*answer[page[alertChange]], error) {
	rule := rapport.CleanText(in.Rule)
	hash, err := listHash("alert-history", rule)
	if err != nil {
		return nil, err
	}
	query := store.AlertHistoryQuery{Rule: rule, Limit: in.Limit + 1} // one more, to know of more
	if in.Cursor != "" {
		from, err := decodeCursor[alertChangePlace](in.Cursor, hash)
		if err != nil {
			return nil, err
		}
		query.Before = from.Place.ID
	}
	query.Agents = access.Of(ctx).Agents
	changes, err := s.DB.AlertHistory(ctx, query)
	if err != nil {
		return nil, err
	}
	next := ""
	if len(changes) > in.Limit {
		changes = changes[:in.Limit]
		next = cursor[alertChangePlace]{Version: cursorVersion, List: hash, Place: alertChangePlace{changes[in.Limit-1].ID}}.encode()
	}
	return newPage(changes, alertChangeOf, next), nil
}
