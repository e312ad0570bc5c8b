package aggregator

import (
	"testing"
	"time"

	"rapport"
	"rapport/store"
)

func TestAFoldThatPanicsBreaksItsConversationAlone(t *testing.T) {
	t.Parallel()
	of := store.Conversation{AgentID: "a", SessionID: "s"}
	p := &partial{of: of} // without a fold, every event is poison
	for i := range 3 {
		p.add(&rapport.Event{OccurredAt: time.Unix(int64(10*i), 0), AgentID: "a", SessionID: "s", Type: rapport.ChatPush})
	}
	if f := p.advance(); f.broken == nil || *f.broken != of || f.windows != nil {
		t.Errorf("got %+v, want that %v is broken", f, of)
	}
	p.add(&rapport.Event{OccurredAt: time.Unix(100, 0), AgentID: "a", SessionID: "s"})
	if f := p.finish(); f.broken != nil || f.windows != nil {
		t.Errorf("got %+v of a broken conversation", f)
	}
}
