package live

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// memory is a Source in memory: each event changes the session of its agent.
type memory struct {
	mu    sync.Mutex
	log   []Message
	state State
	moved chan struct{}
	reads atomic.Int64 // of events
	err   error
}

func newMemory() *memory { return &memory{moved: make(chan struct{})} }

// add appends events of agents, and folds them.
func (m *memory) add(agents ...string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, agent := range agents {
		n := int64(len(m.log)) + 1
		m.log = append(m.log, Message{Kind: Events, Position: n, AgentID: agent, EventType: "chat.push", Data: fmt.Appendf(nil, `"%s%d"`, agent, n)})
	}
	m.state.Head, m.state.Followed = int64(len(m.log)), int64(len(m.log))
	m.wake()
}

func (m *memory) wake() {
	close(m.moved)
	m.moved = make(chan struct{})
}

func (m *memory) erase(position int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.log[position-1].Data = []byte(`"erased"`)
	m.state.Generation++
	m.wake()
}

func (m *memory) Moved() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.moved
}

func (m *memory) State(context.Context) (State, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state, m.err
}

func (m *memory) Events(_ context.Context, q Query) ([]Message, int64, error) {
	m.reads.Add(1)
	return m.between(q, func(e Message) bool { return true })
}

// Sessions tells the session of an agent at its last event.
func (m *memory) Sessions(_ context.Context, q Query) ([]Message, int64, error) {
	last := map[string]int64{}
	m.mu.Lock()
	for _, e := range m.log {
		last[e.AgentID] = e.Position
	}
	m.mu.Unlock()
	told, reached, err := m.between(q, func(e Message) bool { return last[e.AgentID] == e.Position })
	for i := range told {
		told[i].Kind, told[i].EventType, told[i].Data = Sessions, "", fmt.Appendf(nil, `"session %s"`, told[i].AgentID)
	}
	return told, reached, err
}

func (m *memory) between(q Query, is func(Message) bool) (found []Message, reached int64, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for reached = q.After; reached < q.UpTo && len(found) < 10; reached++ {
		e := m.log[reached]
		f := *q.Filter
		f.Kinds = Events
		if is(e) && f.lets(&e) {
			found = append(found, e)
		}
	}
	return found, reached, m.err
}

// reader takes what a stream writes, as fast as it may.
type reader struct {
	mu    sync.Mutex
	text  bytes.Buffer
	stuck chan struct{} // nil: it takes everything at once; else nothing before it is closed; guarded by mu
}

func (r *reader) stick() (release func()) {
	stuck := make(chan struct{})
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stuck = stuck
	return func() { close(stuck) }
}

func (r *reader) Write(p []byte) (int, error) {
	r.mu.Lock()
	stuck := r.stuck
	r.mu.Unlock()
	if stuck != nil {
		select {
		case <-stuck:
		case <-time.After(10 * time.Second):
			return 0, os.ErrDeadlineExceeded
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.Write(p)
}

func (r *reader) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.String()
}

// got are the messages that have come, with their ids.
func (r *reader) got() string {
	var got []string
	for block := range strings.SplitSeq(r.String(), "\n\n") {
		id, data := "-", ""
		for line := range strings.Lines(block) {
			line = strings.TrimSuffix(line, "\n")
			if value, ok := strings.CutPrefix(line, "id: "); ok {
				id = value
			}
			if value, ok := strings.CutPrefix(line, "data: "); ok {
				data = strings.Trim(value, `"`)
			}
		}
		if data != "" {
			got = append(got, id+" "+data)
		}
	}
	return strings.Join(got, ", ")
}

func never() bool { return false }

func hubOf(m *memory, options Options) *Hub {
	options.Source = m
	if options.Draining == nil {
		options.Draining = never
	}
	return NewHub(options)
}

// stream runs a stream to a reader, until leave.
func stream(t *testing.T, h *Hub, request Request, to *reader) (leave func()) {
	t.Helper()
	s, err := h.Open(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer s.Close()
		s.Run(ctx, to)
	}()
	return func() { cancel(); <-done }
}

func all(agents ...string) Filter { return Filter{Kinds: All, Agents: agents} }

func want(t *testing.T, r *reader, messages ...string) {
	t.Helper()
	time.Sleep(time.Second) // of the bubble
	synctest.Wait()
	if got, want := r.got(), strings.Join(messages, ", "); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestOneReadingServesAll(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		m.add("A", "B")
		h := hubOf(m, Options{})
		var readers [50]reader
		var one reader
		for i := range readers {
			defer stream(t, h, Request{Filter: all()}, &readers[i])()
		}
		defer stream(t, h, Request{Filter: all("B")}, &one)()
		time.Sleep(time.Second)
		before := m.reads.Load()
		m.add("A", "A", "B")
		for i := range readers {
			want(t, &readers[i], "3-2 A3", "4-2 A4", "5-2 B5", "5-4 session A", "5 session B")
		}
		want(t, &one, "5-2 B5", "5 session B")
		if reads := m.reads.Load() - before; reads > 60 { // it looks every second, and after each batch
			t.Errorf("the log was read %d times", reads)
		}
	})
}

