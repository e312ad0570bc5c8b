package api

import (
	"context"
	"net/http"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"rapport/api/access"
	"rapport/store"
)

func (s *server) registerDeadLetters() {
	list(s, huma.Operation{
		OperationID: "list-dead-letters", Path: "/dead-letters", Tags: []string{"operating"},
		Summary: "List the dead letters",
		Description: "Events that could not be folded into their session, and were put aside so that the others go on: they are in the log all the same. " +
			"And deliveries to destinations that were tried as often as they may be: they are kept until somebody has them tried again, or deletes them. The newest events first.",
	}, s.listDeadLetters)
	change(s, huma.Operation{
		OperationID: "retry-dead-letter", Path: "/dead-letters/{id}/retry", Tags: []string{"operating"},
		Summary: "Try a dead letter again",
		Description: "Soon after the answer an event is folded like one that comes late; if that fails again, it is a dead letter again, with one attempt more. " +
			"A delivery is tried at once, and four times more if that fails.",
	}, s.retryDeadLetter)
	change(s, huma.Operation{
		OperationID: "retry-dead-letters", Path: "/dead-letters/retry", Tags: []string{"operating"},
		Summary: "Try all dead letters again",
	}, s.retryDeadLetters)
	s.registerDeadLetterDeletion()
}

// The kinds of dead letters.
const (
	deadEvent    = "event"
	deadDelivery = "delivery"
)

type deadLetter struct {
	ID          string    `json:"id" doc:"What it is tried again and deleted by: of an event its position, of a delivery a d and a number."`
	Kind        string    `json:"kind" enum:"event,delivery" doc:"What it is."`
	Position    int64     `json:"position" doc:"Place in the log of the event, or of what the delivery tells of; 0 if it tells of none."`
	AgentID     string    `json:"agent_id" doc:"Its agent; empty if it has none."`
	SessionID   string    `json:"session_id" doc:"Its session_id; empty if it has none."`
	Follower    string    `json:"follower" doc:"Of an event, who could not take it: sessions. Else empty."`
	EventType   string    `json:"event_type" doc:"Of an event, its type, such as chat.push. Else empty."`
	Destination string    `json:"destination" doc:"Of a delivery, where it was to go. Else empty."`
	Rule        string    `json:"rule" doc:"Of a delivery, the rule that fired. Else empty."`
	DeliveryID  string    `json:"delivery_id" doc:"Of a delivery, its webhook-id, which is the same at each attempt. Else empty."`
	Error       string    `json:"error" doc:"Why it failed, the last time."`
	RetryCount  int       `json:"retry_count" doc:"How often it was tried again: one less than attempts."`
	FailedAt    timestamp `json:"failed_at" doc:"When it failed last."`
	Retry       bool      `json:"retry" doc:"It is about to be tried again."`
	Reason      string    `json:"reason" doc:"The same as error, by its older name."`
	Attempts    int       `json:"attempts" doc:"How often it was tried."`
}

func deadLetterOf(l *store.DeadLetter) deadLetter {
	return deadLetter{
		ID: strconv.FormatInt(l.Position, 10), Kind: deadEvent,
		Follower: l.Follower, Position: l.Position, AgentID: l.AgentID, SessionID: l.SessionID, EventType: l.EventType,
		Error: l.Reason, RetryCount: max(0, l.Attempts-1), FailedAt: timestamp(l.FailedAt), Retry: l.Retry,
		Reason: l.Reason, Attempts: l.Attempts,
	}
}

func deadDeliveryOf(d *store.DeadDelivery) deadLetter {
	return deadLetter{
		ID: deliveryPrefix + strconv.FormatInt(d.Job, 10), Kind: deadDelivery,
		Position: d.Position, AgentID: d.Subject.AgentID, SessionID: d.Subject.SessionID,
		Destination: d.Destination, Rule: d.Rule, DeliveryID: d.ID,
		Error: d.Error, RetryCount: max(0, d.Attempts-1), FailedAt: timestamp(d.FailedAt), Reason: d.Error, Attempts: d.Attempts,
	}
}

type deadLettersInput struct {
	ReadParams
	PageParams
}

// deadLetterPlace is behind which dead letter a page begins. At one position the
// deliveries come first.
type deadLetterPlace struct {
	Position int64  `json:"p"`
	Follower string `json:"f"` // empty behind a delivery
	Job      int64  `json:"j"`
}

func (p deadLetterPlace) isValid() bool {
	return isClean(p.Follower) && (p.Follower != "" && p.Position > 0 && p.Job == 0 || p.Follower == "" && p.Position >= 0 && p.Job > 0)
}

