package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"rapport/store"
)

// asOfParam is a log position, or a time of receipt.
type asOfParam struct {
	moment store.AsOf
	set    bool
}

// UnmarshalText reads the parameter.
func (p *asOfParam) UnmarshalText(text []byte) error {
	p.set = true
	if position, err := strconv.ParseInt(string(text), 10, 64); err == nil && position >= 0 {
		p.moment.Position = position
		return nil
	}
	var at time.Time
	if err := at.UnmarshalText(text); err != nil {
		return errors.New("neither a log position, such as 42, nor " + errNotRFC3339.Error()[len("not "):])
	}
	// Receipts are whole microseconds from 1970 to 9999: the last one by then.
	p.moment.ReceivedAt = fromMicros(min(max(at.UTC().Truncate(time.Microsecond).UnixMicro(), 0), maxMicros))
	return nil
}

// isNothing reports whether it is the moment before the first event.
func (p *asOfParam) isNothing() bool { return p.moment.Position == 0 && p.moment.ReceivedAt.IsZero() }

// MarshalJSON shows the moment, null if none was given.
func (p *asOfParam) MarshalJSON() ([]byte, error) {
	switch {
	case !p.set:
		return []byte("null"), nil
	case p.moment.ReceivedAt.IsZero():
		return json.Marshal(p.moment.Position)
	}
	return timestamp(p.moment.ReceivedAt).MarshalJSON()
}

// Schema describes it to huma.
func (asOfParam) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, Examples: []any{"42"}}
}

// past opens the log of a session_id at a moment.
func (s *server) past(ctx context.Context, of store.TranscriptQuery, asOf *asOfParam) (*store.Past, error) {
	if asOf.isNothing() {
		return nil, newProblem(http.StatusNotFound, "nothing was known at position 0")
	}
	past, err := s.DB.Past(ctx, of, asOf.moment, s.now())
	return past, asOfProblem(err)
}

// asOfErrors are the statuses of asOfProblem that other reads don't have.
var asOfErrors = []int{http.StatusGone, http.StatusUnprocessableEntity}

// asOfProblem is the problem of an error of the past.
func asOfProblem(err error) error {
	switch {
	case errors.Is(err, store.ErrNotYet):
		return badParameter("as_of", err.Error())
	case errors.Is(err, store.ErrGone):
		return newProblem(http.StatusGone, store.ErrGone.Error()+"; GET /sessions/{session_id} tells what is left")
	case errors.Is(err, store.ErrRewritten):
		return tryAgain(store.ErrRewritten.Error())
	case errors.Is(err, store.ErrCrowded):
		return newProblem(http.StatusUnprocessableEntity, store.ErrCrowded.Error())
	}
	return err
}

// sessionsAsOf are the sessions of a session_id as they were.
func (s *server) sessionsAsOf(ctx context.Context, in *sessionInput) (*answer[sessionList], error) {
	past, err := s.past(ctx, in.query(ctx), &in.AsOf)
	if err != nil {
		return nil, err
	}
	rows, said, err := past.Sessions(ctx)
	if err != nil {
		return nil, asOfProblem(err)
	}
	if len(rows) == 0 {
		return nil, newProblem(http.StatusNotFound, "no such session was known then")
	}
	var messages *messageStart
	if in.Include != "" {
		if messages, err = in.begin(ctx, said.Messages); err != nil {
			return nil, err
		}
		if err := past.Undisturbed(ctx); err != nil {
			return nil, asOfProblem(err)
		}
	}
	return sessionsAt(rows, past.At, messages), nil
}

// pastTranscript is what was said and done in the sessions of a session_id by the
// moment that a page asks for. It narrows the query to a session, if one is asked for.
func (s *server) pastTranscript(ctx context.Context, kind string, query *store.TranscriptQuery, in *transcriptInput) (*store.PastTranscript, error) {
	past, err := s.past(ctx, *query, &in.AsOf)
	if err != nil {
		return nil, err
	}
	transcript := past.Log()
	if kind != "events" || in.StartedAt.set {
		if transcript, err = past.Transcript(ctx); err != nil {
			return nil, asOfProblem(err)
		}
	}
	if in.StartedAt.set {
		started := transcript.Agents(in.StartedAt.at)
		switch len(started) {
		case 0:
			return nil, newProblem(http.StatusNotFound, "no such session was known to have started then")
		case 1:
		default:
			return nil, badParameter("agent_id", "needed: sessions of several agents started then")
		}
		for query.AgentID, query.Span = range started {
		}
	}
	if query.After == nil {
		has, err := transcript.HasAny(ctx)
		if err != nil {
			return nil, err
		}
		if !has {
			return nil, newProblem(http.StatusNotFound, "no events of such a session were known then")
		}
	}
	return transcript, nil
}