func TestSilenceIsBroken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		m.add("A")
		var all, other reader
		h := hubOf(m, Options{})
		defer stream(t, h, Request{Filter: Filter{Kinds: All}}, &all)()
		defer stream(t, h, Request{Filter: Filter{Kinds: All, AgentID: "B"}}, &other)()
		time.Sleep(heartbeatEvery - time.Second)
		m.add("A")
		time.Sleep(3 * time.Second)
		if n := strings.Count(all.String(), ": heartbeat\n"); n != 0 {
			t.Errorf("%d heartbeats though it was told something", n)
		}
		if text := other.String(); !strings.HasSuffix(text, ": heartbeat\nid: 2\n\n") {
			t.Errorf("who is told nothing: %q", text)
		}
		time.Sleep(10 * heartbeatEvery)
		if n := strings.Count(all.String(), ": heartbeat\n"); n != 10 {
			t.Errorf("%d heartbeats in 10 times as long", n)
		}
	})
}

func TestWhoTakesTooLongIsCutOff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		m.add("A")
		h := hubOf(m, Options{RingBytes: 10 * frameCost})
		var stuck, late, quick reader
		stuck.stick()
		defer stream(t, h, Request{Filter: Filter{Kinds: Events}}, &stuck)()
		defer stream(t, h, Request{Filter: Filter{Kinds: Events}}, &quick)()
		leave := stream(t, h, Request{Filter: Filter{Kinds: Events}}, &late)
		defer leave()
		time.Sleep(time.Second)
		release := late.stick()
		var told []string
		for i := range 40 {
			m.add("A")
			told = append(told, fmt.Sprintf("%d A%d", i+2, i+2))
			time.Sleep(200 * time.Millisecond)
		}
		want(t, &quick, told...)
		release() // in the middle of a write
		time.Sleep(time.Minute)
		h.mu.Lock()
		defer h.mu.Unlock()
		if len(h.streams) != 1 {
			t.Errorf("%d streams are left, want the quick one", len(h.streams))
		}
		if got := late.got(); got != told[0] {
			t.Errorf("who came too late got %s", got)
		}
	})
}

func TestWhoBeginsLongAgoReadsTheLog(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		for range 30 {
			m.add("A", "B", "A")
		}
		h := hubOf(m, Options{Backlog: 5})
		var events, both, sessions, one reader
		defer stream(t, h, Request{Filter: Filter{Kinds: Events}, From: &Place{2, 2}}, &events)()
		defer stream(t, h, Request{Filter: all(), From: &Place{88, 87}}, &both)()
		defer stream(t, h, Request{Filter: Filter{Kinds: Sessions}, From: &Place{}}, &sessions)()
		defer stream(t, h, Request{Filter: Filter{Kinds: Events, AgentID: "B"}, From: &Place{}}, &one)()
		var told, ofB []string
		for i := range int64(90) {
			if e := m.log[i]; i >= 2 {
				told = append(told, fmt.Sprintf("%d %s%d", i+1, e.AgentID, i+1))
			}
			if e := m.log[i]; e.AgentID == "B" {
				ofB = append(ofB, fmt.Sprintf("%d %s%d", i+1, e.AgentID, i+1))
			}
		}
		want(t, &events, told...)
		want(t, &one, ofB...)
		want(t, &both, "89-87 B89", "90-87 A90", "90-89 session B", "90 session A")
		want(t, &sessions, "89 session B", "90 session A")
		if _, err := h.Open(t.Context(), Request{Filter: all(), From: &Place{91, 91}}); !errors.As(err, new(*BeyondError)) {
			t.Errorf("behind the end: %v", err)
		}
	})
}

func TestWhatIsErasedLeavesTheRing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		m.add("A", "A", "A")
		h := hubOf(m, Options{})
		var late, now reader
		release := late.stick()
		defer stream(t, h, Request{Filter: Filter{Kinds: Events}, From: &Place{}}, &late)()
		defer stream(t, h, Request{Filter: Filter{Kinds: Events}}, &now)()
		time.Sleep(time.Second)
		m.erase(2)
		time.Sleep(time.Second)
		release()
		want(t, &late, "1 A1", "2 erased", "3 A3")
		m.add("A")
		want(t, &late, "1 A1", "2 erased", "3 A3", "4 A4")
		want(t, &now, "4 A4")
	})
}

