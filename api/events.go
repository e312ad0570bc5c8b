package api

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"rapport"
	"rapport/api/access"
	"rapport/store"
)

func (s *server) registerEvents() {
	list(s, huma.Operation{
		OperationID: "follow-events", Path: "/events", Tags: []string{"events"},
		Summary: "Follow the log",
		Description: "The events behind a position, in the order of the log: to follow it, ask again with next_after as after, and keep next_after " +
			"where what you make of the events is kept. Each event comes exactly once, none is passed over and positions never move, whoever appends meanwhile; what retention has dropped is not there, and what was " +
			"erased is a stub (erased). A page may have fewer events than the limit, or none, with more behind it: has_more tells. " +
			"CSV and NDJSON have all events up to the head at the time of the request.",
	}, s.followEvents)
}

type eventsInput struct {
	FormatParams
	After     int64         `query:"after" minimum:"0" doc:"A log position: events behind it. 0, as by default, is the beginning of the log."`
	Wait      durationParam `query:"wait" echo:"-" doc:"Where there is nothing behind after yet, for how long to wait for it at most, up to 60s, as seconds or a Go duration; then the answer is empty. By default it is not waited. For JSON alone."`
	AgentID   string        `query:"agent_id" doc:"Events of this agent alone."`
	SessionID string        `query:"session_id" doc:"Events of this session_id alone."`
	EventType string        `query:"event_type" doc:"Events of this type alone, such as chat.push."`

	upTo int64 // of a stream: the head when it began
}

// seek goes on where a page of a stream has ended.
func (in *eventsInput) seek(cursor string) {
	after, upTo, _ := strings.Cut(cursor, "-")
	in.After, _ = strconv.ParseInt(after, 10, 64)
	in.upTo, _ = strconv.ParseInt(upTo, 10, 64)
}

// followed is a page of the log.
type followed struct {
	Data      []event `json:"data" nullable:"false" doc:"The events, in the order of their positions."`
	NextAfter int64   `json:"next_after" doc:"A log position: send it as after for what follows. Every event up to there that was asked for has been told."`
	Head      int64   `json:"head" doc:"The position of the last event of the log."`
	HasMore   bool    `json:"has_more" doc:"next_after is before head: there is no need to wait."`
	Echo
}

func (f *followed) rows() *rows {
	var next *string
	if f.HasMore {
		next = new(fmt.Sprintf("%d-%d", f.NextAfter, f.Head))
	}
	return rowsOf(f.Data, next, f.Query)
}

// maxScans bounds how long one request looks for events that its filters let through.
const maxScans = 20

func (s *server) followEvents(ctx context.Context, in *eventsInput) (*answer[followed], error) {
	if in.streams() && in.Wait.set {
		return nil, badParameter("wait", "for JSON alone: a stream ends at the head of the log")
	}
	limited, cancel := context.WithTimeout(ctx, in.Wait.value)
	defer cancel()
	after := in.After
	for {
		moved := s.Watch.Moved() // before the look, so that nothing is missed between
		f, err := s.eventsBehind(ctx, in, after)
		if err != nil {
			return nil, err
		}
		isLast := len(f.Data) > 0 || f.HasMore || limited.Err() != nil || s.Draining.Load()
		if isLast {
			return &answer[followed]{Body: *f}, nil
		}
		after = f.NextAfter // what was looked at is not looked at again
		err = withoutSeat(ctx, func() error {
			select {
			case <-moved:
			case <-limited.Done():
			}
			return ctx.Err()
		})
		if err != nil {
			return nil, err
		}
	}
}

// eventsBehind reads a page, behind a position.
func (s *server) eventsBehind(ctx context.Context, in *eventsInput, after int64) (*followed, error) {
	head := in.upTo
	if head == 0 {
		var err error
		if head, err = s.DB.Head(ctx); err != nil {
			return nil, err
		}
	}
	if after > head {
		return nil, badParameter("after", fmt.Sprintf("the log ends at %d: is the position of another one?", head))
	}
	query := store.EventQuery{
		After: after, UpTo: head, AgentID: rapport.CleanText(in.AgentID), SessionID: rapport.CleanText(in.SessionID),
		EventType: rapport.CleanText(in.EventType), Agents: access.Of(ctx).Agents,
	}
	f := &followed{Data: []event{}, Head: head}
	p := parts{limit: in.Limit}
	for scans := 0; !p.isFull() && query.After < head && scans < maxScans; scans++ {
		query.Limit = p.next()
		events, reached, err := s.DB.EventsBehind(ctx, query)
		if err != nil {
			return nil, err
		}
		for i := range events {
			p.add(eventBytes(&events[i]))
			f.Data = append(f.Data, eventOf(&events[i]))
		}
		query.After = reached
	}
	f.NextAfter, f.HasMore = query.After, query.After < head
	return f, nil
}