func (s *server) listDeadLetters(ctx context.Context, in *deadLettersInput) (*answer[page[deadLetter]], error) {
	hash, err := listHash("dead-letters")
	if err != nil {
		return nil, err
	}
	var from *deadLetterPlace
	if in.Cursor != "" {
		at, err := decodeCursor[deadLetterPlace](in.Cursor, hash)
		if err != nil {
			return nil, err
		}
		from = &at.Place
	}
	if err := s.wait(ctx, in.ReadParams); err != nil {
		return nil, err
	}
	events, err := s.deadEventsBehind(ctx, from, in.Limit+1) // one more, to know of more
	if err != nil {
		return nil, err
	}
	deliveries, err := s.deadDeliveriesBehind(ctx, from, in.Limit+1)
	if err != nil {
		return nil, err
	}
	letters, places := mergeDead(events, deliveries)
	next := ""
	if len(letters) > in.Limit {
		letters = letters[:in.Limit]
		next = cursor[deadLetterPlace]{Version: cursorVersion, List: hash, Place: places[in.Limit-1]}.encode()
	}
	return newPage(letters, func(l *deadLetter) deadLetter { return *l }, next), nil
}

func (s *server) deadEventsBehind(ctx context.Context, from *deadLetterPlace, limit int) ([]store.DeadLetter, error) {
	var position int64 // 0 begins
	follower := ""
	switch {
	case from == nil:
	case from.Follower != "":
		position, follower = from.Position, from.Follower
	case from.Position == 0:
		return nil, nil
	default: // behind a delivery: this position too
		position = from.Position + 1
	}
	return s.DB.DeadLetterList(ctx, position, follower, limit, access.Of(ctx).Agents...)
}

func (s *server) deadDeliveriesBehind(ctx context.Context, from *deadLetterPlace, limit int) ([]store.DeadDelivery, error) {
	behind := store.DeadDeliveryPlace{Position: -1}
	if from != nil { // behind an event, all of its position are told
		behind = store.DeadDeliveryPlace{Position: from.Position, Job: from.Job}
	}
	return s.DB.DeadDeliveryList(ctx, behind, limit, access.Of(ctx).Agents...)
}

// mergeDead puts both into one order, and tells the place of each.
func mergeDead(events []store.DeadLetter, deliveries []store.DeadDelivery) ([]deadLetter, []deadLetterPlace) {
	letters := make([]deadLetter, 0, len(events)+len(deliveries))
	places := make([]deadLetterPlace, 0, len(events)+len(deliveries))
	for len(events)+len(deliveries) > 0 {
		if len(deliveries) == 0 || len(events) > 0 && events[0].Position > deliveries[0].Position {
			letters = append(letters, deadLetterOf(&events[0]))
			places = append(places, deadLetterPlace{Position: events[0].Position, Follower: events[0].Follower})
			events = events[1:]
			continue
		}
		letters = append(letters, deadDeliveryOf(&deliveries[0]))
		places = append(places, deadLetterPlace{Position: deliveries[0].Position, Job: deliveries[0].Job})
		deliveries = deliveries[1:]
	}
	return letters, places
}

type deadLetterInput struct {
	ID deadLetterID `path:"id" doc:"Of the dead letter, as the list has it."`
}

// deliveryPrefix tells the ids of deliveries from positions.
const deliveryPrefix = "d"

// deadLetterID is the id of a dead letter in a path: nothing is there if it is none.
type deadLetterID struct {
	kind   string
	number int64
}

// UnmarshalText reads the parameter.
func (id *deadLetterID) UnmarshalText(text []byte) error {
	digits, isDelivery := strings.CutPrefix(string(text), deliveryPrefix)
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 1 {
		return nil
	}
	*id = deadLetterID{kind: deadEvent, number: n}
	if isDelivery {
		id.kind = deadDelivery
	}
	return nil
}

// Schema describes it to huma.
func (deadLetterID) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, Pattern: `^d?[1-9][0-9]*$`}
}

type retrying struct {
	Retrying int64 `json:"retrying" doc:"How many dead letters are tried again for this request."`
}

func (s *server) retryDeadLetter(ctx context.Context, in *deadLetterInput) (*answer[retrying], error) {
	var found []int64
	var err error
	switch in.ID.kind {
	case deadEvent:
		found, err = s.DB.RetryDeadLetters(ctx, []int64{in.ID.number}, actorOf(ctx))
	case deadDelivery:
		found, err = s.DB.RetryDeadDeliveries(ctx, []int64{in.ID.number}, actorOf(ctx))
	}
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, newProblem(http.StatusNotFound, "there is no dead letter of this id")
	}
	return &answer[retrying]{Body: retrying{int64(len(found))}}, nil
}

func (s *server) retryDeadLetters(ctx context.Context, _ *struct{}) (*answer[retrying], error) {
	events, err := s.DB.RetryAllDeadLetters(ctx, actorOf(ctx))
	if err != nil {
		return nil, err
	}
	deliveries, err := s.DB.RetryAllDeadDeliveries(ctx, actorOf(ctx))
	if err != nil {
		return nil, err
	}
	return &answer[retrying]{Body: retrying{events + deliveries}}, nil
}