func TestTheDatabaseMayBeAway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		m.add("A")
		h := hubOf(m, Options{})
		var now reader
		defer stream(t, h, Request{Filter: Filter{Kinds: Events}}, &now)()
		m.mu.Lock()
		m.err = errors.New("away")
		m.mu.Unlock()
		if _, err := h.Open(t.Context(), Request{Filter: all()}); err == nil {
			t.Error("a stream begins that can't know where")
		}
		time.Sleep(time.Hour)
		m.mu.Lock()
		m.err = nil
		m.mu.Unlock()
		m.add("B")
		want(t, &now, "2 B2")
		if n := strings.Count(now.String(), ": heartbeat\n"); n != 240 {
			t.Errorf("%d heartbeats in an hour", n)
		}
	})
}

func TestALogThatLosesItsEndEndsTheStreams(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		m.add("A", "A")
		h := hubOf(m, Options{})
		var now, again reader
		defer stream(t, h, Request{Filter: Filter{Kinds: Events}}, &now)()
		time.Sleep(time.Second)
		m.mu.Lock()
		m.log = m.log[:1]
		m.state.Head, m.state.Followed = 1, 1
		m.mu.Unlock()
		time.Sleep(2 * time.Second)
		if text := now.String(); !strings.HasSuffix(text, farewells[endReset]) {
			t.Errorf("%q", text)
		}
		defer stream(t, h, Request{Filter: Filter{Kinds: Events}}, &again)()
		m.add("B")
		want(t, &again, "2 B2")
	})
}

func TestStreamsEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		var draining atomic.Bool
		var stands atomic.Bool
		stands.Store(true)
		h := hubOf(m, Options{Draining: draining.Load})
		var key, other reader
		defer stream(t, h, Request{Filter: all(), Stands: stands.Load}, &key)()
		defer stream(t, h, Request{Filter: all()}, &other)()
		time.Sleep(time.Minute)
		stands.Store(false)
		time.Sleep(2 * standEvery)
		synctest.Wait()
		if text := key.String(); !strings.HasSuffix(text, farewells[endFallen]) {
			t.Errorf("whose key is revoked: %q", text)
		}
		draining.Store(true)
		time.Sleep(2 * lookEvery)
		synctest.Wait()
		if text := other.String(); !strings.HasSuffix(text, farewells[endDraining]) {
			t.Errorf("of a server that is about to end: %q", text)
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		if len(h.streams) != 0 || h.reading != nil || h.ring.batches != nil {
			t.Error("it goes on without streams")
		}
	})
}

func TestIDs(t *testing.T) {
	t.Parallel()
	for id, place := range map[string]Place{"0": {}, "7": {7, 7}, "7-5": {7, 5}, "7-0": {7, 0}, "9223372036854775807": {1<<63 - 1, 1<<63 - 1}} {
		got, err := ParsePlace(id)
		if err != nil || got != place || got.id(All) != id {
			t.Errorf("%s: %v, %v, %s", id, got, err, got.id(All))
		}
	}
	for _, id := range []string{"", "-", "7-", "-7", "+7", "07", "5-7", "7-5-3", "7 ", "x", "7.5", "9223372036854775808", "7-05"} {
		if got, err := ParsePlace(id); err == nil {
			t.Errorf("%q is %v", id, got)
		}
	}
	p := Place{7, 5}
	if p.id(Events) != "7" || p.id(Sessions) != "5" {
		t.Error(p.id(Events), p.id(Sessions))
	}
}

// TestSessionsToldTogether is of several that one event has changed: whoever is cut off
// between them gets all of them again.
func TestSessionsToldTogether(t *testing.T) {
	t.Parallel()
	told := func(position int64) Message { return Message{Kind: Sessions, Position: position, Data: []byte("{}")} }
	b := newBatch(Place{9, 4}, Place{9, 9}, nil, []Message{told(5), told(7), told(7), told(8)})
	text, _, behind, sent := b.render(nil, Place{9, 4}, &Filter{Kinds: All}, 0, 0)
	const message = "event: session\ndata: {}\n\n"
	if want := "id: 9-5\n" + message + message + "id: 9-7\n" + message + "id: 9-8\n" + message; string(text) != want {
		t.Errorf("%q, want %q", text, want)
	}
	if (behind != Place{9, 9}) || sent.sessions != 4 {
		t.Errorf("behind %v, sent %v", behind, sent)
	}
	if text, _, _, _ := b.render(nil, Place{9, 7}, &Filter{Kinds: All}, 0, 0); string(text) != "id: 9-8\n"+message {
		t.Errorf("from the middle: %q", text)
	}
}
