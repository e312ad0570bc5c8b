package demo

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"rapport"
	"rapport/api/webhook"
)

// noon is the end of the tests' days, to the nanosecond.
var noon = time.Date(2026, time.September, 28, 12, 0, 0, 123456789, time.UTC)

// decoded is the day as a server understands it.
func decoded(t *testing.T, p plan) []rapport.Event {
	t.Helper()
	var events []rapport.Event
	for _, d := range p.deliveries() {
		e, err := webhook.Decode(d.body, p.now, time.Time{})
		if err != nil {
			t.Fatalf("%s: %v", d.body, err)
		}
		if !e.OccurredAt.Equal(d.at) || e.Undated {
			t.Fatalf("%s: occurred at %v, want %v", d.body, e.OccurredAt, d.at)
		}
		events = append(events, e)
	}
	return events
}

// folded is the day as sessions.
func folded(t *testing.T, p plan) []rapport.Session {
	t.Helper()
	events := decoded(t, p)
	groups := map[[2]string][]*rapport.Event{}
	for i := range events {
		if e := &events[i]; e.InSession() {
			id := [2]string{e.AgentID, e.SessionID}
			groups[id] = append(groups[id], e)
		}
	}
	fold := rapport.NewFold(rapport.DefaultSettings())
	var sessions []rapport.Session
	for _, group := range groups {
		for _, w := range fold.Windows(group) {
			sessions = append(sessions, w.Session)
		}
	}
	return sessions
}

func TestADayIsMadeOfItsPlan(t *testing.T) {
	t.Parallel()
	p := plan{sessions: 100, seed: 7, now: noon}

	t.Run("equal plans give equal days, to the byte", func(t *testing.T) {
		t.Parallel()
		same := func(a, b delivery) bool { return a.at.Equal(b.at) && bytes.Equal(a.body, b.body) }
		if !slices.EqualFunc(p.deliveries(), p.deliveries(), same) {
			t.Error("they differ")
		}
	})

	t.Run("another seed gives another day", func(t *testing.T) {
		t.Parallel()
		if other := (plan{100, 8, noon}); slices.Equal(said(t, p), said(t, other)) {
			t.Error("the same is said")
		}
	})

	t.Run("the same seed at another time says the same in other sessions", func(t *testing.T) {
		t.Parallel()
		// Live conversations end at another point: they are left out.
		a, b := p.conversations(newIDs(p)), plan{100, 7, noon.Add(time.Minute)}
		seen := map[string]bool{}
		for i, c := range b.conversations(newIDs(b)) {
			seen[c.sessionID] = true
			if c.script != a[i].script || c.span() != a[i].span() && c.startedAt.Before(noon.Add(-time.Hour)) {
				t.Errorf("conversation %d is %s, and was %s", i, c.script.name, a[i].script.name)
			}
		}
		for _, c := range a {
			if seen[c.sessionID] {
				t.Errorf("session %s goes on", c.sessionID)
			}
		}
	})

	t.Run("no two deliveries are the same event", func(t *testing.T) {
		t.Parallel()
		seen := map[rapport.Fingerprint]bool{}
		for _, e := range decoded(t, plan{300, 7, noon}) {
			if seen[e.Fingerprint] {
				t.Errorf("twice: %s", e.Payload)
			}
			seen[e.Fingerprint] = true
		}
	})
}

// said is every text of a day.
func said(t *testing.T, p plan) []string {
	t.Helper()
	var texts []string
	for _, e := range decoded(t, p) {
		texts = append(texts, e.Text)
	}
	return texts
}

func TestEveryBodyIsTheEventOfItsMoment(t *testing.T) {
	t.Parallel()
	p := plan{sessions: 200, seed: 3, now: noon}
	ids := newIDs(p)
	for _, c := range p.conversations(ids) {
		deliveries := c.deliveries(ids)
		if len(deliveries) != len(c.moments) {
			t.Fatalf("%d deliveries of %d moments", len(deliveries), len(c.moments))
		}
		for i, d := range deliveries {
			e, err := webhook.Decode(d.body, noon, time.Time{})
			if err != nil {
				t.Fatalf("%s: %v", d.body, err)
			}
			requireMoment(t, c, &c.moments[i], &e)
		}
	}
}

func requireMoment(t *testing.T, c *conversation, m *moment, e *rapport.Event) {
	t.Helper()
	want := rapport.Event{AgentID: c.agentID, SessionID: c.sessionID}
	isLegacy := c.script.site.generation == legacy
	if isLegacy {
		want.UserID = c.visitor.id
	}
	switch m.act {
	case join:
		want.Type, want.RoomName = rapport.RoomJoin, c.room
	case fails:
		want.Type, want.ErrorCode, want.ErrorCategory = rapport.AgentError, m.fault.code, m.fault.category
	case ends:
		want.Type, want.EndReason = rapport.SessionEnd, m.reason
	case userSays:
		want.Type, want.Role, want.Text = rapport.ChatPush, rapport.RoleUser, m.text
	default:
		want.Type, want.Role, want.Text = rapport.ChatPush, rapport.RoleAgent, m.text
	}
	got := rapport.Event{
		Type: e.Type, AgentID: e.AgentID, SessionID: e.SessionID, UserID: e.UserID, Role: e.Role, Text: e.Text,
		RoomName: e.RoomName, ErrorCode: e.ErrorCode, ErrorCategory: e.ErrorCategory, EndReason: e.EndReason,
	}
	if !sameTexts(&got, &want) {
		t.Errorf("%s decodes to %+v, want %+v", e.Payload, got, want)
	}
	if isLegacy && m.text != "" && m.act != fails && e.Language != c.script.language {
		t.Errorf("%s is in %q, want %q", e.Payload, e.Language, c.script.language)
	}
	if m.act == join && (e.Participants == nil || *e.Participants < 1) {
		t.Errorf("%s tells no participants", e.Payload)
	}
	if (m.rating != 0) != (e.Rating != nil) || e.Rating != nil && *e.Rating != m.rating {
		t.Errorf("%s tells another rating than %v", e.Payload, m.rating)
	}
}

