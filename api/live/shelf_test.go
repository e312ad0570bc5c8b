package live

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestThoseWhoComeBackTogetherReadTheLogOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		for range 300 {
			m.add("A")
		}
		m.add("B")
		h := hubOf(m, Options{Backlog: 5})
		var readers [50]reader
		for i := range readers {
			filter := Filter{Kinds: []Kinds{All, Events}[i%2]}
			defer stream(t, h, Request{Filter: filter, From: &Place{int64(i), int64(i)}}, &readers[i])()
		}
		var limited reader
		defer stream(t, h, Request{Filter: all("B"), From: &Place{}}, &limited)()
		want(t, &limited, "301-300 B301", "301 session B")
		for i := range readers {
			var told, events, sessions []string
			for n := i + 1; n <= 300; n++ {
				told = append(told, fmt.Sprintf("A%d", n))
			}
			for message := range strings.SplitSeq(readers[i].got(), ", ") {
				if _, data, _ := strings.Cut(message, " "); strings.HasPrefix(data, "session") {
					sessions = append(sessions, data)
				} else {
					events = append(events, data)
				}
			}
			if diff := cmp.Diff(append(told, "B301"), events); diff != "" {
				t.Fatalf("from %d on: %s", i, diff)
			}
			if want := 2 - i%2*2; len(sessions) != want {
				t.Errorf("from %d on: %v, want %d sessions", i, sessions, want)
			}
		}
		if reads := m.reads.Load(); reads > 50 { // of ten each
			t.Errorf("the log was read %d times", reads)
		}
	})
}

// sip takes one write, and then nothing more.
type sip struct{ hasTaken bool }

func (s *sip) Write(p []byte) (int, error) {
	if !s.hasTaken {
		s.hasTaken = true
		return len(p), nil
	}
	time.Sleep(10 * time.Second)
	return 0, os.ErrDeadlineExceeded
}

func TestWhoTakesNothingIsNotReadFor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		for range nearby / 10 {
			m.add("A", "A", "A", "A", "A", "A", "A", "A", "A", "A")
		}
		m.add("A", "B")
		h := hubOf(m, Options{Backlog: 1})
		var running sync.WaitGroup
		for range 200 {
			s, err := h.Open(t.Context(), Request{Filter: Filter{Kinds: Events, AgentID: "A"}, From: &Place{}})
			if err != nil {
				t.Fatal(err)
			}
			running.Go(func() {
				defer s.Close()
				s.Run(t.Context(), new(sip))
			})
		}
		time.Sleep(5 * time.Second)
		if reads := m.reads.Load(); reads > holdersMost+10 { // and the hub's
			t.Errorf("%d readings for readers that take nothing", reads)
		}
		var quick reader
		defer stream(t, h, Request{Filter: Filter{Kinds: Events, AgentID: "B"}, From: &Place{}}, &quick)()
		running.Wait()
		want(t, &quick, fmt.Sprintf("%d B%[1]d", len(m.log)))
		if !strings.Contains(quick.String(), ": heartbeat\n") {
			t.Error("the quick one has heard nothing while it waited")
		}
	})
}

func TestWhatIsErasedLeavesTheShelf(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		for range 30 {
			m.add("A")
		}
		h := hubOf(m, Options{Backlog: 1})
		var before, after reader
		defer stream(t, h, Request{Filter: Filter{Kinds: Events}, From: &Place{27, 27}}, &before)()
		time.Sleep(100 * time.Millisecond)
		m.erase(28)
		time.Sleep(shelfFresh / 2)
		defer stream(t, h, Request{Filter: Filter{Kinds: Events}, From: &Place{27, 27}}, &after)()
		want(t, &before, "28 A28", "29 A29", "30 A30")
		want(t, &after, "28 erased", "29 A29", "30 A30")
	})
}
