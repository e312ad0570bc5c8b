package api

import (
	"context"
	"math"

	"github.com/danielgtaylor/huma/v2"

	"rapport"
	"rapport/api/access"
	"rapport/store"
)

func (s *server) registerAudit() {
	listFor(s, access.Admin, huma.Operation{
		OperationID: "list-audit", Path: "/audit", Tags: []string{"operating"},
		Summary:     "List the audit",
		Description: "Who did what with rights that not everybody has; the newest first.",
	}, s.listAudit)
}

// audited is an entry of the audit.
type audited struct {
	ID      int64          `json:"id" minimum:"1" doc:"Its number: a newer one has a greater."`
	At      timestamp      `json:"at" doc:"By the clock of the database."`
	Actor   string         `json:"actor" doc:"key:<name> over HTTP, cli:<user of the machine> from the command line, rapport by itself."`
	Action  string         `json:"action" doc:"noun.verb, such as key.create."`
	Subject string         `json:"subject" doc:"To what."`
	Details map[string]any `json:"details" doc:"What else is to know, which depends on the action."`
}

func auditedOf(e *store.AuditEntry) audited {
	return audited{e.ID, timestamp(e.At), e.Actor, e.Action, e.Subject, e.Details}
}

type auditInput struct {
	PageParams
	Action string `query:"action" doc:"Of this action alone, such as key.create."`
}

// auditPlace is behind which entry a page begins.
type auditPlace struct {
	ID int64 `json:"id"`
}

func (p auditPlace) isValid() bool { return p.ID > 0 }

func (s *server) listAudit(ctx context.Context, in *auditInput) (*answer[page[audited]], error) {
	action := rapport.CleanText(in.Action)
	hash, err := listHash("audit", action)
	if err != nil {
		return nil, err
	}
	before := int64(math.MaxInt64)
	if in.Cursor != "" {
		from, err := decodeCursor[auditPlace](in.Cursor, hash)
		if err != nil {
			return nil, err
		}
		before = from.Place.ID
	}
	entries, err := s.DB.AuditEntries(ctx, action, before, in.Limit+1) // one more, to know of more
	if err != nil {
		return nil, err
	}
	if in.Cursor == "" { // once for all pages
		if err := s.DB.Audit(ctx, store.AuditEntry{Actor: actorOf(ctx), Action: "audit.read", Subject: action}); err != nil {
			return nil, err
		}
	}
	next := ""
	if len(entries) > in.Limit {
		entries = entries[:in.Limit]
		next = cursor[auditPlace]{Version: cursorVersion, List: hash, Place: auditPlace{entries[in.Limit-1].ID}}.encode()
	}
	return newPage(entries, auditedOf, next), nil
}
