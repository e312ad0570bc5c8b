package api

import (
	"context"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"

	"rapport/api/access"
	"rapport/store"
)

func (s *server) registerQuarantine() {
	list(s, huma.Operation{
		OperationID: "list-quarantine", Path: "/quarantine", Tags: []string{"operating"},
		Summary:     "List the quarantine",
		Description: "Deliveries that were authentic but are no event, each body once; the newest first. What is no event has no certain agent: for a key that is limited to agents the list is empty.",
	}, s.listQuarantine)
}

// quarantined is an entry. Exactly one of the bodies is there.
type quarantined struct {
	ID          int64             `json:"id" minimum:"1" doc:"Its number: a newer one has a greater."`
	Reason      string            `json:"reason" doc:"Why it is no event."`
	SeenCount   int64             `json:"seen_count" doc:"How often the body came."`
	FirstSeenAt timestamp         `json:"first_seen_at" doc:"When the body came first."`
	LastSeenAt  timestamp         `json:"last_seen_at" doc:"When the body came last."`
	Size        int               `json:"size" doc:"Bytes of the body."`
	Body        *string           `json:"body" doc:"The body; null where it is not valid UTF-8."`
	BodyBase64  []byte            `json:"body_base64" nullable:"true" doc:"The body in base64, where it is not valid UTF-8."`
	Headers     map[string]string `json:"headers" doc:"Received headers worth keeping, never proofs."`
}

func quarantinedOf(q *store.Quarantined) quarantined {
	shown := quarantined{
		ID: q.ID, Reason: q.Reason, SeenCount: q.SeenCount, FirstSeenAt: timestamp(q.FirstSeenAt),
		LastSeenAt: timestamp(q.LastSeenAt), Size: len(q.Body), Headers: q.Headers,
	}
	if shown.Headers == nil {
		shown.Headers = map[string]string{}
	}
	if utf8.Valid(q.Body) {
		shown.Body = new(string(q.Body))
	} else {
		shown.BodyBase64 = q.Body
	}
	return shown
}

type quarantineInput struct {
	ReadParams
	PageParams
}

// quarantinePlace is behind which entry a page begins.
type quarantinePlace struct {
	ID int64 `json:"id"`
}

func (p quarantinePlace) isValid() bool { return p.ID > 0 }

func (s *server) listQuarantine(ctx context.Context, in *quarantineInput) (*answer[page[quarantined]], error) {
	hash, err := listHash("quarantine")
	if err != nil {
		return nil, err
	}
	var from cursor[quarantinePlace]
	if in.Cursor != "" {
		if from, err = decodeCursor[quarantinePlace](in.Cursor, hash); err != nil {
			return nil, err
		}
	}
	if err := s.wait(ctx, in.ReadParams); err != nil {
		return nil, err
	}
	if len(access.Of(ctx).Agents) > 0 {
		return newPage([]store.Quarantined{}, quarantinedOf, ""), nil
	}
	entries, last, err := s.quarantinedBehind(ctx, from.Place.ID, in.Limit)
	if err != nil {
		return nil, err
	}
	next := ""
	if last > 0 {
		next = cursor[quarantinePlace]{Version: cursorVersion, List: hash, Place: quarantinePlace{last}}.encode()
	}
	return newPage(entries, quarantinedOf, next), nil
}

// quarantinedBehind reads a page in parts, for bodies may be large, and the entry that
// the next one begins behind; 0 if there is none.
func (s *server) quarantinedBehind(ctx context.Context, id int64, limit int) (entries []store.Quarantined, last int64, err error) {
	p := parts{limit: limit}
	for {
		most := p.next()
		part, err := s.DB.QuarantineList(ctx, id, most+1) // one more, to know of more
		if err != nil {
			return nil, 0, err
		}
		isLast := len(part) <= most
		part = part[:min(len(part), most)]
		for i := range part {
			p.add(len(part[i].Body))
		}
		entries = append(entries, part...)
		if isLast {
			return entries, 0, nil
		}
		id = part[most-1].ID
		if p.isFull() {
			return entries, id, nil
		}
	}
}
