package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"rapport/internal/bench/history"
	"rapport/internal/grafana"
)

// question is asked of both logs. It has one or several requests, which count
// together, or a statement.
type question struct {
	name   string
	paths  []string // of GET
	sql    string   // instead, as rapport_reader
	atMost float64  // how often as long as SELECT 1; 0: no goal
	within time.Duration
	grows  float64 // how often as long as on the shorter log at most; 0: no goal
}

// The goals that more than one question has.
const (
	growth     = 1.5
	panelLimit = 200 * time.Millisecond
)

// questions are the same ones of every log, in the same order.
func (s *subject) questions(ctx context.Context) ([]question, error) {
	session, err := s.someSession(ctx)
	if err != nil {
		return nil, err
	}
	lists, err := s.lists(ctx, session)
	if err != nil {
		return nil, err
	}
	panels, err := s.panels(session)
	return slices.Concat(lists, s.statistics(), searches(), sorts(), panels), err
}

func get(name string, atMost float64, paths ...string) question {
	return question{name: name, paths: paths, atMost: atMost, grows: growth}
}

// deepPage is the page that a long walk leads to, and walkLimit how many sessions
// each page on the way has.
const (
	deepPage  = 1000
	walkLimit = 100
)

func (s *subject) lists(ctx context.Context, session string) ([]question, error) {
	deep, err := s.walk(ctx, "/sessions?limit=100", deepPage-1)
	if err != nil {
		return nil, fmt.Errorf("walking to page %d: %w", deepPage, err)
	}
	recent := s.plan.Until.Add(-30 * 24 * time.Hour).Format(time.RFC3339)
	return []question{
		get("sessions, first page", 2, "/sessions"),
		get("sessions, first ten", 0, "/sessions?limit=10"),
		get("sessions of nobody", 0, "/sessions?agent_id=nobody"),
		get("sessions, page 1,000 by cursor", 2, "/sessions?cursor="+deep),
		get("sessions of the biggest agent", 2, "/sessions?agent_id="+history.BiggestAgent),
		get("sessions of the smallest agent", 2, "/sessions?agent_id="+history.SmallestAgent),
		get("a session", 0, "/sessions/"+session),
		get("its messages", 0, "/sessions/"+session+"/messages"),
		get("a session with its messages", 2, "/sessions/"+session+"?include=messages"),
		get("both as two requests at once", 0, "/sessions/"+session, "/sessions/"+session+"/messages"),
		get("sessions from 30 days ago on, oldest first", 0, "/sessions?sort=started_at&from="+recent),
		get("open sessions", 0, "/sessions?status=open"),
		get("closed sessions", 0, "/sessions?status=closed"),
		get("deep sessions", 0, "/sessions?engagement_tier=deep"),
		get("bounced sessions", 0, "/sessions?engagement_tier=bounced"),
		get("sessions of 100 messages or more", 0, "/sessions?min_messages=100"),
		get("a visitor's sessions", 0, "/users/"+s.plan.Visitor()+"/sessions"),
	}, nil
}

// window is the parameters of the last 30 days.
func (s *subject) window() string {
	from := s.plan.Until.Add(-30 * 24 * time.Hour)
	return "from=" + from.Format(time.RFC3339) + "&to=" + s.plan.Until.Format(time.RFC3339)
}

func (s *subject) statistics() []question {
	series := "/stats/timeseries?interval=hour&" + s.window() + "&metrics="
	const plain = "sessions,messages,avg_engagement,avg_quality,errors"
	const percentiles = "sessions,messages,p50_duration_s,p95_duration_s,p95_response_s"
	return []question{
		get("stats over 30 days", 10, "/stats?"+s.window()),
		get("stats over 30 days, compared with those before", 0, "/stats?compare=previous&"+s.window()),
		get("stats of the biggest agent", 0, "/stats?agent_id="+history.BiggestAgent+"&"+s.window()),
		get("timeseries, 30 days by hour, five metrics", 20, series+plain),
		get("timeseries with percentiles", 20, series+percentiles),
		get("timeseries in Kolkata's hours", 20, series+plain+"&tz=Asia/Kolkata"),
		get("breakdown by agent, 30 days", 20, "/stats/breakdown?by=agent&"+s.window()),
		get("breakdown by hour of day, 30 days", 0, "/stats/breakdown?by=hour_of_day&"+s.window()),
		get("funnel over 30 days", 0, "/stats/funnel?"+s.window()),
		get("agents", 0, "/agents"),
	}
}