func sameTexts(a, b *rapport.Event) bool {
	texts := func(e *rapport.Event) []string {
		return []string{e.Type, e.AgentID, e.SessionID, e.UserID, e.Role, e.Text, e.RoomName, e.ErrorCode, e.ErrorCategory, e.EndReason}
	}
	return slices.Equal(texts(a), texts(b))
}

func TestADayIsTheLast24Hours(t *testing.T) {
	t.Parallel()
	for _, sessions := range []int{1, 2, 5, 100} {
		for seed := range uint64(5) {
			// A day that ends at night is no different.
			now := noon.Add(time.Duration(seed) * 5 * time.Hour)
			events := decoded(t, plan{sessions, seed, now})
			for _, e := range events {
				if e.OccurredAt.After(now) || e.OccurredAt.Before(now.Add(-24*time.Hour)) {
					t.Errorf("%v is not in the day before %v", e.OccurredAt, now)
				}
			}
			if !slices.IsSortedFunc(events, func(a, b rapport.Event) int { return a.OccurredAt.Compare(b.OccurredAt) }) {
				t.Error("the deliveries are not in the order of time")
			}
		}
	}
}

func TestADayHasAsManySessionsAsAskedFor(t *testing.T) {
	t.Parallel()
	for _, sessions := range []int{1, 2, 3, 100} {
		for seed := range uint64(4) {
			if got := len(folded(t, plan{sessions, seed, noon})); got != sessions {
				t.Errorf("seed %d: %d sessions, want %d", seed, got, sessions)
			}
		}
	}
}

func TestAHundredSessionsShowEverything(t *testing.T) {
	t.Parallel()
	for seed := range uint64(5) {
		p := plan{sessions: 100, seed: seed, now: noon}
		seen := map[string]int{}
		for _, d := range p.deliveries() {
			seen["generation "+string(d.generation)]++
		}
		for _, e := range decoded(t, p) {
			seen[e.Type]++
			seen["language "+e.Language]++
			seen["message "+e.MessageType]++
		}
		for _, s := range folded(t, p) {
			count(seen, &s)
		}
		for _, want := range []string{
			"generation legacy", "generation current", "generation account",
			"tier bounced", "tier engaged", "tier continued", "tier deep",
			"open", "closed", "frustrated", "repeating", "failing", "rated", "unanswered", "slow", "without a join", "eight turns",
			"room.join", "chat.push", "session.end", "agent.error", "agent.ready", "agent.failed",
			"language en", "language es", "language fr", "language de", "message audio", "message text",
		} {
			if seen[want] == 0 {
				t.Errorf("seed %d: nothing is %q", seed, want)
			}
		}
		if seen["open"] > seen["closed"]/2 {
			t.Errorf("seed %d: %d are open, %d closed", seed, seen["open"], seen["closed"])
		}
	}
}

// count adds what there is to see in a session.
func count(seen map[string]int, s *rapport.Session) {
	seen["tier "+s.EngagementTier()]++
	status := "open"
	if !noon.Before(s.ClosesAt(rapport.DefaultSettings().IdleTimeout)) {
		status = "closed"
	}
	seen[status]++
	for what, is := range map[string]bool{
		"frustrated":     s.FrictionCount > 0,
		"repeating":      s.RepeatCount > 0,
		"failing":        s.ErrorCount > 0,
		"rated":          s.Rating != nil,
		"unanswered":     s.AnsweredTurnCount < s.TurnCount,
		"slow":           s.QuickAnswerCount < s.AnsweredTurnCount,
		"without a join": s.JoinCount == 0,
		"eight turns":    s.TurnCount >= 8,
	} {
		if is {
			seen[what]++
		}
	}
}

func TestConversationsDoNotLookCopied(t *testing.T) {
	t.Parallel()
	p := plan{sessions: 100, seed: 1, now: noon}
	texts := map[string]int{}
	talks := 0
	for _, c := range p.conversations(newIDs(p)) {
		var text strings.Builder
		for _, m := range c.moments {
			text.WriteString(m.text + "\n")
		}
		if len(c.moments) > 4 {
			talks++
			texts[text.String()]++
		}
	}
	if len(texts) < talks*9/10 {
		t.Errorf("of %d talks only %d are different", talks, len(texts))
	}
}
