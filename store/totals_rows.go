package store

import (
	"fmt"
	"strconv"
	"time"

	"rapport"
	"rapport/store/internal/dbsqlc"
)

// The grains of the totals, in minutes. Days of UTC never cross a month.
const (
	quarterHour = 15
	wholeHour   = 60
	wholeDay    = 1440
)

var grains = []int16{quarterHour, wholeHour, wholeDay}

// grainStart is the begin of the quarter hour, hour or day of UTC.
func grainStart(grain int16, at time.Time) time.Time {
	return at.UTC().Truncate(time.Duration(grain) * time.Minute)
}

// totalsKey is the key of a row of session_totals.
type totalsKey struct {
	grain    int16
	ofAll    bool
	agentID  string
	startsAt time.Time // UTC
}

// totalsOfRow are those of a stored session, with the scores that it has: a frozen one
// may have them of another version of the formulas.
func totalsOfRow(row *dbsqlc.Session) rapport.Totals {
	s := sessionOf(*row)
	return rapport.TotalsOfScored(&s, row.EngagementTenths, row.QualityTenths)
}

// totalsByKey are sums of sessions by the key of their row. A nil map is empty.
type totalsByKey map[totalsKey]*rapport.Totals

func (m *totalsByKey) at(key totalsKey) *rapport.Totals {
	if *m == nil {
		*m = make(totalsByKey)
	}
	t, ok := (*m)[key]
	if !ok {
		t = &rapport.Totals{}
		(*m)[key] = t
	}
	return t
}

// ofQuarter are those of the quarter hour in which a session of an agent started.
func (m *totalsByKey) ofQuarter(agentID string, startedAt time.Time) *rapport.Totals {
	return m.at(totalsKey{quarterHour, false, agentID, grainStart(quarterHour, startedAt)})
}

// allRows are the rows of all grains, each of its agent and of all agents, that the
// quarter hours add up to.
func (m totalsByKey) allRows() totalsByKey {
	rows := make(totalsByKey, 6*len(m))
	for key, totals := range m {
		for _, grain := range grains {
			start := grainStart(grain, key.startsAt)
			rows.at(totalsKey{grain, false, key.agentID, start}).Add(*totals)
			rows.at(totalsKey{grain, true, "", start}).Add(*totals)
		}
	}
	return rows
}

// totalsRow and totalsOf are the two ways between totals and their row.

func totalsRow(key totalsKey, t *rapport.Totals) dbsqlc.SessionTotal {
	row := dbsqlc.SessionTotal{
		Grain: key.grain, OfAll: key.ofAll, AgentID: key.agentID, StartsAt: key.startsAt,
		Sessions: t.Sessions, Bounced: t.Bounced, Engaged: t.Engaged, Continued: t.Continued, Deep: t.Deep,
		Joined: t.Joined, Events: t.Events, Joins: t.Joins, Messages: t.Messages, UserMessages: t.UserMessages,
		AgentMessages: t.AgentMessages, UserChars: t.UserChars, AgentChars: t.AgentChars, Errors: t.Errors,
		Turns: t.Turns, AnsweredTurns: t.AnsweredTurns, QuickAnswers: t.QuickAnswers, Repeats: t.Repeats,
		Friction: t.Friction, DurationMs: t.DurationMS, ActiveMs: t.ActiveMS, ResponseMs: t.ResponseMS,
		EngagementTenths: t.EngagementTenths, QualityTenths: t.QualityTenths, Judged: t.Judged,
		SentimentThousandths: t.SentimentThousandths, Felt: t.Felt, RatingThousandths: t.RatingThousandths, Rated: t.Rated,
	}
	row.DurationBins, row.DurationCounts = t.Duration.Columns()
	row.ResponseBins, row.ResponseCounts = t.Response.Columns()
	return row
}