// The ranks of words that are used in very many, some and few messages. The common and
// the uncommon one fill a page of what the shorter log has, too; of the rare one, and of
// two words together, it has fewer messages than a page, so that the answers are of
// different lengths.
const (
	frequentRank = 0
	commonRank   = 200
	middlingRank = 600
	uncommonRank = 6_000
	rareRank     = 30_000
)

func searches() []question {
	find := func(name, text string) question {
		return get("search, "+name, 50, "/messages?q="+url.QueryEscape(text))
	}
	frequent, middling := history.Word(frequentRank), history.Word(middlingRank)
	return []question{
		find("a rare word", history.Word(rareRank)),
		find("an uncommon word", history.Word(uncommonRank)),
		find("a middling word", middling),
		find("the most frequent word", frequent),
		find("a phrase", `"`+history.Phrase+`"`),
		find("a word without another", frequent+" -"+middling),
		find("either of two words", middling+" or "+history.Word(rareRank)),
		find("two words", frequent+" "+middling),
		find("two common words", frequent+" "+history.Word(commonRank)),
	}
}

// sorts are the other orders of the list of sessions.
func sorts() []question {
	var all []question
	for _, column := range []string{"started_at", "last_activity_at", "message_count", "engagement_score", "quality_score", "duration_s"} {
		for _, sort := range []string{column, "-" + column} {
			all = append(all, get("sessions by "+sort, 0, "/sessions?sort="+sort))
		}
	}
	return append(all, get("sessions of the biggest agent by -quality_score", 0,
		"/sessions?sort=-quality_score&agent_id="+history.BiggestAgent))
}

// panels are the queries of the dashboards.
func (s *subject) panels(session string) ([]question, error) {
	queries, err := grafana.Panels(grafana.View{
		From: s.plan.Until.Add(-30 * 24 * time.Hour), To: s.plan.Until, Agent: history.BiggestAgent, Session: session,
	})
	var all []question
	for _, q := range queries {
		name := fmt.Sprintf("%s/%s %s", q.Dashboard, q.Panel, q.Ref)
		all = append(all, question{name: name, sql: q.SQL, within: panelLimit})
	}
	return all, err
}

type list struct {
	Data []struct {
		SessionID    string `json:"session_id"`
		MessageCount int    `json:"message_count"`
	} `json:"data"`
	NextCursor string `json:"next_cursor"`
}

func (s *subject) list(ctx context.Context, path string) (list, error) {
	var l list
	body, err := s.get(ctx, s.base+path)
	if err == nil {
		err = json.Unmarshal(body, &l)
	}
	return l, err
}

// walk follows a list over so many pages, or to its last one, and returns the cursor
// that leads there.
func (s *subject) walk(ctx context.Context, path string, pages int) (string, error) {
	cursor, next := "", path
	for range pages {
		l, err := s.list(ctx, next)
		if err != nil {
			return "", err
		}
		if l.NextCursor == "" {
			break
		}
		cursor = l.NextCursor
		next = path + "&cursor=" + cursor
	}
	if cursor == "" {
		return "", errors.New("there is one page only: make more sessions")
	}
	return cursor, nil
}

// someSession is one of about 20 messages.
func (s *subject) someSession(ctx context.Context) (string, error) {
	middle := s.plan.Until.Add(-45 * 24 * time.Hour).Format(time.RFC3339)
	l, err := s.list(ctx, "/sessions?limit=1000&to="+middle)
	if err != nil {
		return "", err
	}
	for _, session := range l.Data {
		if session.MessageCount >= 18 && session.MessageCount <= 22 && !strings.HasPrefix(session.SessionID, "kiosk") {
			return session.SessionID, nil
		}
	}
	return "", errors.New("no session has 20 messages: make more sessions")
}
