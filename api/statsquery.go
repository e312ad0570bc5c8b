package api

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"rapport"
	"rapport/api/access"
	"rapport/store"
)

// Where a range is not given.
const (
	defaultRange = 30 * 24 * time.Hour
	rangeStep    = time.Minute // it ends with the minute that now is in, so that answers keep their ETag for a while
)

// lastInstant is where ranges end at most, so that every clock on earth shows a year of
// four digits.
var lastInstant = time.Date(9999, 12, 30, 0, 0, 0, 0, time.UTC)

// StatsParams are those of every question about many sessions. (Exported, since huma
// passes over embedded structs that are not.)
type StatsParams struct {
	ReadParams
	RangeParams
	TZ             placeParam `query:"tz" doc:"IANA time zone whose calendar is meant; it does not change from and to, which have offsets of their own."`
	AgentID        string     `query:"agent_id" doc:"Sessions of this agent alone." example:"agent-7"`
	EngagementTier string     `query:"engagement_tier" enum:"bounced,engaged,continued,deep" doc:"Sessions of this tier alone."`
	UserID         string     `query:"user_id" doc:"Sessions of this visitor alone." example:"user-42"`
	RoomName       string     `query:"room_name" doc:"Sessions in rooms of this name alone." example:"lobby"`
	MinMessages    int64      `query:"min_messages" minimum:"0" doc:"Sessions with as many messages or more." example:"2"`
}

// RangeParams are the time that a question is about.
type RangeParams struct {
	From timeParam `query:"from" doc:"Sessions that started then or later; RFC 3339. If it is not given, 30 days of 24 hours before to." example:"2026-01-01T00:00:00Z"`
	To   timeParam `query:"to" doc:"Sessions that started before; RFC 3339. If it is not given, the end of the present minute." example:"2026-02-01T00:00:00Z"`
}

// resolve fills in what was not given.
func (p *RangeParams) resolve(now time.Time, step time.Duration) error {
	to := now.Truncate(step).Add(step)
	if p.To.set {
		to = p.To.bound()
	}
	to = earlier(to, lastInstant)
	from := to.Add(-defaultRange)
	if p.From.set {
		from = p.From.bound()
	}
	if from.Before(fromMicros(0)) {
		from = fromMicros(0)
	}
	if !from.Before(to) {
		return badParameter("from", "must be before to, which is now where it is not given, and the year 9999 at most")
	}
	p.From, p.To = timeParam{at: from, set: true}, timeParam{at: to, set: true}
	return nil
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func (p *RangeParams) from() time.Time { return p.From.at }

func (p *RangeParams) to() time.Time { return p.To.at }

func (p *StatsParams) fillPlace() {
	if p.TZ.place == nil {
		p.TZ.place = time.UTC
	}
}

// resolve fills in what was not given, and makes the filter of what was.
func (p *StatsParams) resolve(ctx context.Context, now time.Time) (store.SessionFilter, error) {
	if err := p.RangeParams.resolve(now, rangeStep); err != nil {
		return store.SessionFilter{}, err
	}
	p.fillPlace()
	return store.SessionFilter{
		TotalsFilter:   store.TotalsFilter{Agents: access.Of(ctx).Agents, AgentID: rapport.CleanText(p.AgentID)},
		EngagementTier: p.EngagementTier, UserID: rapport.CleanText(p.UserID),
		RoomName: rapport.CleanText(p.RoomName), MinMessages: p.MinMessages,
	}, nil
}

// totals are those of the sessions that started in each of the buckets between bounds:
// from the totals that are kept, if they know.
func (s *server) totals(ctx context.Context, filter store.SessionFilter, bounds []time.Time) ([]rapport.Totals, error) {
	if filter.IsOfAgents() {
		return s.DB.SessionTotals(ctx, filter.TotalsFilter, bounds)
	}
	return s.DB.FilteredTotals(ctx, filter, bounds)
}

// placeParam is a time zone.
type placeParam struct {
	place *time.Location // nil if it was not given
}

// UnmarshalText reads the parameter. Go and some systems have zones besides, such as
// Local or right/UTC, which mean something else on each machine: those of IANA begin
// with a capital.
func (p *placeParam) UnmarshalText(text []byte) error {
	name := string(text)
	place, err := time.LoadLocation(name)
	if err != nil || name == "" || name == "Local" || name[0] < 'A' || name[0] > 'Z' {
		return errors.New("not a time zone of the IANA database, such as Europe/Berlin, America/New_York, Asia/Kolkata or UTC")
	}
	p.place = place
	return nil
}

// MarshalJSON shows the name.
func (p *placeParam) MarshalJSON() ([]byte, error) {
	if p.place == nil {
		return []byte("null"), nil
	}
	return json.Marshal(p.place.String())
}

// Schema describes it to huma.
func (placeParam) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, Default: "UTC", Examples: []any{"Europe/Berlin"}}
}