func totalsOf(row *dbsqlc.SessionTotal) (totalsKey, rapport.Totals, error) {
	key := totalsKey{row.Grain, row.OfAll, row.AgentID, row.StartsAt.UTC()}
	t := rapport.Totals{
		Sessions: row.Sessions, Bounced: row.Bounced, Engaged: row.Engaged, Continued: row.Continued, Deep: row.Deep,
		Joined: row.Joined, Events: row.Events, Joins: row.Joins, Messages: row.Messages, UserMessages: row.UserMessages,
		AgentMessages: row.AgentMessages, UserChars: row.UserChars, AgentChars: row.AgentChars, Errors: row.Errors,
		Turns: row.Turns, AnsweredTurns: row.AnsweredTurns, QuickAnswers: row.QuickAnswers, Repeats: row.Repeats,
		Friction: row.Friction, DurationMS: row.DurationMs, ActiveMS: row.ActiveMs, ResponseMS: row.ResponseMs,
		EngagementTenths: row.EngagementTenths, QualityTenths: row.QualityTenths, Judged: row.Judged,
		SentimentThousandths: row.SentimentThousandths, Felt: row.Felt, RatingThousandths: row.RatingThousandths, Rated: row.Rated,
	}
	err := readHistograms(&t, row.DurationBins, row.DurationCounts, row.ResponseBins, row.ResponseCounts)
	if err != nil {
		err = fmt.Errorf("session_totals of %d minutes at %s: %w", key.grain, key.startsAt.Format(time.RFC3339), err)
	}
	return key, t, err
}

func readHistograms(t *rapport.Totals, durationBins []int16, durationCounts []int64, responseBins []int16, responseCounts []int64) (err error) {
	if t.Duration, err = rapport.HistogramOf(durationBins, durationCounts); err != nil {
		return fmt.Errorf("durations: %w", err)
	}
	if t.Response, err = rapport.HistogramOf(responseBins, responseCounts); err != nil {
		return fmt.Errorf("responses: %w", err)
	}
	return nil
}

// addRow adds a row to those that are written at once.
func addRow(p *dbsqlc.SessionTotalsUpsertManyParams, row *dbsqlc.SessionTotal) {
	p.Grains, p.OfAlls = append(p.Grains, row.Grain), append(p.OfAlls, row.OfAll)
	p.AgentIds, p.StartsAts = append(p.AgentIds, row.AgentID), append(p.StartsAts, row.StartsAt)
	for _, column := range []struct {
		all   *[]int64
		value int64
	}{
		{&p.Sessions, row.Sessions}, {&p.Bounced, row.Bounced}, {&p.Engaged, row.Engaged}, {&p.Continued, row.Continued},
		{&p.Deep, row.Deep}, {&p.Joined, row.Joined}, {&p.Events, row.Events}, {&p.Joins, row.Joins},
		{&p.Messages, row.Messages}, {&p.UserMessages, row.UserMessages}, {&p.AgentMessages, row.AgentMessages},
		{&p.UserChars, row.UserChars}, {&p.AgentChars, row.AgentChars}, {&p.Errors, row.Errors}, {&p.Turns, row.Turns},
		{&p.AnsweredTurns, row.AnsweredTurns}, {&p.QuickAnswers, row.QuickAnswers}, {&p.Repeats, row.Repeats},
		{&p.Friction, row.Friction}, {&p.DurationMs, row.DurationMs}, {&p.ActiveMs, row.ActiveMs},
		{&p.ResponseMs, row.ResponseMs}, {&p.EngagementTenths, row.EngagementTenths}, {&p.QualityTenths, row.QualityTenths},
		{&p.Judged, row.Judged}, {&p.SentimentThousandths, row.SentimentThousandths}, {&p.Felt, row.Felt},
		{&p.RatingThousandths, row.RatingThousandths}, {&p.Rated, row.Rated},
	} {
		*column.all = append(*column.all, column.value)
	}
	p.DurationBins = append(p.DurationBins, arrayText(row.DurationBins))
	p.DurationCounts = append(p.DurationCounts, arrayText(row.DurationCounts))
	p.ResponseBins = append(p.ResponseBins, arrayText(row.ResponseBins))
	p.ResponseCounts = append(p.ResponseCounts, arrayText(row.ResponseCounts))
}

// arrayText is an array of integers as Postgres reads it.
func arrayText[T int16 | int64](values []T) string {
	text := []byte{'{'}
	for i, v := range values {
		if i > 0 {
			text = append(text, ',')
		}
		text = strconv.AppendInt(text, int64(v), 10)
	}
	return string(append(text, '}'))
}
