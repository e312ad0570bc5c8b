package api

import (
	"context"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"

	"rapport/api/access"
	"rapport/store"
)

func (s *server) registerQuarantine() {
	read(s, huma.Operation{
		OperationID: "list-quarantine", Path: "/quarantine", Tags: []string{"operating"},
		Summary:     "List the quarantine",
		Description: "Deliveries that were authentic but are no event, each body once; the newest first. What is no event has no certain agent: for a key that is limited to agents the list is empty.",
	}, s.listQuarantine)
}

// quarantined is an entry. Exactly one of the bodies is there.
type quarantined struct {
	ID          int64             `json:"id"`
	Reason      string            `json:"reason" doc:"Why it is no event."`
	SeenCount   int64             `json:"seen_count" doc:"How often the body came."`
	FirstSeenAt timestamp         `json:"first_seen_at"`
	LastSeenAt  timestamp         `json:"last_seen_at"`
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
	entries, err := s.DB.QuarantineList(ctx, from.Place.ID, in.Limit+1) // one more, to know of more
	if err != nil {
		return nil, err
	}
	next := ""
	if len(entries) > in.Limit {
		entries = entries[:in.Limit]
		last := quarantinePlace{entries[in.Limit-1].ID}
		next = cursor[quarantinePlace]{Version: cursorVersion, List: hash, Place: last}.encode()
	}
	return newPage(entries, quarantinedOf, next), nil
}
