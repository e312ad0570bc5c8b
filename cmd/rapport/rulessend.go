package main

import (
	"context"

	"rapport/aggregator/reaction/rules"
	"rapport/store"
)

// sending enqueues what a replay fires. A nil one sends nothing.
type sending struct {
	db         *store.DB
	generation int64 // of the log, before any of it was read
	waiting    []store.Delivery
	added      int
}

// sendPage is how many deliveries are enqueued at once.
const sendPage = 500

func (s *sending) add(ctx context.Context, f *rules.Firing) error {
	if s == nil {
		return nil
	}
	s.waiting = append(s.waiting, store.Delivery{
		ID: f.ID, Rule: f.Rule, Destination: f.Destination, Position: f.Position, Body: f.Data,
		Subject: store.Conversation{AgentID: f.AgentID, SessionID: f.SessionID},
	})
	if len(s.waiting) < sendPage {
		return nil
	}
	return s.flush(ctx)
}

// flush enqueues what has gathered.
func (s *sending) flush(ctx context.Context) error {
	if s == nil || len(s.waiting) == 0 {
		return nil
	}
	added, err := s.db.EnqueueOf(ctx, s.generation, s.waiting...)
	if err != nil {
		return err
	}
	s.added += added
	s.waiting = s.waiting[:0]
	return nil
}
