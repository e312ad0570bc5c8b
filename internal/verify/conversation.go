package verify

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"rapport"
	"rapport/store"
)

// group is the events of one session_id, in the order of time.
type group struct {
	sessionID     string
	twins         twins
	conversations map[string]*conversation // by agent_id
}

func newGroup(sessionID string) *group {
	return &group{sessionID: sessionID, conversations: make(map[string]*conversation)}
}

func (g *group) add(fold *rapport.Fold, e *rapport.Event) { g.conversation(e).add(fold, e) }

// bury takes a stub.
func (g *group) bury(e *rapport.Event) {
	c := g.conversation(e)
	c.stubs = append(c.stubs, stubOf(e))
}

func (g *group) conversation(e *rapport.Event) *conversation {
	c := g.conversations[e.AgentID]
	if c == nil {
		c = &conversation{limit: stretchBytes}
		g.conversations[e.AgentID] = c
	}
	return c
}

// end folds what is left, into the sessions in the order of their keys.
func (g *group) end(fold *rapport.Fold, to *chunk) {
	for _, agentID := range slices.Sorted(maps.Keys(g.conversations)) {
		c := g.conversations[agentID]
		if len(c.stubs) > 0 {
			to.graves = append(to.graves, &grave{store.Conversation{AgentID: agentID, SessionID: g.sessionID}, c.stubs})
		}
		c.fold(fold, len(c.pending))
		if c.failed != nil {
			to.add("session", "sessions of %s/%s can't be folded: %s", name(agentID), name(g.sessionID), quote(fmt.Sprint(c.failed)))
			continue
		}
		rapport.NoteHealed(c.windows, c.healedAt)
		to.superseded = append(to.superseded, c.superseded...)
		to.windows = append(to.windows, c.windows...)
	}
}

// conversation is folded in stretches, so that memory holds its sessions and the
// events of one stretch.
type conversation struct {
	pending    []*rapport.Event
	bytes      int // of pending
	limit      int // beyond which pending is folded, as far as it can be
	windows    []*rapport.Window
	healedAt   []time.Time
	superseded []store.HealedMessage
	failed     any    // what the fold panicked with
	stubs      []stub // what was erased of it
}

const (
	stretchBytes = 1 << 20
	eventBytes   = 512 // of an event besides its text
)

func (c *conversation) add(fold *rapport.Fold, e *rapport.Event) {
	c.pending = append(c.pending, e)
	c.bytes += len(e.Text) + eventBytes
	if c.bytes < c.limit {
		return
	}
	c.fold(fold, c.cut())
	c.limit = max(stretchBytes, 2*c.bytes) // so that looking for a cut in vain stays cheap
}

// cut is how many of the pending events can be folded without those behind them:
// no healed message may lie where it could pair across. What comes next may be one.
func (c *conversation) cut() int {
	var healed []int
	for i, e := range c.pending {
		if e.IsHealed() {
			healed = append(healed, i)
		}
	}
	next := c.pending[len(c.pending)-1].OccurredAt // of the first behind the cut that may be a healed message
	for i := len(c.pending) - 1; i > 0; i-- {
		for len(healed) > 0 && healed[len(healed)-1] >= i {
			next = c.pending[healed[len(healed)-1]].OccurredAt
			healed = healed[:len(healed)-1]
		}
		before, after := c.pending[i-1].OccurredAt, c.pending[i].OccurredAt
		clear := len(healed) == 0 || after.Sub(c.pending[healed[len(healed)-1]].OccurredAt) > rapport.HealedWithin
		if clear && before.Before(after) && next.Sub(before) > rapport.HealedWithin {
			return i
		}
	}
	return 0
}

// fold folds the first n of the pending events onto the windows.
func (c *conversation) fold(fold *rapport.Fold, n int) {
	if n == 0 || c.failed != nil {
		return
	}
	defer func() { c.failed = recover() }()
	stretch, healed := slices.Clone(c.pending[:n]), rapport.HealedAmong(c.pending[:n])
	c.pending = slices.Clone(c.pending[n:]) // lets go of the others
	c.bytes = 0
	for _, e := range c.pending {
		c.bytes += len(e.Text) + eventBytes
	}
	counted, healedAt := rapport.Reconcile(stretch)
	c.healedAt = append(c.healedAt, healedAt...)
	for _, e := range rapport.Superseded(healed, counted) {
		of := store.Conversation{AgentID: e.AgentID, SessionID: e.SessionID}
		c.superseded = append(c.superseded, store.HealedMessage{Conversation: of, Position: e.Position, Superseded: true})
	}
	var last *rapport.Window
	if len(c.windows) > 0 {
		last = c.windows[len(c.windows)-1]
		c.windows = c.windows[:len(c.windows)-1]
	}
	c.windows = append(c.windows, fold.Continue(last, counted)...)
}
